"""Answers: JSON as the session says it, packed for those who take gzip where that is worth it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any, Final

from ..encodings import accepted
from .gate import Asking, Send

_GZIP: Final = 31
#: Below it fits into a packet or two anyway.
_LEAST_BYTES: Final = 2048
#: A third of what level 6 takes, for a tenth more.
_LEVEL: Final = 1
#: Packed at once, before others have their turn: 2 ms.
_PIECE_BYTES: Final = 128 << 10


class JsonAnswer:
    """200 with a JSON document. ASGI."""

    __slots__ = ("_asking", "_body")

    def __init__(self, asking: Asking, body: bytes | memoryview) -> None:
        self._asking = asking
        self._body = body

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Send it."""
        headers = [(b"content-type", b"application/json")]
        length = len(self._body)
        is_large = length >= _LEAST_BYTES
        if is_large:
            self._asking.connection.route_bytes = length
            headers.append((b"vary", b"Accept-Encoding"))
        if is_large and accepted(self._asking.headers.get_all("Accept-Encoding")).gzip:
            headers.append((b"content-encoding", b"gzip"))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send_packed(send)
            return
        headers.append((b"content-length", b"%d" % length))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})

    async def _send_packed(self, send: Send) -> None:
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        for start in range(0, len(self._body), _PIECE_BYTES):
            packed = packer.compress(self._body[start : start + _PIECE_BYTES])
            if packed:
                await send({"type": "http.response.body", "body": packed, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": packer.flush()})


class FileAnswer:
    """200 with a file that never changes while the server runs. ASGI.

    ``packed``: the same, gzipped.
    """

    __slots__ = ("_asking", "_headers", "_packed", "_plain")

    def __init__(
        self,
        asking: Asking,
        plain: bytes,
        packed: bytes,
        content_type: str,
        headers: Mapping[str, str],
    ) -> None:
        self._asking = asking
        self._plain = plain
        self._packed = packed
        self._headers = {
            "content-type": content_type,
            "cache-control": "no-cache",
            "vary": "Accept-Encoding",
            **headers,
        }

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Send it."""
        headers, body = [*self._headers.items()], self._plain
        if accepted(self._asking.headers.get_all("Accept-Encoding")).gzip:
            headers.append(("content-encoding", "gzip"))
            body = self._packed
        headers.append(("content-length", str(len(body))))
        lines = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": body})
