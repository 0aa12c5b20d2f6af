"""Past websockets' parser: however a stream is cut, the same messages come of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from omendb_ws.client.websocket import Socket
from omendb_ws.client.websocket_frames import Masks, masked

MAX_BYTES = 70_000
SIZES = (0, 1, 125, 126, 127, 300, 65_535, 65_536, 66_000)


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.is_closed = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def get_extra_info(self, _: str) -> None:
        return None

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""

    def set_write_buffer_limits(self, *_: Any, **__: Any) -> None:
        """Nothing waits here."""


def begun() -> tuple[Socket, Transport, bytes, list[bytes]]:
    """A socket that has asked for the handshake, what is answered, and where messages go."""
    protocol = ClientProtocol(parse_uri("ws://there/"), max_size=MAX_BYTES)
    socket, transport = Socket(protocol), Transport()
    socket.connection_made(transport)  # type: ignore[arg-type]
    request = protocol.connect()
    protocol.send_request(request)
    socket.send_data()
    heard: list[bytes] = []
    socket.take = heard.append
    return socket, transport, ServerProtocol().accept(request).serialize(), heard


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


def stream(rng: random.Random) -> tuple[bytes, list[bytes], int]:
    """Frames of all kinds, the messages in them, and how many pings."""
    data, messages, pings = b"", [], 0
    for _ in range(rng.randint(1, 12)):
        message = rng.randbytes(rng.choice(SIZES))
        opcode = rng.choice((Opcode.TEXT, Opcode.BINARY))
        kind = rng.randrange(5)
        if kind == 0:
            data += frame(Opcode.PING, message[:125])
            pings += 1
            continue
        messages.append(message)
        if kind == 1:  # in two fragments, a ping between them
            cut = rng.randint(0, len(message))
            data += frame(opcode, message[:cut], fin=False) + frame(Opcode.PING, b"?")
            data += frame(Opcode.CONT, message[cut:])
            pings += 1
        elif kind == 2 and len(message) < 126:  # of a length that takes more bytes than it need
            data += bytes((0x80 | opcode, 126, 0, len(message))) + message
        else:
            data += frame(opcode, message)
    return data, messages, pings


@pytest.mark.parametrize("seed", range(60))
async def test_however_a_stream_is_cut_its_messages_come_whole_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    socket, transport, answer, heard = begun()
    data, messages, pings = stream(rng)
    data = answer + data
    transport.written = b""
    while data:
        size = rng.choice((1, 2, 3, 100, 1_000, 66_010, len(data)))
        socket.data_received(data[:size])
        data = data[size:]
    assert heard == messages
    assert socket.protocol.state is State.OPEN
    written, pongs = transport.written, 0
    while written:
        assert written[0] == 0x8A
        pongs += 1
        written = written[2 + 4 + (written[1] & 0x7F) :]
    assert pongs == pings


@pytest.mark.parametrize(
    "wrong",
    [
        frame(Opcode.BINARY, bytes(MAX_BYTES + 1)),
        b"\x82\x81\x00\x00\x00\x00\x01",  # masked, as only a client may
        b"\xc2\x01\x00",  # a bit that is reserved
        frame(Opcode.CONT, b"of nothing"),
    ],
)
async def test_what_no_server_may_send_is_heard_by_nobody_and_ends_the_connection(
    wrong: bytes,
) -> None:
    socket, _, answer, heard = begun()
    socket.data_received(answer + frame(Opcode.BINARY, b"one"))
    socket.data_received(frame(Opcode.BINARY, b"two") + wrong + frame(Opcode.BINARY, b"three"))
    assert heard == [b"one", b"two"]
    assert socket.protocol.state is not State.OPEN


async def test_behind_a_close_nothing_is_heard() -> None:
    socket, _, answer, heard = begun()
    socket.data_received(answer)
    socket.data_received(frame(Opcode.CLOSE, b"\x03\xe8") + frame(Opcode.BINARY, b"late"))
    socket.data_received(frame(Opcode.BINARY, b"later"))
    assert heard == []


async def test_a_message_that_cannot_be_taken_is_a_fault_and_those_behind_it_are_kept() -> None:
    socket, _, answer, _ = begun()
    socket.data_received(answer)

    def fail(_: bytes) -> None:
        raise ValueError("no message of ours")

    socket.take = fail
    socket.data_received(frame(Opcode.BINARY, b"one") + frame(Opcode.BINARY, b"two"))
    assert isinstance(socket.fault, ValueError)
    assert list(socket.arrived) == [b"two"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("is_text", [False, True])
def test_a_frame_is_masked_as_websockets_masks_it(size: int, is_text: bool) -> None:
    message, masks = bytes(range(256)) * (size // 256 + 1), Masks()
    message = message[:size]
    protocol = ServerProtocol(state=State.OPEN, max_size=None)
    for _ in range(3):
        protocol.receive_data(masked(bytearray(message), masks.next(), is_text=is_text))
    opcode = Opcode.TEXT if is_text else Opcode.BINARY
    events = protocol.events_received()
    assert [(one.opcode, bytes(one.data)) for one in events] == [(opcode, message)] * 3  # type: ignore[union-attr]


def test_masks_do_not_come_again_and_never_run_out() -> None:
    masks = Masks()
    drawn = [masks.next() for _ in range(3_000)]
    assert all(len(one) == 4 for one in drawn)
    assert len(set(drawn)) > 2_990
