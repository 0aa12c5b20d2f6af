"""WebSocket frames as they lie in the stream (RFC 6455 section 5.2): whole messages in and out.

Nearly everything that a server sends is a message in one frame, and all that a client sends is.
Cutting such out, and masking them, takes 1 µs where websockets takes 10 for one each way.
Everything else (control frames, fragments, frames that have not come whole, faults) is left to its
parser byte for byte, from ``Arriving.rest`` on until that stands between two frames again. Knows no
socket.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from struct import Struct
from typing import Final

from websockets.frames import Frame

try:  # as websockets itself does
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
#: Lengths from here on stand in two bytes, or in eight.
_LENGTH_IN_TWO: Final = 126
_LENGTH_IN_EIGHT: Final = 127
_TWO: Final = Struct(">BBH")
_EIGHT: Final = Struct(">BBQ")
_SHORT_BYTES, _TWO_BYTES, _EIGHT_BYTES = 2, _TWO.size, _EIGHT.size
_END_OF_HEAD: Final = b"\r\n\r\n"
#: Masks are taken out of so many random bytes: a call of the system for each costs 1 µs.
_RANDOM_BYTES: Final = 4096


class Arriving:
    """What a server sends. ``max_message_bytes``: longer messages are the parser's to refuse."""

    __slots__ = ("_head", "_max_message_bytes", "_parsing_bytes")

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        #: Of the answer to the handshake and what came with it; None: that is over.
        self._head: bytes | None = b""
        #: How much of frames that are not whole the parser has been given.
        self._parsing_bytes = 0

    def take_whole(self, data: bytes, take: Callable[[bytes], None]) -> bytes:
        """Hand each whole message at the beginning of ``data`` to ``take``; the rest, which is the
        parser's: all of it where that is in the middle of a frame.
        """
        if self._head is not None or self._parsing_bytes:
            return data
        at, size = 0, len(data)
        while size - at >= _SHORT_BYTES:
            first, length = data[at], data[at + 1]
            start = at + _SHORT_BYTES
            if first not in (_WHOLE_BINARY, _WHOLE_TEXT) or length > _LENGTH_IN_EIGHT:
                break
            if length == _LENGTH_IN_TWO and size - at >= _TWO_BYTES:
                start, length = at + _TWO_BYTES, _TWO.unpack_from(data, at)[2]
            elif length == _LENGTH_IN_EIGHT and size - at >= _EIGHT_BYTES:
                start, length = at + _EIGHT_BYTES, _EIGHT.unpack_from(data, at)[2]
            elif length >= _LENGTH_IN_TWO:
                break
            end = start + length
            if end > size or length > self._max_message_bytes:
                break
            take(data[start:end])
            at = end
        return data[at:] if at else data

    def rest(self, data: bytes) -> None:
        """The parser will be given that."""
        if self._head is None:
            self._parsing_bytes += len(data)
        else:
            self._head += data

    def opened(self) -> None:
        """The parser has read the answer to the handshake, and what came with it."""
        if self._head is not None:
            _, _, behind = self._head.partition(_END_OF_HEAD)
            self._parsing_bytes += len(behind)
            self._head = None

    def parsed(self, frame: Frame) -> None:
        """The parser has found a frame (one longer than it need be leaves the rest to it)."""
        length = len(frame.data)
        self._parsing_bytes -= length + (
            _SHORT_BYTES
            if length < _LENGTH_IN_TWO
            else _TWO_BYTES
            if length < 1 << 16
            else _EIGHT_BYTES
        )


class Masks:
    """Masks for frames, each for one."""

    __slots__ = ("_at", "_random")

    def __init__(self) -> None:
        self._random = b""
        self._at = 0

    def next(self) -> bytes:
        """Four bytes that nobody can foresee."""
        if self._at == len(self._random):
            self._random, self._at = os.urandom(_RANDOM_BYTES), 0
        self._at += _MASK_BYTES
        return self._random[self._at - _MASK_BYTES : self._at]


def masked(message: bytes | bytearray, mask: bytes, *, is_text: bool) -> bytes:
    """The frame of a whole message."""
    first, length = _WHOLE_TEXT if is_text else _WHOLE_BINARY, len(message)
    if length < _LENGTH_IN_TWO:
        head = bytes((first, _MASKED | length))
    elif length < 1 << 16:
        head = _TWO.pack(first, _MASKED | _LENGTH_IN_TWO, length)
    else:
        head = _EIGHT.pack(first, _MASKED | _LENGTH_IN_EIGHT, length)
    return b"".join((head, mask, apply_mask(message, mask)))
