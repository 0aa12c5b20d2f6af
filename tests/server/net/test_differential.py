"""Streams of all kinds, read by the server's connection beside the parser of websockets.

Whatever a client sends, and however the network cuts it, both find the same messages, answer with
the same bytes, and end for the same reason. The parser gets one byte at a time and is asked for
everything it says; what it leaves to its caller (text that is none) is done here.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from tests.server.net.driven import Driven
from tests.server.net.rfc6455.table import FIN, close_body, frame

#: So small that streams which are too long are short enough for every split.
MAX_BYTES = 300
STREAMS = int(os.environ.get("DIFFERENTIAL_STREAMS", "600"))
#: A test each, so that one that fails says where.
PARTS = 8
#: Longer ones are cut at some places only.
MOST_CUT_EVERYWHERE = 100
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Read(NamedTuple):
    """What came of a stream. ``ended``: the code after the client's end, 1006 if it just went."""

    messages: list[str | bytes]
    written: bytes
    code: int | None
    is_over: bool
    ended: int | None


def by_websockets(stream: bytes) -> Read:
    """What its parser makes of it."""
    protocol = Protocol(SERVER, state=OPEN, max_size=MAX_BYTES)
    messages: list[str | bytes] = []
    parts: list[Frame] = []
    written: list[bytes] = []
    for byte in stream:
        protocol.receive_data(bytes([byte]))
        written += protocol.data_to_send()
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in _DATA:
                parts.append(event)
                if event.fin:
                    _take(protocol, parts, messages)
        written += protocol.data_to_send()
    code = None if protocol.close_sent is None else protocol.close_sent.code
    is_over = protocol.eof_sent
    protocol.receive_eof()
    return Read(messages, b"".join(written), code, is_over, protocol.close_code)


def _take(protocol: Protocol, parts: list[Frame], messages: list[str | bytes]) -> None:
    data = b"".join(one.data for one in parts)
    is_text = parts[0].opcode is Opcode.TEXT
    parts.clear()
    try:
        messages.append(data.decode() if is_text else data)
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at position {error.start}"
        protocol.fail(CloseCode.INVALID_DATA, reason)


def by_server(stream: bytes, cuts: list[int], numbers: random.Random | None = None) -> Read:
    """What the server's connection makes of it, cut there."""
    driven = Driven(MAX_BYTES, numbers)
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        if begin < end:
            driven.feed(stream[begin:end])
    sent = driven.protocol.close_sent
    code, is_over = None if sent is None else sent.code, driven.wire.has_ended
    written = driven.wire.written
    driven.end()
    return Read(driven.heard, written, code, is_over, driven.protocol.close_code)


# -- streams --------------------------------------------------------------------------------------

TEXTS = ("", "a", "Hello", "κόσμε", "€😀", "\x00", "\ufffd", "x" * 125, "é" * 70, "😀" * 75)


def some_data(numbers: random.Random, is_text: bool) -> bytes:
    if is_text and numbers.random() < 0.9:
        return numbers.choice(TEXTS).encode()
    length = numbers.choice((0, 1, 2, 3, 7, 30, 125, 126, 127, MAX_BYTES - 1, MAX_BYTES))
    return numbers.randbytes(length if numbers.random() < 0.5 else min(length, 9))


def some_control(numbers: random.Random) -> bytes:
    opcode = numbers.choice((Opcode.PING, Opcode.PING, Opcode.PONG))
    return frame(FIN | opcode, numbers.randbytes(numbers.choice((0, 1, 4, 125))))


def some_close(numbers: random.Random) -> bytes:
    code = numbers.choice((1000, 1001, 1005, 1011, 1015, 2999, 3000, 4999, 5000))
    body = numbers.choice((b"", b"\x03", close_body(code), close_body(code, "so long €")))
    return frame(FIN | Opcode.CLOSE, body + numbers.choice((b"", b"", b"\xff")))


def some_frame(numbers: random.Random) -> bytes:
    """Anything at all that has a header."""
    data = numbers.randbytes(numbers.choice((0, 1, 5, 130)))
    key = numbers.randbytes(4) if numbers.random() < 0.9 else None
    length_in = numbers.choice((0, 0, 2, 8))
    return frame(numbers.randrange(256), data, key=key, length_in=length_in)


def some_message(numbers: random.Random) -> bytes:
    """Whole or in fragments, with control frames in between."""
    is_text = numbers.random() < 0.5
    opcode = Opcode.TEXT if is_text else Opcode.BINARY
    data = some_data(numbers, is_text)
    count = numbers.choice((1, 1, 1, 2, 3, 5))
    cuts = sorted(numbers.randrange(len(data) + 1) for _ in range(count - 1))
    frames = []
    for place, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(data)], strict=True)):
        first = (Opcode.CONT if place else opcode) | (FIN if place == count - 1 else 0)
        length_in = 8 if numbers.random() < 0.05 else 0
        frames.append(frame(first, data[begin:end], key=numbers.randbytes(4), length_in=length_in))
        if numbers.random() < 0.2:
            frames.append(some_control(numbers))
    if numbers.random() < 0.05:
        numbers.shuffle(frames)
    if numbers.random() < 0.03:
        frames.pop()
    return b"".join(frames)


def some_stream(numbers: random.Random) -> bytes:
    """Messages; then, often, bytes changed, cut out and put in; sometimes noise."""
    if numbers.random() < 0.05:
        return numbers.randbytes(numbers.randrange(60))
    makers = (some_message, some_message, some_message, some_control, some_close, some_frame)
    weights = (6, 6, 6, 3, 2, 1)
    count = numbers.randrange(1, 5)
    stream = bytearray(
        b"".join(make(numbers) for make in numbers.choices(makers, weights, k=count))
    )
    for _ in range(numbers.choice((0, 0, 1, 1, 2, 4))):
        at = numbers.randrange(len(stream) + 1)
        if numbers.random() < 0.5 and at < len(stream):
            stream[at] ^= 1 << numbers.randrange(8)
        else:
            stream[at : at + numbers.randrange(4)] = numbers.randbytes(numbers.randrange(4))
    return bytes(stream)


def splits(numbers: random.Random, size: int) -> Iterator[list[int]]:
    """Whole; a byte at a time; in two at every place, if it is short; in several at some."""
    yield []
    yield list(range(1, size))
    everywhere = size <= MOST_CUT_EVERYWHERE
    places = range(1, size) if everywhere else numbers.sample(range(1, size), 10)
    yield from ([place] for place in places)
    for _ in range(3):
        yield sorted(numbers.choices(range(size + 1), k=numbers.randrange(2, 9)))


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_stream_is_read_as_websockets_reads_it_however_it_is_cut(part: int) -> None:
    for seed in range(part, STREAMS, PARTS):
        numbers = random.Random(seed)
        stream = some_stream(numbers)
        wanted = by_websockets(stream)
        for cuts in splits(numbers, len(stream)):
            room = numbers if numbers.random() < 0.3 else None
            assert by_server(stream, cuts, room) == wanted, (seed, stream, cuts)


@pytest.mark.parametrize(
    "head", [b"\x81\xfe\xcc<", b"\x82\xff" + bytes(6) + b"\x02\x00", b"\x89\xfe\x00\x7e"]
)
async def test_a_length_that_is_too_long_is_judged_before_its_mask_comes(head: bytes) -> None:
    for mask_bytes in range(5):
        stream = head + bytes(mask_bytes)
        for cuts in ([], list(range(1, len(stream)))):
            assert by_server(stream, cuts) == by_websockets(stream)


def test_the_streams_are_of_all_kinds() -> None:
    """Else the test above would compare little."""
    found = [by_websockets(some_stream(random.Random(seed))) for seed in range(1000)]
    codes = Counter(read.code for read in found)
    assert codes[None] > 200
    assert min(codes[1002], codes[1007], codes[1009]) >= 10
    assert sum(codes[code] for code in (1000, 1001, 1005, 1011, 3000, 4999)) >= 20
    assert sum(len(read.messages) > 1 for read in found) > 200
    assert sum(b"\x8a" in read.written for read in found) > 100
