"""Messages that are refused unread in one step, in streams of all kinds, however they are cut."""

from __future__ import annotations

import random
from itertools import chain, pairwise
from typing import Any, cast

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol
from websockets.utils import apply_mask

from omendb_ws.net import refusing
from omendb_ws.net.rests import AT_ONCE, Rests
from omendb_ws.net.websocket_frames import Cutter
from omendb_ws.wire.unread import FRAME_START, START_BYTES
from tests.server.net.driven import Driven, Turns

MAX_BYTES = 2_000


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return bytes(Frame(opcode, data, fin).serialize(mask=True))


def request(number: int, length: int = 40) -> bytes:
    """The body of a binary message with that id."""
    return (FRAME_START + b"\x03\x00" + number.to_bytes(4, "little")).ljust(length, b"\x7f")


def some(numbers: random.Random, count: int) -> tuple[list[bytes], list[bytes | str], int]:
    """Frames, the messages in them, and how many pings."""
    frames: list[bytes] = []
    messages: list[bytes | str] = []
    pings = 0
    for number in range(count):
        others = ("named",) * 4 + ("text", "ping", "short", "other", "fragments")
        kind = numbers.choice(("request",) * 6 + others)
        length = numbers.choice((8, 40, 40, 125, 126, 127, 600, MAX_BYTES))
        body = request(number, length)
        if kind == "ping":
            frames.append(frame(Opcode.PING, b"%d" % number))
            pings += 1
            continue
        if kind == "text":
            frames.append(frame(Opcode.TEXT, b"text %d" % number))
            messages.append(f"text {number}")
            continue
        if kind == "named":
            frames.append(frame(Opcode.TEXT, b"%08d" % number))
            messages.append(f"{number:08}")
            continue
        if kind == "fragments":
            frames += [
                frame(Opcode.BINARY, body[:5], fin=False),
                frame(Opcode.CONT, body[5:]),
            ]
        else:
            body = {"short": body[:7], "other": b"\x00" + body[1:]}.get(kind, body)
            frames.append(frame(Opcode.BINARY, body))
        messages.append(body)
    return frames, messages, pings


def number_of(message: bytes | str) -> int | None:
    """By which it is refused, if it is."""
    if isinstance(message, bytes):
        return int.from_bytes(message[4:8], "little")
    return int(message) if message.isdigit() else None


def said(driven: Driven) -> tuple[list[bytes], int]:
    """Messages and pongs that the client got."""
    protocol = Protocol(CLIENT, state=OPEN, max_size=None)
    protocol.receive_data(driven.wire.written)
    found = [cast(Frame, event) for event in protocol.events_received()]
    assert protocol.parser_exc is None
    texts = [bytes(one.data) for one in found if one.opcode is Opcode.TEXT]
    return texts, sum(one.opcode is Opcode.PONG for one in found)


@pytest.mark.parametrize("seed", range(40))
async def test_each_message_is_heard_or_refused_once_and_in_order(seed: int) -> None:
    numbers = random.Random(seed)
    frames, messages, pings = some(numbers, 60)
    stream = b"".join(frames)
    driven = Driven(MAX_BYTES)
    driven.connection.allow(MAX_BYTES)
    at = 0
    while at < len(stream):
        driven.hearer.shedder.pieces = numbers.choice((0, 1, 2, 9))
        end = at + numbers.choice((1, 3, 50, 700, 1_500))
        driven.feed(stream[at:end])
        at = end
    refused = driven.hearer.shedder.refused
    assert driven.heard == [one for one in messages if number_of(one) not in set(refused)]
    named = [number_of(one) for one in messages]
    assert refused == [number for number in named if number in set(refused)]
    assert refused, "a case in which nothing is refused tests little"
    texts, pongs = said(driven)
    assert sorted(texts) == sorted(b"refused %d" % number for number in refused)
    assert pongs == pings


def test_messages_that_are_too_long_are_not_skipped() -> None:
    cutter = Cutter(100, apply_mask)
    stream = b"".join(frame(Opcode.BINARY, request(n, 101 if n == 2 else 100)) for n in range(4))
    cutter.feed(stream)
    assert cutter.skip(10, no_text) == [0, 1]
    assert cutter.take(False) == (frame_at(stream, 2), None)


def frame_at(stream: bytes, number: int) -> bytes:
    """What is handed on of the frames of 106 bytes before one of 107."""
    return stream[number * 106 : number * 106 + 107]


def test_no_more_are_skipped_than_wanted() -> None:
    for opcode, body in ((Opcode.BINARY, request), (Opcode.TEXT, b"%d".__mod__)):
        cutter = Cutter(100, apply_mask)
        cutter.feed(b"".join(frame(opcode, body(n)) for n in range(10_000_000, 10_000_009)))
        skipped = [cutter.skip(4, int) for _ in range(4)]
        assert [len(ids) for ids in skipped] == [4, 4, 1, 0]
        assert list(chain.from_iterable(skipped)) == list(range(10_000_000, 10_000_009))
        assert cutter.held_bytes == 0


def test_of_a_text_no_more_than_its_start_is_unmasked() -> None:
    starts: list[bytes] = []

    def id_of(start: bytes) -> int:
        starts.append(start)
        return len(starts)

    cutter = Cutter(1 << 20, apply_mask)
    texts = [b"%d " % n * length for n, length in enumerate((4, 30, 300, 20_000))]
    cutter.feed(b"".join(frame(Opcode.TEXT, one) for one in texts))
    assert cutter.skip(10, id_of) == [1, 2, 3, 4]
    assert starts == [one[:START_BYTES] for one in texts]


def no_text(start: bytes) -> int | None:
    raise AssertionError(f"no text was sent: {start!r}")


async def test_who_was_refused_something_is_not_read_from_until_others_had_their_turn() -> None:
    driven = Driven(MAX_BYTES)
    driven.hearer.shedder.pieces = 1
    driven.connection.data_received(frame(Opcode.BINARY, request(7)))
    assert driven.hearer.shedder.refused == [7]
    assert driven.wire.is_paused
    driven.turns.run()
    assert not driven.wire.is_paused
    driven.feed(frame(Opcode.BINARY, request(8)))
    assert driven.heard == [request(8)]
    assert not driven.wire.is_paused


async def test_others_have_their_turn_among_those_that_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusing, "REFUSED_AT_ONCE", 4)
    driven, of_a_turn = Driven(MAX_BYTES), [0]
    refused = driven.hearer.shedder.refused
    driven.hearer.shedder.pieces = 99

    def turn() -> None:
        of_a_turn.append(len(refused))
        if len(refused) < 40:
            driven.turns.call_soon(turn)

    driven.turns.call_soon(turn)
    driven.feed(b"".join(frame(Opcode.BINARY, request(number)) for number in range(40)))
    assert refused == list(range(40))
    assert max(later - earlier for earlier, later in pairwise(of_a_turn)) <= 4


async def test_what_a_client_that_goes_has_sent_is_refused_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusing, "REFUSED_AT_ONCE", 4)
    driven = Driven(MAX_BYTES)
    driven.hearer.shedder.pieces = 99
    driven.connection.data_received(
        b"".join(frame(Opcode.BINARY, request(number)) for number in range(40))
    )
    driven.connection.eof_received()
    assert driven.hearer.shedder.refused == list(range(40))


async def test_refusals_do_not_pile_up_behind_what_the_client_does_not_take() -> None:
    """They are heard one by one then, and their replies count as others do."""
    driven = Driven(MAX_BYTES)
    driven.hearer.shedder.pieces = 9
    driven.connection._rest.append(b"half a batch")
    driven.feed(frame(Opcode.BINARY, request(1)))
    assert driven.heard == [request(1)]
    assert driven.hearer.shedder.refused == []


def test_those_that_rested_begin_again_some_in_each_turn_whatever_one_of_them_does() -> None:
    ended: list[int] = []
    of_a_turn: list[int] = []
    turns = Turns()
    loop = cast(Any, turns)

    class One:
        def __init__(self, number: int) -> None:
            self.number = number

        def has_rested(self) -> None:
            ended.append(self.number)
            if self.number == 0:
                raise RuntimeError("a fault that stays")

    def turn() -> None:
        of_a_turn.append(len(set(ended)))
        if len(set(ended)) < 10:
            turns.call_soon(turn)

    rests = Rests()
    for number in range(10):
        rests.rest(One(number), loop)
    turns.call_soon(turn)
    turns.run()
    assert ended == [0, 0, *range(1, 10)]
    assert max(later - earlier for earlier, later in pairwise(of_a_turn)) <= AT_ONCE
    rests.rest(One(10), loop)
    turns.run()
    assert ended[-1] == 10


@pytest.mark.parametrize("faulty", [{0}, {3, 9}, set(range(10))])
def test_one_that_faults_whenever_it_shall_begin_again_holds_up_no_other(faulty: set[int]) -> None:
    turns, ended = Turns(), []
    loop = cast(Any, turns)

    class One:
        def __init__(self, number: int) -> None:
            self.number = number

        def has_rested(self) -> None:
            if self.number in faulty:
                raise RuntimeError("a fault")
            ended.append(self.number)

    rests = Rests()
    for number in range(10):
        rests.rest(One(number), loop)
    turns.run()
    assert ended == [number for number in range(10) if number not in faulty]
    rests.rest(One(10), loop)
    turns.run()
    assert ended[-1] == 10


async def test_a_connection_that_cannot_begin_again_is_broken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driven = Driven(MAX_BYTES)

    def fault() -> None:
        raise RuntimeError("a fault")

    aborted = []
    monkeypatch.setattr(driven.connection, "_hold_back", fault)
    monkeypatch.setattr(driven.wire, "abort", lambda: aborted.append(True))
    driven.connection.has_rested()
    assert aborted == [True]
