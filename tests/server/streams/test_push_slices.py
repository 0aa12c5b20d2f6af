"""Pushes of many streams: a tick makes them for a slice of time, and the next one goes on.

The clock is the test's, and moves as pushes are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from omendb_core.model.types import Include

from omendb_ws.engine.model.shares import Shares
from omendb_ws.engine.model.ticket import Lane
from omendb_ws.engine.streams.deliveries import (
    GROUP_STREAMS,
    TICK_PUSH_US,
    Deliveries,
    Stream,
)
from omendb_ws.telemetry.metrics import Metrics
from omendb_ws.wire.encoded import Message, text
from omendb_ws.wire.opcodes import Limits


class Maker:
    """Takes ``stream_us`` for each push."""

    def __init__(self, stream_us: float) -> None:
        self.now_ns = 0
        self._stream_ns = round(stream_us * 1000)

    def make(self, streams: Sequence[Any], now_us: int) -> Iterable[tuple[Stream, list[Message]]]:
        for stream in streams:
            self.now_ns += self._stream_ns
            yield stream, [text(b"{}")]


def delivered(maker: Maker, count: int) -> list[list[int]]:
    """The streams that each tick pushed to, until all were."""
    deliveries = Deliveries(Metrics(0.0), Limits(), Shares(), lambda: maker.now_ns)
    shard = cast(Any, SimpleNamespace(broken=None, is_dropped=False))
    for sub in range(count):
        reader = cast(Any, SimpleNamespace(lane=Lane(), sub=sub))
        stream = Stream(cast(Any, maker), reader, shard, False, Include(), 100)
        stream.is_active = True
        deliveries.ready(stream)
    ticks = []
    while deliveries.is_busy:
        effects: list[Any] = []
        deliveries.push(effects, 0)
        ticks.append([push.stream.sub for push in effects])
    return ticks


def test_many_pushes_take_many_ticks_and_come_in_order() -> None:
    ticks = delivered(Maker(stream_us=10), 5_000)
    assert [sub for tick in ticks for sub in tick] == list(range(5_000))
    most = TICK_PUSH_US / 10 + GROUP_STREAMS
    assert max(map(len, ticks)) <= most
    assert len(ticks) >= 5_000 / most


def test_quick_pushes_go_out_together() -> None:
    assert len(delivered(Maker(stream_us=0.1), 3_000)) == 1


def test_however_long_one_takes_each_tick_makes_some() -> None:
    ticks = delivered(Maker(stream_us=1e6), 2 * GROUP_STREAMS)
    assert list(map(len, ticks)) == [GROUP_STREAMS, GROUP_STREAMS]


class ListStream(Stream):
    """One of a live query: it says nothing while its collection catches up."""

    is_of_lists = True
    has_more = False


class Window:
    """A collection, as far as turns go."""

    broken = None
    is_dropped = False
    is_catching_up = False

    @property
    def parts(self) -> tuple[Window]:
        return (self,)


def test_streams_that_were_put_off_go_before_those_that_changed_since() -> None:
    """Where everything changes faster than it is told, everybody is still told in turn."""
    maker = Maker(stream_us=2 * TICK_PUSH_US / GROUP_STREAMS)  # a group fills a tick
    deliveries = Deliveries(Metrics(0.0), Limits(), Shares(), lambda: maker.now_ns)
    shard: Any = Window()
    streams = []
    for sub in range(4 * GROUP_STREAMS):
        reader = cast(Any, SimpleNamespace(lane=Lane(), sub=sub))
        stream = ListStream(cast(Any, maker), reader, shard, False, Include(), 100)
        stream.is_active = True
        streams.append(stream)
    told: list[int] = []
    for _ in range(4):
        effects: list[Any] = []
        shard.is_catching_up = True
        deliveries.push(effects, 0)
        assert effects == []
        for stream in streams:
            deliveries.ready(stream)
        shard.is_catching_up = False
        deliveries.go_on(shard)
        deliveries.push(effects, 0)
        for push in effects:
            deliveries.sent(push)
        told += [push.stream.sub for push in effects]
    assert told == list(range(4 * GROUP_STREAMS))
