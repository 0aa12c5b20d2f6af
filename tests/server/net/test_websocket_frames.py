"""Frames of clients: cut as websockets' own parser cuts them, however they are sent and split.

The oracle is websockets: its parser gets the same bytes whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.utils import apply_mask

from omendb_ws.net import websocket_frames
from omendb_ws.net.server import Server
from omendb_ws.net.websocket_frames import Cutter, decoded, head
from tests.server.raw import PATIENCE_SECONDS, running

MAX_BYTES = 1 << 17
LENGTHS = (0, 1, 5, 125, 126, 127, 528, 65_535, 65_536, MAX_BYTES)


def frame(opcode: int, data: bytes, fin: bool = True) -> bytes:
    """A client's frame."""
    return bytes(Frame(Opcode(opcode), data, fin).serialize(mask=True))


def parsed(stream: bytes) -> list[tuple[bytes, bool]]:
    """The messages that websockets finds in a stream."""
    protocol = Protocol(SERVER, state=OPEN, max_size=MAX_BYTES)
    protocol.receive_data(stream)
    return assembled(protocol)


def assembled(protocol: Protocol) -> list[tuple[bytes, bool]]:
    messages: list[tuple[bytes, bool]] = []
    parts: list[Frame] = []
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            parts.append(event)
            if event.fin:
                is_text = parts[0].opcode is Opcode.TEXT
                messages.append((b"".join(one.data for one in parts), is_text))
                parts.clear()
    return messages


class Cutting:
    """A cutter and the parser behind it, as ``Connection`` joins them."""

    def __init__(self) -> None:
        self.cutter = Cutter(MAX_BYTES, apply_mask)
        self.protocol = Protocol(SERVER, state=OPEN, max_size=MAX_BYTES)
        self.messages: list[tuple[bytes, bool]] = []
        self.handed_on = self.long = 0
        self._parts: list[Frame] = []

    def feed(self, stream: bytes) -> None:
        self.cutter.feed(stream)
        while self.protocol.state is OPEN:
            cut = self.cutter.take(self.protocol.current_size is not None)
            if cut is None:
                break
            data, is_text = cut
            if is_text is not None:
                self.long += isinstance(data, list)
                whole = b"".join(data) if isinstance(data, list) else data
                self.messages.append((whole, is_text))
                continue
            assert isinstance(data, bytes)
            self.handed_on += len(data)
            self.protocol.receive_data(data)
            for event in self.protocol.events_received():
                assert isinstance(event, Frame)
                self._event(event)

    def _event(self, event: Frame) -> None:
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._parts.append(event)
            if event.fin:
                is_text = self._parts[0].opcode is Opcode.TEXT
                self.messages.append((b"".join(one.data for one in self._parts), is_text))
                self._parts.clear()


def stream_of(numbers: random.Random, messages: int) -> tuple[bytes, int]:
    """Messages whole and in fragments, with control frames in between; how many pings."""
    frames = []
    pings = 0
    for _ in range(messages):
        opcode = numbers.choice((Opcode.TEXT, Opcode.BINARY))
        data = numbers.randbytes(numbers.choice(LENGTHS[:7]))
        parts = numbers.choice((1, 1, 1, 2, 4))
        cuts = sorted(numbers.randrange(len(data) + 1) for _ in range(parts - 1))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        for place, piece in enumerate(pieces):
            if numbers.random() < 0.2:
                control = numbers.choice((Opcode.PING, Opcode.PONG))
                pings += control is Opcode.PING
                frames.append(frame(control, b"beat"))
            fin = place == len(pieces) - 1
            frames.append(frame(Opcode.CONT if place else opcode, piece, fin))
    return b"".join(frames), pings


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("long_bytes", [1, 126, MAX_BYTES + 1])
def test_however_a_stream_is_split_its_messages_are_the_same(
    seed: int, long_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_frames, "_LONG_BYTES", long_bytes)
    numbers = random.Random(seed)
    stream, pings = stream_of(numbers, 40)
    cutting = Cutting()
    at = 0
    while at < len(stream):
        step = numbers.choice((1, 2, 3, 7, 100, 1000, 30_000))
        cutting.feed(stream[at : at + step])
        at += step
    assert cutting.messages == parsed(stream)
    assert cutting.protocol.state is OPEN
    assert cutting.cutter.held_bytes == 0
    assert len(cutting.protocol.data_to_send()) == pings
    assert not cutting.long or long_bytes <= MAX_BYTES


@pytest.mark.parametrize("length", LENGTHS)
def test_a_whole_message_of_any_length_is_taken_without_websockets(length: int) -> None:
    data = random.Random(length).randbytes(length)
    stream = frame(Opcode.BINARY, data)
    for step in (len(stream), 4096, 13 if length < 1000 else 9999):
        cutting = Cutting()
        for at in range(0, len(stream), step):
            cutting.feed(stream[at : at + step])
        assert cutting.messages == [(data, False)]
        assert cutting.handed_on == 0


def unmasked() -> bytes:
    return bytes(Frame(Opcode.BINARY, b"12345").serialize(mask=False))


FAULTS = {
    "too long": frame(Opcode.BINARY, bytes(MAX_BYTES + 1)),
    "longer than can be": b"\x82\xff" + b"\xff" * 8 + b"mask",
    "not masked": unmasked(),
    "a reserved opcode": b"\x83\x80mask",
    "a reserved bit": b"\xc2\x80mask",
    "a continuation of nothing": frame(Opcode.CONT, b"x"),
    "a message within fragments": frame(Opcode.TEXT, b"x", False) + frame(Opcode.TEXT, b"y"),
    "a ping in fragments": b"\x09\x81mask" + b"x",
    "a long ping": b"\x89\xfe\x00\x7e" + bytes(4 + 126),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_websockets_to_judge(name: str) -> None:
    good = frame(Opcode.BINARY, b"good")
    alone = Protocol(SERVER, state=OPEN, max_size=MAX_BYTES)
    alone.receive_data(good + FAULTS[name] + good)
    for step in (1 << 20, 1):
        cutting = Cutting()
        stream = good + FAULTS[name] + good
        for at in range(0, min(len(stream), 400 if step == 1 else 1 << 20), step):
            cutting.feed(stream[at : at + step])
        assert cutting.messages == [(b"good", False)]
        assert cutting.protocol.close_sent == alone.close_sent
        assert cutting.protocol.close_sent is not None


def test_what_was_not_taken_is_given_back_whole() -> None:
    stream = frame(Opcode.BINARY, b"one") + frame(Opcode.BINARY, bytes(300))[:-1]
    cutter = Cutter(MAX_BYTES, apply_mask)
    for byte in stream:
        cutter.feed(bytes([byte]))
    assert cutter.take(False) is not None
    assert cutter.take(False) is None
    cutter.feed(b"more")
    assert cutter.held_bytes == len(stream) - len(frame(Opcode.BINARY, b"one")) + 4
    assert len(cutter.rest()) == len(stream) - len(frame(Opcode.BINARY, b"one")) + 4
    assert cutter.held_bytes == 0
    assert cutter.rest() == b""


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_of_a_long_message_too_what_was_not_taken_is_given_back_as_it_came(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_frames, "_LONG_BYTES", 200)
    whole = frame(Opcode.BINARY, random.Random(1).randbytes(300))
    for stream in (whole[:-1], whole, whole + b"more"):
        cutter = Cutter(MAX_BYTES, apply_mask)
        for at in range(0, len(stream), step):
            cutter.feed(stream[at : at + step])
            if at + step < len(whole):
                assert cutter.take(False) is None
            assert cutter.held_bytes == min(at + step, len(stream))
            assert cutter.memory_bytes >= cutter.held_bytes
        assert cutter.rest() == stream
        assert (cutter.held_bytes, cutter.memory_bytes) == (0, 0)


def test_a_long_message_comes_in_pieces_as_it_was_sent() -> None:
    data = random.Random(2).randbytes(MAX_BYTES)
    stream = frame(Opcode.TEXT, data)
    for long_bytes in (MAX_BYTES, MAX_BYTES + 1):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(websocket_frames, "_LONG_BYTES", long_bytes)
            cutting = Cutting()
            for at in range(0, len(stream), 9999):
                cutting.feed(stream[at : at + 9999])
        assert cutting.messages == [(data, True)]
        assert cutting.long == (long_bytes == MAX_BYTES)


@pytest.mark.parametrize("text", ["", "abc" * 50, "é𝄞€a" * 40])
def test_a_text_in_pieces_is_that_text(text: str) -> None:
    data = text.encode()
    for step in (1, 2, 3, 5, 1000):
        assert decoded([data[at : at + step] for at in range(0, len(data), step)]) == text


@pytest.mark.parametrize("data", [b"ab\xff", b"a\xc3", b"\xed\xa0\x80" + b"a" * 9, b"aa\xf0\x9d"])
def test_a_text_in_pieces_that_is_none_is_refused_as_it_is_whole(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError) as whole:
        data.decode()
    for step in (1, 2, 3, 1000):
        with pytest.raises(UnicodeDecodeError) as found:
            decoded([data[at : at + step] for at in range(0, len(data), step)])
        assert str(found.value) == str(whole.value)


@pytest.mark.parametrize("rest", [0, 1, 5, 300])
def test_a_silent_connection_keeps_nothing_of_what_it_said(rest: int) -> None:
    message = frame(Opcode.BINARY, bytes(528))
    cutter = Cutter(MAX_BYTES, apply_mask)
    cutter.feed(message * 400 + message[:rest])
    for _ in range(400):
        assert cutter.take(False) is not None
    assert cutter.take(False) is None
    assert cutter.held_bytes == rest
    assert len(cutter._data) == rest
    cutter.feed(message[rest:])
    assert cutter.take(False) == (bytes(528), False)


def test_a_long_message_in_many_pieces_is_put_together_once() -> None:
    data = random.Random(9).randbytes(MAX_BYTES)
    stream = frame(Opcode.BINARY, data)
    cutter = Cutter(MAX_BYTES, apply_mask)
    cutter.feed(stream[:100])
    assert cutter.take(False) is None
    for at in range(100, len(stream) - 1):
        cutter.feed(stream[at : at + 1])
        assert len(cutter._data) == 100
        assert cutter.take(False) is None
    cutter.feed(stream[-1:])
    assert cutter.take(False) == (data, False)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("is_text", [True, False])
def test_a_head_is_what_websockets_writes(length: int, is_text: bool) -> None:
    opcode = Opcode.TEXT if is_text else Opcode.BINARY
    data = bytes(length)
    assert head(length, is_text) + data == Frame(opcode, data).serialize(mask=False)


# -- over a socket --------------------------------------------------------------------------------


@asynccontextmanager
async def socket(
    server: Server, and_then: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection; ``and_then`` is sent with the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(
            b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            + and_then
        )
        await reader.readuntil(b"\r\n\r\n")
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def message(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The first byte and the payload of the server's next frame."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        first, length = await reader.readexactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
        return first, await reader.readexactly(length)


def ping(id: int) -> bytes:
    return orjson.dumps({"id": id, "op": "ping"})


async def replies(reader: asyncio.StreamReader, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        _, data = await message(reader)
        if "id" in orjson.loads(data):
            found.append(orjson.loads(data)["id"])
    return found


async def test_messages_whole_and_in_fragments_are_taken_in_the_order_sent() -> None:
    numbers = random.Random(3)
    stream = b""
    for id in range(300):
        data = ping(id)
        if id % 3:
            stream += frame(Opcode.TEXT, data)
        else:
            stream += frame(Opcode.TEXT, data[:5], False) + frame(Opcode.CONT, data[5:])
    async with running() as server, socket(server) as (reader, writer):
        at = 0
        while at < len(stream):
            step = numbers.choice((1, 10, 3000))
            writer.write(stream[at : at + step])
            await writer.drain()
            at += step
        assert await replies(reader, 300) == list(range(300))


async def test_what_is_sent_with_the_request_is_read() -> None:
    early = b"".join(frame(Opcode.TEXT, ping(id)) for id in range(100))
    async with running() as server, socket(server, early + early[:7]) as (reader, writer):
        writer.write(early[7:])
        assert await replies(reader, 200) == [*range(100), *range(100)]


async def test_what_was_sent_before_the_end_is_done() -> None:
    async with running() as server, socket(server) as (reader, writer):
        create = {"id": 0, "op": "create", "collection": "c", "dim": 1, "capacity": 1000}
        stream = frame(Opcode.TEXT, orjson.dumps(create))
        for id in range(1, 201):
            add = {"id": id, "op": "add", "collection": "c", "rows": [{"id": id, "vector": [1]}]}
            stream += frame(Opcode.TEXT, orjson.dumps(add))
        writer.write(stream)
        writer.write_eof()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await reader.read()
            while server.metrics.added_rows != 200:  # noqa: ASYNC110 - another thread's
                await asyncio.sleep(0)


CLOSES = {
    "text that is not UTF-8": (frame(Opcode.TEXT, b"\xff"), 1007),
    "fragments that are not UTF-8": (
        frame(Opcode.TEXT, b"\xff", False) + frame(Opcode.CONT, b""),
        1007,
    ),
    "not masked": (unmasked(), 1002),
    "a continuation of nothing": (FAULTS["a continuation of nothing"], 1002),
    "a message within fragments": (FAULTS["a message within fragments"], 1002),
    "too long": (frame(Opcode.BINARY, bytes(MAX_BYTES + 1)), 1009),
    "too long in fragments": (
        frame(Opcode.BINARY, bytes(MAX_BYTES), False) + frame(Opcode.CONT, b"x"),
        1009,
    ),
    "too many fragments": (
        frame(Opcode.BINARY, b"x", False) + frame(Opcode.CONT, b"x", False) * 4096,
        1009,
    ),
    "a close": (frame(Opcode.CLOSE, struct.pack("!H", 1000)), 1000),
}


@pytest.mark.parametrize("name", CLOSES)
async def test_a_connection_ends_with_the_code_for_what_was_wrong(name: str) -> None:
    sent, code = CLOSES[name]
    async with running(max_message_bytes=MAX_BYTES, max_text_bytes=MAX_BYTES) as server:
        async with socket(server) as (reader, writer):
            writer.write(frame(Opcode.TEXT, ping(1)) + sent + frame(Opcode.TEXT, ping(2)))
            assert await replies(reader, 1) == [1]
            first, data = await message(reader)
            assert first == 0x88
            assert struct.unpack_from("!H", data) == (code,)
            assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        async with socket(server) as (reader, writer):
            writer.write(frame(Opcode.TEXT, ping(3)))
            assert await replies(reader, 1) == [3]


async def test_a_connection_with_much_to_say_lets_others_have_their_turn() -> None:
    async with running() as server, socket(server) as (_, flood), socket(server) as (reader, one):
        flood.write(frame(Opcode.TEXT, ping(1)) * 5000)
        one.write(frame(Opcode.TEXT, ping(7)))
        assert await replies(reader, 1) == [7]
        assert server.metrics.received_messages < 5001


# -- streams that are broken on purpose -----------------------------------------------------------


def mutated(numbers: random.Random) -> bytes:
    """Good frames with bytes changed, cut out and put in, and others that are noise."""
    stream = bytearray(stream_of(numbers, numbers.randrange(1, 8))[0])
    for _ in range(numbers.randrange(4)):
        at = numbers.randrange(len(stream) + 1)
        stream[at : at + numbers.randrange(4)] = numbers.randbytes(numbers.randrange(4))
    if numbers.random() < 0.3:
        stream += numbers.randbytes(numbers.randrange(40))
    return bytes(stream)


def judged(stream: bytes) -> int | None:
    """The code with which websockets alone would end it; text that is none counts."""
    protocol = Protocol(SERVER, state=OPEN, max_size=MAX_BYTES)
    protocol.receive_data(stream)
    for data, is_text in assembled(protocol):
        if is_text:
            try:
                data.decode()
            except UnicodeDecodeError:
                return 1007
    return None if protocol.close_sent is None else protocol.close_sent.code


@pytest.mark.parametrize("seed", range(6))
async def test_broken_streams_end_only_their_own_connection(seed: int) -> None:
    numbers = random.Random(2000 + seed)
    async with (
        running(max_message_bytes=MAX_BYTES, max_text_bytes=MAX_BYTES) as server,
        socket(server) as (known_reader, known),
    ):
        for id in range(15):
            stream = mutated(numbers)
            async with socket(server) as (reader, writer):
                writer.write(stream)
                writer.write_eof()
                said = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
            closes = [data for first, data in frames_in(said) if first == 0x88]
            code = judged(stream)
            if code is not None:
                assert len(closes) == 1
                assert closes[0][:2] in (struct.pack("!H", code), b"")
            known.write(frame(Opcode.TEXT, ping(id)))
            assert await replies(known_reader, 1) == [id]
        assert server.metrics.faults == 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(server._known) != 1:  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0)
        assert server._known.held_bytes == 0
        assert len(server._strangers) == 0


def frames_in(stream: bytes) -> list[tuple[int, bytes]]:
    """The first byte and the payload of each frame that the server sent."""
    found, at = [], 0
    while at < len(stream):
        length, start = stream[at + 1], at + 2
        if length == 126:
            length, start = int.from_bytes(stream[start : start + 2], "big"), start + 2
        elif length == 127:
            length, start = int.from_bytes(stream[start : start + 8], "big"), start + 8
        found.append((stream[at], stream[start : start + length]))
        at = start + length
    return found
