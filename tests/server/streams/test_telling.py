"""Streams that hear of a change in pieces: all of them, by turns, and at their owners' expense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from omendb_ws.engine.model.shares import SLACK_US, Shares
from omendb_ws.engine.model.ticket import Counts, Lane
from omendb_ws.engine.streams import telling
from omendb_ws.engine.streams.telling import PIECE_STREAMS, TICK_TELLS_US, Telling
from omendb_ws.tenants.share import TenantShare
from tests.server.engine.test_shares import FakeClock
from tests.server.raw import client, rows, running
from tests.server.streams.test_feeds import follow

#: So much each takes: a tick tells four pieces.
EACH_US = TICK_TELLS_US / PIECE_STREAMS / 4


@dataclass(eq=False)
class Window:
    counts: Counts = field(default_factory=Counts)


@dataclass(eq=False)
class Reading:
    lane: Lane


class Side:
    """Windows with streams; each hears of a change at a time of its own."""

    def __init__(self) -> None:
        self.clock, self.shares = FakeClock(), Shares()
        self.streams: dict[Any, list[Any]] = {}
        self.told: list[tuple[Any, int]] = []
        self.faults = 0
        self.telling: Telling[Any] = Telling(
            lambda shard: list(self.streams[shard]), self._tell, self.shares, self.clock
        )

    def window(self, lanes: Sequence[Lane]) -> Any:
        shard = cast(Any, Window())
        self.streams[shard] = [Reading(lane) for lane in lanes]
        return shard

    def _tell(self, shard: Any, some: Sequence[Any], arrival_us: int) -> None:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault")
        self.clock.now_ns += round(len(some) * EACH_US * 1000)
        self.told += [(stream, arrival_us) for stream in some]

    def contend(self, *waiting: Lane) -> None:
        self.shares.end_tick([lane.share for lane in waiting], (), self.telling.waiting())


def lane_of(tenant: TenantShare) -> Lane:
    lane = Lane()
    lane.share.tenant = tenant
    return lane


def test_a_tick_tells_as_many_as_it_has_time_for_and_the_next_ones_the_others() -> None:
    side = Side()
    shard = side.window([lane_of(TenantShare())] * (9 * PIECE_STREAMS + 3))
    side.telling.changed(shard, 7)
    told = []
    while side.telling:
        side.telling.run()
        told.append(len(side.told))
    assert told == [4 * PIECE_STREAMS, 8 * PIECE_STREAMS, 9 * PIECE_STREAMS + 3]
    assert side.told == [(stream, 7) for stream in side.streams[shard]]
    assert shard.counts.engine_us == pytest.approx(len(side.told) * EACH_US, rel=0.01)


def test_what_comes_while_some_were_told_is_told_to_all_again_and_before_that_it_is_one() -> None:
    side = Side()
    shard = side.window([lane_of(TenantShare())] * (5 * PIECE_STREAMS))
    for arrival_us in (1, 2):
        side.telling.changed(shard, arrival_us)
    side.telling.run()
    for arrival_us in (3, 4):
        side.telling.changed(shard, arrival_us)
    while side.telling:
        side.telling.run()
    streams = side.streams[shard]
    assert side.told == [(one, 1) for one in streams] + [(one, 3) for one in streams]


def test_windows_take_turns() -> None:
    side, lane = Side(), lane_of(TenantShare())
    large, small = side.window([lane] * (50 * PIECE_STREAMS)), side.window([lane])
    side.telling.changed(large, 1)
    side.telling.run()
    side.telling.changed(small, 2)
    side.telling.run()
    assert side.told[-1] != (side.streams[small][0], 2), "the piece before it was the large one's"
    assert (side.streams[small][0], 2) in side.told


def test_who_is_ahead_of_others_that_wait_is_told_later_and_what_it_takes_is_charged() -> None:
    side = Side()
    many, few = TenantShare(), TenantShare()
    lanes = [lane_of(many), lane_of(many)]
    other = lane_of(few)
    shard = side.window([*lanes[:1] * (3 * PIECE_STREAMS), *lanes[1:] * PIECE_STREAMS])
    side.contend(other)
    told = []
    for _ in range(20):
        side.telling.changed(shard, 1)
        side.telling.run()
        side.shares.charge(other.share, 1.0)
        side.contend(other)
        told.append(len(side.told))
    assert told[-1] == told[-10]
    assert SLACK_US <= told[-1] * EACH_US <= SLACK_US + PIECE_STREAMS * EACH_US
    took_us = len(side.told) * EACH_US
    assert many.used_us == pytest.approx(took_us, rel=0.01)
    assert lanes[0].share.start_us == pytest.approx(3 * lanes[1].share.start_us, rel=0.1)
    side.shares.end_tick([])
    side.telling.run()
    assert len(side.told) > told[-1], "nobody waits any more"


def test_after_a_fault_a_piece_is_told_once_more_and_then_the_others_are() -> None:
    side = Side()
    shard = side.window([lane_of(TenantShare())] * (2 * PIECE_STREAMS))
    side.telling.changed(shard, 1)
    side.faults = 1
    for faults in (1, 2):
        side.faults, side.told = faults, []
        side.telling.changed(shard, 1)
        for _ in range(faults):
            with pytest.raises(RuntimeError):
                side.telling.run()
        side.telling.run()
        assert not side.telling
        first, second = side.streams[shard][:PIECE_STREAMS], side.streams[shard][PIECE_STREAMS:]
        expected = [*first, *second] if faults == 1 else second
        assert side.told == [(one, 1) for one in expected]


def test_a_window_without_streams_is_not_told() -> None:
    side = Side()
    empty, gone = side.window([]), side.window([lane_of(TenantShare())] * (9 * PIECE_STREAMS))
    side.telling.changed(empty, 1)
    assert not side.telling
    side.telling.changed(gone, 1)
    side.telling.run()
    side.telling.forget(gone)
    assert not side.telling
    side.telling.run()
    assert len(side.told) == 4 * PIECE_STREAMS


async def test_feeds_that_are_told_in_many_ticks_have_every_row_and_others_are_served_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "TICK_TELLS_US", 0)
    monkeypatch.setattr(telling, "PIECE_STREAMS", 1)
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        await raw.create("other")
        feeds = [await follow(raw) for _ in range(20)]
        another = await follow(raw, "other")
        for number in range(1, 11):
            await writer.send("add", collection="items", rows=rows(number))
        await writer.add(1, name="other")
        assert (await writer.ok("count", collection="items"))["count"] == 10
        for feed in [*feeds, another]:
            await feed.until(1 if feed is another else 10)
            assert not feed.gaps
        assert all(feed.rows == {seq: seq for seq in range(1, 11)} for feed in feeds)
