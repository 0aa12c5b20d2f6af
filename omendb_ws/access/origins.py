"""Hosts and origins as browsers send them: parsing and comparing. PROTOCOL section 1.2.

Pure; knows no socket and no configuration. Both headers are under the control of whoever made the
request, so everything that is not plainly ``host[:port]`` or ``scheme://host[:port]`` parses to
None, and None is never equal to anything.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

#: Ports that a browser leaves out of ``Origin`` and ``Host``.
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class HostPort(NamedTuple):
    """A host in lower case (IPv6 compressed, without brackets), and its port if one was given."""

    host: str
    port: int | None


class Origin(NamedTuple):
    """A web origin; ``port`` is filled in from the scheme where it was left out."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def parse_host(text: str) -> HostPort | None:
    """``host[:port]`` of a Host header; None where it is anything else (userinfo, paths, …)."""
    match = _HOST.fullmatch(text)
    if match is None:
        return None
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 1 <= port <= 65_535:
        return None
    host = _normal_host(match["host"])
    return None if host is None else HostPort(host, port)


def parse_origin(text: str) -> Origin | None:
    """``scheme://host[:port]`` of an Origin header; None for ``null`` and anything else."""
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in DEFAULT_PORTS:
        return None
    parsed = parse_host(rest)
    if parsed is None:
        return None
    return Origin(scheme, parsed.host, parsed.port or DEFAULT_PORTS[scheme])


def is_loopback(host: str) -> bool:
    """Whether ``host`` (as HostPort holds it) can only mean this machine.

    ``localhost`` and names under it are loopback by RFC 6761; browsers resolve them without DNS,
    so a foreign page cannot point one at this server.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _normal_host(text: str) -> str | None:
    if text.startswith("["):
        try:
            return ipaddress.IPv6Address(text[1:-1]).compressed
        except ValueError:
            return None
    # One trailing dot means the same name, written absolutely.
    host = text.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    if labels[-1].isdigit():  # by the URL standard only an IPv4 address may end in a number
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            return None
    return host


def listens_on_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens on ``host``."""
    parsed = parse_host(f"[{host}]" if ":" in host else host)
    return parsed is not None and parsed.port is None and is_loopback(parsed.host)
