"""A service manager as ``serve`` sees it: a socket that takes datagrams, and nothing else."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.patience import PATIENCE_SECONDS


class Manager:
    """``address`` is for ``NOTIFY_SOCKET``; ``heard`` has every message so far, in order."""

    def __init__(self, address: str, listener: socket.socket) -> None:
        self.address = address
        self._listener = listener
        self.heard: list[list[str]] = []

    def next(self, line: str = "") -> list[str]:
        """The next message, as its lines; the next one with such a line if one is given."""
        self._listener.settimeout(PATIENCE_SECONDS)
        while True:
            self.heard.append(self._listener.recv(4096).decode().split("\n"))
            if not line or line in self.heard[-1]:
                return self.heard[-1]

    def waiting(self) -> list[list[str]]:
        """What lies there already."""
        self._listener.settimeout(0.0)
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._listener.recv(4096).decode().split("\n"))
        self.heard += found
        return found


@contextlib.contextmanager
def manager(path: Path | None = None) -> Iterator[Manager]:
    """One at ``path``, or in Linux' abstract namespace."""
    name = f"omendb-ws-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}" if path is None else str(path))
        yield Manager(f"@{name}" if path is None else str(path), listener)
