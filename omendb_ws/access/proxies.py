"""Proxies that are believed when they say where a client is: X-Forwarded-For.

Pure. Each proxy adds, at the right, the address that it was reached from; what stands further left
came with the request and may be anybody's invention. So the list is read from the right, only where
the last proxy is trusted, and only as far as trusted ones wrote it. ``Forwarded`` is not read: a
proxy that writes one of the two headers passes the other on as the client sent it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .peer import Peer

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Trusted proxies in a row. More is no chain but a loop, or an attack.
MOST_HOPS: Final = 16
#: The longest address with brackets, port and quotes is 55 characters.
_MOST_CHARACTERS: Final = 64
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})")
_MOST_PORT: Final = 65_535


def parse_network(text: str) -> Network:
    """An address, or a network as ``10.0.0.0/8``. ValueError says what is wrong."""
    try:
        meant = ipaddress.ip_network(text.replace("%", "?"), strict=False)  # zones are no networks
    except ValueError:
        raise ValueError(f"{text!r} is no address and no network as 10.0.0.0/8") from None
    if str(meant.network_address) == str(ipaddress.ip_address(text.partition("/")[0])):
        return meant
    raise ValueError(f"{text!r} is an address within a network; that network is {meant}")


def parse_address(text: str) -> Address | None:
    """An address without a zone; of IPv4 within IPv6 the former. None: it is none."""
    if "%" in text:
        return None
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks that trusted proxies are in."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> TrustedProxies:
        """Of a setting. ValueError."""
        return cls(tuple(map(parse_network, texts)))

    def trust(self, host: str) -> bool:
        """Whether what a connection from ``host`` says is believed."""
        if not self.networks:
            return False
        address = parse_address(host.partition("%")[0])
        return address is not None and self._hold(address)

    def client(self, peer: Peer, forwarded_for: Sequence[str]) -> Peer:
        """Where the client of a request is that came from ``peer`` with these headers.

        The rightmost address that is no trusted proxy's; of trusted ones alone the leftmost. The
        peer itself where a proxy that is trusted wrote what is no address.
        """
        if not forwarded_for or not self.trust(peer.host):
            return peer
        found = peer
        hops = ",".join(forwarded_for).rsplit(",", MOST_HOPS)
        is_whole = len(hops) <= MOST_HOPS
        for hop in reversed(hops if is_whole else hops[1:]):
            one = _parse_hop(hop)
            if one is None:
                return peer
            if not self.trust(one.host):
                return one
            found = one
        return found if is_whole else peer

    def _hold(self, address: Address) -> bool:
        return any(address.version == one.version and address in one for one in self.networks)


def _parse_hop(text: str) -> Peer | None:
    """An element of the list: an address, in IPv6 maybe in brackets, maybe with a port."""
    if len(text) > _MOST_CHARACTERS:
        return None
    text = text.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    host, port = text, None
    with_port = _WITH_PORT.fullmatch(text)
    if with_port is not None:
        host, port = with_port[1] or with_port[3], with_port[2] or with_port[4]
        if port is not None and int(port) > _MOST_PORT:
            return None
        if with_port[1] is not None and ":" not in host:  # brackets are of IPv6
            return None
    address = parse_address(host)
    if address is None:
        return None
    return Peer(str(address), None if port is None else int(port))
