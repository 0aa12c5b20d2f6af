"""Where a connection comes from, for the log."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """Where a connection comes from, for the log."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @classmethod
    def of(cls, address: object) -> Peer:
        """The peer at a socket's address; a socket that is gone has none."""
        return cls(*address[:2]) if isinstance(address, tuple) else cls("unknown")


#: Of a connection without a socket.
LOCAL = Peer("memory")
