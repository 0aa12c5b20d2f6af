"""Bodies of requests: read within a limit, unpacked within it, and of the type that they say.

What is too long is refused by its ``Content-Length`` before a byte of it is read, and otherwise as
soon as it is; what gzip makes of it counts as much. The pieces are charged to the connection while
they are here. Lives on the loop's thread.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from omendb_core.model.errors import BadRequest, TooLarge

from .body import Parts
from .gate import Asking
from .refusals import Refused, other_type

#: Of gzip's: both its header and its check.
_GZIP: Final = 31
#: Unpacked at once, before others have their turn: about a millisecond.
_PIECE_BYTES: Final = 256 << 10
#: What a call takes counts as so much: members may be empty, and thousands of them in a chunk.
_CALL_BYTES: Final = 2 << 10
JSON: Final = "application/json"


def content_type(asking: Asking) -> str:
    """The media type of the body, without parameters, in lower case; empty if none is said."""
    said = asking.headers.get("content-type") or ""
    return said.partition(";")[0].strip().lower()


async def read_json(asking: Asking) -> str:
    """The text of a JSON body. Refused 415; TooLarge; BadRequest."""
    return await read_text(asking, asking.context.limits.max_text_bytes, "max_text_bytes")


async def read_text(asking: Asking, limit_bytes: int, limit: str) -> str:
    """As ``read_json``, within a limit of its own."""
    if content_type(asking) != JSON:
        raise other_type(f"Content-Type: must be {JSON}")
    parts = await read(asking, limit_bytes, limit)
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body: not UTF-8 at byte {error.start}") from None


async def read(asking: Asking, limit_bytes: int, limit: str) -> list[bytes]:
    """The whole body as it is meant, in parts. Refused 415; TooLarge over ``limit_bytes``."""
    coding = (asking.headers.get("content-encoding") or "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise other_type("Content-Encoding: gzip, or none")
    body = asking.body
    too_large = TooLarge(f"the body: over {limit_bytes} bytes ({limit})")
    said = asking.headers.get("content-length")
    if said is not None:
        if int(said) > limit_bytes:
            raise too_large
        body.expected_bytes = int(said)
    unpacked = None if coding == "identity" else _Unpacked(limit_bytes, too_large)
    parts = Parts()
    while chunks := await body.take():
        if body.received_bytes > limit_bytes:
            raise too_large
        for chunk in chunks:
            if unpacked is None:
                parts.add(chunk)
            else:
                await unpacked.feed(chunk, parts)
        held_bytes = body.received_bytes if unpacked is None else unpacked.made_bytes
        asking.connection.route_bytes = held_bytes
        if held_bytes > _PIECE_BYTES:
            asking.connection.weigh()
    if unpacked is not None:
        unpacked.finish()
    return parts.take()


class _Unpacked:
    """gzip, a piece at a time, so that it is refused before it has become too much."""

    def __init__(self, limit_bytes: int, too_large: TooLarge) -> None:
        self.made_bytes = 0
        self._limit_bytes = limit_bytes
        self._too_large = too_large
        self._member = zlib.decompressobj(_GZIP)
        self._since_others = 0

    async def feed(self, chunk: bytes, into: Parts) -> None:
        """Unpack more. Refused if it is no gzip; TooLarge."""
        piece = b""
        while chunk or len(piece) == _PIECE_BYTES:
            if self._member.eof and chunk:  # another one may follow
                self._member = zlib.decompressobj(_GZIP)
            try:
                piece = self._member.decompress(chunk, _PIECE_BYTES)
            except zlib.error:
                raise _no_gzip() from None
            self.made_bytes += len(piece)
            if self.made_bytes > self._limit_bytes:
                raise self._too_large
            into.add(piece)
            chunk = self._member.unconsumed_tail or self._member.unused_data
            self._since_others += len(piece) + _CALL_BYTES
            if self._since_others >= _PIECE_BYTES:
                self._since_others = 0
                await asyncio.sleep(0)

    def finish(self) -> None:
        """That was all. Refused if it ends in the middle."""
        if not self._member.eof:
            raise _no_gzip()


def _no_gzip() -> Refused:
    return Refused.of(BadRequest("the body: not gzip, as its Content-Encoding says"))
