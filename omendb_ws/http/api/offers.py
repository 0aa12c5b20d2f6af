"""``Upgrade``: another protocol that a client offers to speak (RFC 9110, section 7.8). Pure.

An offer is ignored: Java's client and ``curl --http2`` make one with the first request of each
connection. The parser, though, takes what is behind such a head for the other protocol. So there it
is given a head that offers nothing (``body_head``), and the body comes as of any other request. A
WebSocket is offered by those who know its port, or who want a proxy to believe in one and to look
no further: there is nothing to be said on such a connection behind the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Headers = Sequence[tuple[bytes, bytes]]

#: What says how a body ends; the parser that has read the head takes no two of them.
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding"))


def is_ignored(method: bytes, headers: Headers) -> bool:
    """Whether a request that the parser takes for an upgrade is an ordinary one besides."""
    offered = [value.lower() for name, value in headers if name == b"upgrade"]
    is_tunnel = method == b"CONNECT" or any(b"websocket" in one for one in offered)
    return bool(offered) and not is_tunnel


def has_body(headers: Headers) -> bool:
    """Whether a body follows."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and bool(value.strip(b"0")))
        for name, value in headers
    )


def body_head(method: bytes, version: str, headers: Headers) -> bytes:
    """A head that says of the body what this one does, and nothing else."""
    lines = [b"%b / HTTP/%b\r\n" % (method, version.encode())]
    lines += [b"%b: %b\r\n" % (name, value) for name, value in headers if name in _FRAMING]
    return b"".join((*lines, b"\r\n"))
