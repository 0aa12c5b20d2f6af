"""What a case of RFC 6455 is, and the frames that cases are made of.

A case says what a client sends once its handshake is done, and the frames that a server which says
every message back has to answer. Written from the RFC's text, not from any implementation.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, TypeAlias

#: What the server of these tests takes at most.
MAX_BYTES: Final = 1 << 17

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
FIN: Final = 0x80
#: Its bytes differ, so that a shift by one is seen.
KEY: Final = b"\x12\x34\x56\x78"

#: A frame of the server: its opcode and payload. Of a close only the code is looked at.
Answer: TypeAlias = tuple[int, bytes]


class Case(NamedTuple):
    """``code``: the close code with which the server ends it; None: it goes on.

    0 stands for a close frame without a code.
    """

    section: str
    name: str
    sent: bytes
    answers: list[Answer]
    code: int | None = None


def masked(data: bytes, key: bytes) -> bytes:
    """Section 5.3, byte by byte."""
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(data))


def frame(first: int, data: bytes = b"", *, key: bytes | None = KEY, length_in: int = 0) -> bytes:
    """A frame with that first byte. ``length_in``: 2 or 8 bytes, however short it is."""
    mask_bit = 0x80 if key is not None else 0
    least = 0 if len(data) < 126 else 2 if len(data) < 1 << 16 else 8
    size = length_in or least
    head = bytes([first, mask_bit | {0: len(data), 2: 126, 8: 127}[size]])
    if size:
        head += len(data).to_bytes(size, "big")
    return head + (data if key is None else key + masked(data, key))


def text(data: str | bytes) -> bytes:
    return frame(FIN | TEXT, data.encode() if isinstance(data, str) else data)


def binary(data: bytes) -> bytes:
    return frame(FIN | BINARY, data)


def ping(data: bytes = b"") -> bytes:
    return frame(FIN | PING, data)


def pong(data: bytes = b"") -> bytes:
    return frame(FIN | PONG, data)


def close_body(code: int, reason: str | bytes = b"") -> bytes:
    reason = reason.encode() if isinstance(reason, str) else reason
    return struct.pack("!H", code) + reason


def close(code: int, reason: str | bytes = b"") -> bytes:
    return frame(FIN | CLOSE, close_body(code, reason))


def parts(opcode: int, *pieces: bytes, between: bytes = b"") -> bytes:
    """A message in fragments (section 5.4), with ``between`` after each but the last."""
    frames = []
    for place, piece in enumerate(pieces):
        is_last = place == len(pieces) - 1
        first = (CONTINUATION if place else opcode) | (FIN if is_last else 0)
        frames.append(frame(first, piece))
    return between.join(frames)
