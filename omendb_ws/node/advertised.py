"""Where other nodes reach this one, if nobody says it. Pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def reached_at(url: str, local_host: str | None) -> str:
    """``url``, at which this node listens, as other machines can reach it.

    Where it listens on all addresses: at ``local_host``, its own on the way to NATS, if known.
    """
    parts = urlsplit(url)
    if local_host is None or not _is_every_address(parts.hostname or ""):
        return url
    host = f"[{local_host}]" if ":" in local_host else local_host
    return parts._replace(netloc=f"{host}:{parts.port}").geturl()


def _is_every_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
