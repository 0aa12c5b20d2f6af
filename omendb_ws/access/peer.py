"""Where a connection comes from: for the log, and for what is counted by address. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final, NamedTuple

#: One home or office has a /64 of IPv6, and any address in it.
_SITE_BITS: Final = 64


class Peer(NamedTuple):
    """The address of a client, or of the proxy that does not tell it."""

    host: str
    port: int | None = None

    @property
    def site(self) -> str:
        """What stands for the address: itself, or of IPv6 its /64."""
        return site(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @classmethod
    def of(cls, address: object) -> Peer:
        """The peer at a socket's address; a socket that is gone has none."""
        return cls(*address[:2]) if isinstance(address, tuple) else cls("unknown")


#: Of a connection without a socket.
LOCAL = Peer("memory")


def site(host: str) -> str:
    """What stands for an address: itself, or of IPv6 its /64."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, _SITE_BITS), strict=False))
