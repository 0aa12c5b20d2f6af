"""Pushes of many subscriptions that go out together, also where one of these has ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from omendb_core.model.types import Include

from omendb_ws.engine.model.shares import Shares
from omendb_ws.engine.model.ticket import Lane
from omendb_ws.engine.streams.deliveries import Deliveries
from omendb_ws.engine.streams.stream import Bundle, Push, Stream
from omendb_ws.net.writing import _chunks, _framed
from omendb_ws.sessions.outbox import Outbox
from omendb_ws.telemetry.metrics import Metrics
from omendb_ws.wire.encoded import Messages, Run, binary, each
from omendb_ws.wire.opcodes import Limits


class Reader:
    """A subscription; ``taken``: pushes that came to nothing, as it has ended, or went out."""

    def __init__(self, outbox: Outbox, lane: Lane, sub: int) -> None:
        self.outbox, self.lane, self.sub = outbox, lane, sub
        self.hears = True
        self.faults = 0
        self.taken: list[Push] = []

    def pushed(self, push: Push) -> None:
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError
        if self.hears:
            self.outbox.push_all(push)
        else:
            self.taken.append(push)

    def sent(self, push: Push) -> None:
        self.taken.append(push)


def bundle(count: int, messages: list[Messages] | None = None) -> tuple[Bundle, list[Reader]]:
    """Of so many subscriptions of one connection, each with a message of six bytes."""
    lane, outbox = Lane(), Outbox()
    readers = [Reader(outbox, lane, sub) for sub in range(count)]
    shard = cast(Any, SimpleNamespace(broken=None, is_dropped=False))
    streams = [
        Stream(cast(Any, None), cast(Any, reader), shard, True, Include(), 6) for reader in readers
    ]
    said = messages or [binary(b"%06d" % sub) for sub in range(count)]
    made = Bundle(said, 6 * count, streams[0], None, streams, [*range(count)])
    return made, readers


def out(readers: list[Reader]) -> list[bytes]:
    """What goes to the socket, and is taken."""
    outbox = readers[0].outbox
    batch = outbox.take()
    outbox.sent(batch)
    return [message.data for message in each(batch.messages)]


def test_they_go_out_together_and_are_told_of_once() -> None:
    made, readers = bundle(5)
    made.deliver()
    assert readers[0].outbox.push_bytes == 30
    assert out(readers) == [b"%06d" % sub for sub in range(5)]
    assert [reader.taken for reader in readers] == [[made], [], [], [], []]
    assert readers[0].outbox.is_empty


@pytest.mark.parametrize("in_runs", [False, True])
def test_apart_each_is_what_it_was_together(in_runs: bool) -> None:
    whole = b"".join(b"%06d" % sub for sub in range(4))
    made, _ = bundle(4, [Run(whole, 6)] if in_runs else None)
    pushes = made.apart()
    assert [push.stream for push in pushes] == made.streams
    assert [push.arrival_us for push in pushes] == [0, 1, 2, 3]
    assert [[one.data for one in each(push.messages)] for push in pushes] == [
        [b"%06d" % sub] for sub in range(4)
    ]
    assert sum(push.size_bytes for push in pushes) == made.size_bytes
    assert made.in_runs == (3 if in_runs else 0)


def test_that_of_one_that_has_ended_does_not_go_out() -> None:
    made, readers = bundle(4)
    readers[2].hears = False
    made.deliver()
    assert out(readers) == [b"000000", b"000001", b"000003"]
    assert [len(reader.taken) for reader in readers] == [1, 1, 1, 1]


def test_a_fault_on_the_way_loses_none_and_doubles_none() -> None:
    made, readers = bundle(4)
    readers[0].hears = False
    readers[2].faults = 1
    with pytest.raises(ZeroDivisionError):
        made.deliver()
    made.deliver()
    assert out(readers) == [b"000001", b"000002", b"000003"]
    assert [len(reader.taken) for reader in readers] == [1, 1, 1, 1]


def test_dropping_those_of_some_leaves_the_others() -> None:
    made, readers = bundle(4, [Run(b"".join(b"%06d" % sub for sub in range(4)), 6)])
    made.deliver()
    outbox = readers[0].outbox
    outbox.drop_pushes({readers[0], readers[3]})
    assert outbox.push_bytes == 12
    assert [len(reader.taken) for reader in readers] == [1, 0, 0, 1]
    assert out(readers) == [b"000001", b"000002"]
    assert outbox.is_empty


@pytest.mark.parametrize("length", [0, 1, 125, 126, 70_000])
def test_a_run_is_framed_as_each_of_its_messages(length: int) -> None:
    messages = [bytes([number]) * length for number in range(5)]
    run = Run(b"".join(messages), length) if length else None
    alone = [binary(message) for message in messages]
    together: list[Messages] = [*alone] if run is None else [run]
    assert _framed(together) == _framed(alone)
    assert b"".join(_chunks(together)) == _framed(alone)


def test_streams_that_were_told_together_may_be_told_again_when_all_are_taken() -> None:
    lane = Lane()
    shard = cast(Any, SimpleNamespace(broken=None, is_dropped=False))

    class Maker:
        def make(self, streams: Any, now_us: int) -> Any:
            yield list(streams), [binary(b"said") for _ in streams]

    deliveries, maker = Deliveries(Metrics(0.0), Limits(), Shares()), Maker()
    streams = []
    for sub in range(3):
        reader = cast(Any, SimpleNamespace(lane=lane, sub=sub))
        streams.append(Stream(cast(Any, maker), reader, shard, True, Include(), 4))
        streams[-1].is_active = True
        deliveries.ready(streams[-1], 7 + sub)
    effects: list[Any] = []
    deliveries.push(effects, 10)
    (made,) = effects
    assert made.arrivals_us == [7, 8, 9]
    assert lane.push_bytes == 12
    assert not any(deliveries.ready(stream) for stream in streams)
    deliveries.push(effects, 11)
    assert len(effects) == 1
    deliveries.stop(streams[1])
    deliveries.sent(made)
    assert lane.push_bytes == 0
    deliveries.push(effects, 12)
    assert [stream.sub for stream in effects[1].of()] == [0, 2]
