"""The head of an HTTP request as it comes, and as websockets' parser takes it.

That parser knows requests that become WebSockets: it hangs up on a body, on ``Transfer-Encoding``
and on what is malformed, without an answer. So the head is kept until it is whole, bounded, and
handed on without the lines that are about a body (which nobody reads here: every request but an
upgrade is answered, and the connection closed). Knows bytes, and no socket.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

#: What browsers send behind proxies: cookies of 4 KiB each, tokens of single sign-on. nginx takes
#: 32 KiB, Node 16.
MAX_HEAD_BYTES: Final = 32 << 10
#: A line without CR too: it is no HTTP, and hears so.
_END: Final = re.compile(rb"\r?\n\r?\n")
_END_BYTES: Final = 4
#: What no request begins with, be it malformed; TLS does, and must not be left waiting.
_NO_HTTP: Final = re.compile(rb"[^\t\r\n -~]")
_OF_A_BODY: Final = re.compile(
    rb"^(content-length|transfer-encoding|expect|trailer|te):(.*)$", re.I
)
_ABSOLUTE: Final = re.compile(rb"^([A-Z]+) https?://[^/?# ]*([/?]?[^ #]*)( HTTP/[0-9.]+)$", re.I)
_VERSION: Final = re.compile(rb" HTTP/(?!1\.[01]$)[0-9]+(\.[0-9]+)?$")


class RequestHead:
    """A head of at most ``MAX_HEAD_BYTES``. ``has_body``: something was said to come behind it."""

    __slots__ = ("_data", "has_body")

    def __init__(self) -> None:
        self._data = bytearray()
        self.has_body = False

    @property
    def held_bytes(self) -> int:
        """How much is kept."""
        return len(self._data)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head for websockets and what follows it; None until it is whole.

        It never will be where it ``is_full`` or ``is_no_http``.
        """
        before = len(self._data)
        self._data += data
        if self.is_no_http:
            return None
        end = _END.search(self._data, max(0, before - _END_BYTES + 1))
        if end is None or end.end() > MAX_HEAD_BYTES:
            return None
        head, rest = bytes(self._data[: end.end()]), bytes(self._data[end.end() :])
        self._data = bytearray()
        return self._simplified(head), rest

    @property
    def is_no_http(self) -> bool:
        """Whether it begins with a byte that no text has."""
        return _NO_HTTP.match(self._data) is not None

    @property
    def is_full(self) -> bool:
        """Whether it is longer than may be."""
        return len(self._data) > MAX_HEAD_BYTES

    def fault(self) -> HTTPStatus:
        """What is wrong with one that is full, or cut off."""
        if not self.is_full:
            return HTTPStatus.BAD_REQUEST
        if b"\n" in self._data:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        return HTTPStatus.REQUEST_URI_TOO_LONG

    def _simplified(self, head: bytes) -> bytes:
        first, *lines = head.split(b"\r\n")
        kept = []
        for line in lines:
            of_a_body = _OF_A_BODY.match(line)
            if of_a_body is None:
                kept.append(line)
            elif of_a_body[1].lower() in (b"content-length", b"transfer-encoding"):
                self.has_body |= of_a_body[2].strip() != b"0"
        absolute = _ABSOLUTE.match(first)
        if absolute is not None:
            path = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
            first = absolute[1] + b" " + path + absolute[3]
        return b"\r\n".join([first, *kept])


def fault_of(head: bytes) -> HTTPStatus:
    """What is wrong with a whole head that websockets does not take."""
    if _VERSION.search(head.partition(b"\r\n")[0]):
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
    return HTTPStatus.BAD_REQUEST
