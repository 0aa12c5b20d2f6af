"""Reads that wait: in order, within a tick's bounds, and each connection with its share."""

from __future__ import annotations

import random
from collections import deque
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from omendb_core.model.types import F32, I64
from omendb_core.search.query import Answer
from omendb_core.window import Window

from omendb_ws.engine import fair_reads, reading, waiting
from omendb_ws.engine.fair_reads import TICK_REPLY_BYTES
from omendb_ws.engine.model.shares import Share, Shares
from omendb_ws.engine.model.ticket import Lane, Ticket
from omendb_ws.engine.pieces import masks
from omendb_ws.engine.read_weights import TICK_QUERIES, weight
from omendb_ws.engine.reads.commands import PlainSearch
from omendb_ws.engine.tick_size import LEAST_QUERIES, TickSize
from omendb_ws.engine.waiting import WaitingReads, is_ready
from omendb_ws.tenants.share import TenantShare
from omendb_ws.wire import binary, searches
from omendb_ws.wire.opcodes import Limits
from tests.server.raw import batch, client, engine_held, queued, running

HERE = cast(Any, SimpleNamespace(is_made=True))
THERE = cast(Any, SimpleNamespace(is_made=True))
for _one in (HERE, THERE):
    _one.parts = (_one,)


def read(lane: Lane, n: int = 1, shard: Any = HERE, reply_bytes: int = 100) -> PlainSearch:
    asker = cast(Any, SimpleNamespace(lane=lane))
    ticket = Ticket(asker, 0, "search", shard, 0, 0, reply_bytes, 1 << 20, lane.queued)
    return PlainSearch(ticket, shard, searches.PlainSearch(0, 1, n, 2, 3, b""))


def lanes_of(tenant: TenantShare, count: int) -> list[Lane]:
    """Connections of one tenant."""
    made = [Lane() for _ in range(count)]
    for lane in made:
        lane.share.tenant = tenant
    return made


def filled(works: list[PlainSearch]) -> WaitingReads:
    reads = WaitingReads(Shares())
    for work in works:
        reads.add(work)
    return reads


def test_all_are_taken_in_order_where_there_is_room() -> None:
    lanes = [Lane(), Lane()]
    works = [read(lanes[place % 2]) for place in range(TICK_QUERIES)]
    reads = filled(works)
    assert reads.has_more
    assert reads.take() == works
    assert not reads.has_more
    assert len(reads) == 0


def test_a_read_waits_for_what_its_connection_changed_and_for_no_other() -> None:
    one, two = Lane(), Lane()
    one.queued = 2
    works = [read(one), read(two)]
    reads = filled(works)
    one.done = 1
    assert reads.take() == works[1:]
    assert not reads.has_more
    one.done = 2
    assert reads.take() == works[:1]


def test_a_tick_does_not_look_at_all_that_wait_behind_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred connections with a thousand each held it up for 12 ms."""
    lanes = [Lane() for _ in range(3)]
    for lane in lanes:
        lane.queued = 1
    works = [read(lanes[place % 3]) for place in range(300)]
    reads = filled(works)
    assert reads.take() == []
    looks = count()
    monkeypatch.setattr(waiting, "is_ready", lambda work: next(looks) >= 0 and is_ready(work))
    for _ in range(9):
        assert reads.take() == []
    assert next(looks) == 0, "it looked at what cannot be ready"
    assert len(reads) == 300
    lanes[1].done = 1
    lanes[2].is_open = False
    assert reads.take() == works[1::3]
    assert len(reads) == 100
    lanes[0].done = 1
    assert reads.take() == works[0::3]
    assert len(reads) == 0


def test_what_is_put_back_and_must_wait_is_ahead_of_what_waits_already() -> None:
    making = cast(Any, SimpleNamespace(is_made=False, parts=()))
    lane = Lane()
    works = [read(lane, shard=making) for _ in range(4)]
    reads = filled(works[2:])
    assert reads.take() == []
    reads.put_back(deque(cast(Any, works[:2])))
    assert reads.take() == []
    making.is_made = True
    assert reads.take() == works


def test_a_read_waits_until_its_collection_is_made() -> None:
    making = cast(Any, SimpleNamespace(is_made=False, parts=()))
    work = read(Lane(), shard=making)
    reads = filled([work])
    assert reads.take() == []
    making.is_made = True
    assert reads.take() == [work]


def test_before_a_drop_all_are_gone_over_once_however_many_ask_about_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lanes = lanes_of(TenantShare(), 4)
    ours = [read(lanes[place % 4], shard=HERE) for place in range(10 * TICK_QUERIES)]
    others = [read(lanes[place % 4], shard=THERE) for place in range(50)]
    reads = filled([*others[:20], *ours, *others[20:]])
    looks = count()
    monkeypatch.setattr(waiting, "is_ready", lambda work: next(looks) >= 0 and is_ready(work))
    taken = []
    while some := reads.take(HERE):
        taken += some
        assert len(reads) == len(ours) - len(taken) + len(others)
    assert sorted(map(id, taken)) == sorted(map(id, ours))
    for lane in lanes:
        assert [one for one in taken if one.ticket.asker.lane is lane] == [
            one for one in ours if one.ticket.asker.lane is lane
        ]
    assert next(looks) <= len(ours) + 2 * len(others)
    assert reads.take() == others


def test_what_is_left_after_a_drop_that_did_not_come_to_its_end_is_answered() -> None:
    lanes = lanes_of(TenantShare(), 3)
    works = [read(lanes[place % 3], shard=HERE) for place in range(3 * TICK_QUERIES)]
    reads = filled(works)
    taken = reads.take(HERE)
    assert reads.has_more
    assert len(reads) == len(works) - len(taken)
    while some := reads.take():
        taken += some
    assert sorted(map(id, taken)) == sorted(map(id, works))
    assert len(reads) == 0


def test_before_a_drop_only_what_asks_about_it_is_taken() -> None:
    lane = Lane()
    works = [read(lane, shard=THERE if place % 3 else HERE) for place in range(9)]
    reads = filled(works)
    assert reads.take(HERE) == works[::3]
    assert reads.take() == [work for work in works if work.shard is THERE]


def test_a_closed_connection_is_forgotten() -> None:
    open_, closed = Lane(), Lane()
    works = [read(closed), read(open_), read(closed)]
    reads = filled(works)
    closed.is_open = False
    assert reads.take() == works[1:2]
    assert len(reads) == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_waits_all_is_taken_once_in_the_order_of_each_connection(seed: int) -> None:
    numbers = random.Random(seed)
    lanes = [Lane() for _ in range(numbers.choice((1, 2, 7)))]
    works = [
        read(
            numbers.choice(lanes),
            numbers.choice((1, 1, 20, 256)),
            reply_bytes=numbers.choice((10, TICK_REPLY_BYTES // 3)),
        )
        for _ in range(60)
    ]
    reads = filled(works)
    taken: list[PlainSearch] = []
    while reads.has_more:
        waiting_lanes = {work.ticket.asker.lane for work in works if work not in taken}
        tick = cast(list[PlainSearch], reads.take())
        assert tick
        assert sum(map(weight, tick[:-1])) < TICK_QUERIES
        assert sum(work.ticket.reply_bytes for work in tick[:-1]) < TICK_REPLY_BYTES
        if sum(map(weight, tick)) >= TICK_QUERIES and len(waiting_lanes) == 1:
            assert reads.has_more == (len(taken) + len(tick) < len(works))
        taken += tick
    assert len(taken) == len(set(map(id, taken))) == len(works)
    for lane in lanes:
        own = [work for work in works if work.ticket.asker.lane is lane]
        assert [work for work in taken if work.ticket.asker.lane is lane] == own


def test_who_got_nothing_comes_first_the_next_time() -> None:
    lanes = [Lane() for _ in range(4)]
    works = [read(lane, 256) for _ in range(3) for lane in lanes]
    reads = filled(works)
    order = [work.ticket.asker.lane for _ in range(12) for work in reads.take()]
    assert order == lanes * 3


def test_what_can_be_answered_is_looked_at_once_however_long_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 2,240 waiting, to look at all of them in every tick took 3.2 ms of it."""
    looks: list[Any] = []

    def noted(work: Any) -> bool:
        looks.append(work)
        return is_ready(work)

    monkeypatch.setattr(waiting, "is_ready", noted)
    lanes = [Lane() for _ in range(32)]
    works = [read(lane) for _ in range(20) for lane in lanes]
    reads = filled(works)
    ticks = 0
    while reads.has_more:
        assert len(reads.take()) == TICK_QUERIES
        ticks += 1
    assert ticks * TICK_QUERIES == len(works)
    assert looks == works


def test_a_read_that_need_not_wait_any_more_goes_before_what_came_after_it() -> None:
    making = cast(Any, SimpleNamespace(is_made=False, parts=()))
    lane = Lane()
    first = read(lane, shard=making)
    later = [read(lane) for _ in range(TICK_QUERIES + 10)]
    reads = filled([first, *later])
    assert reads.take() == later[:TICK_QUERIES]
    making.is_made = True
    assert reads.take() == [first, *later[TICK_QUERIES:]]


def test_what_is_asked_of_one_collection_is_found_among_all_that_found_no_room() -> None:
    lanes = [Lane(), Lane()]
    works = [
        read(lanes[place % 2], shard=THERE if place % 8 else HERE)
        for place in range(3 * TICK_QUERIES)
    ]
    reads = filled(works)
    taken = list(reads.take())
    assert len(taken) == TICK_QUERIES
    here = [work for work in works if work.shard is HERE and work not in taken]
    assert reads.take(HERE) == here
    assert reads.take(HERE) == []
    taken += here
    while reads.has_more:
        taken += reads.take()
    assert len(taken) == len(set(map(id, taken))) == len(works)
    for lane in lanes:
        own = [work for work in works if work.ticket.asker.lane is lane and work not in here]
        assert [one for one in taken if one.ticket.asker.lane is lane and one not in here] == own


def test_a_connection_that_closes_while_its_reads_find_no_room_is_forgotten() -> None:
    open_, closed = Lane(), Lane()
    works = [read(lane) for _ in range(TICK_QUERIES) for lane in (open_, closed)]
    reads = filled(works)
    reads.take()
    closed.is_open = False
    assert all(work.ticket.asker.lane is open_ for work in reads.take())
    assert (len(reads), reads.has_more) == (0, False)


def test_a_flood_leaves_others_their_share() -> None:
    flood, other, third = Lane(), Lane(), Lane()
    works = [read(flood, TICK_QUERIES // 4) for _ in range(40)]
    share = TICK_QUERIES // 3
    late = [read(other), read(third, share - 5), read(third, 5)]
    reads = filled([*works, *late])
    taken = reads.take()
    assert set(map(id, late)) <= set(map(id, taken))
    assert len(reads) == 40 + 3 - len(taken)


def test_a_tick_takes_as_many_as_it_has_time_for() -> None:
    size = TickSize()
    assert size.queries == TICK_QUERIES
    size.learn(64, 64 * 20.0)
    assert size.queries == TICK_QUERIES
    for _ in range(40):
        size.learn(64, 64 * 100.0)
    assert 49 <= size.queries <= 51
    for _ in range(40):
        size.learn(64, 64 * 10_000.0)
    assert size.queries == LEAST_QUERIES, "from so many on a vector costs no less"
    before = size.queries
    size.learn(1, 1.0)
    assert size.queries == before, "a vector alone tells nothing of many"
    for _ in range(40):
        size.learn(64, 64 * 1.0)
    assert size.queries == TICK_QUERIES


def test_what_comes_once_changes_little() -> None:
    size = TickSize()
    for _ in range(10):
        size.learn(128, 128 * 30.0)
    size.learn(128, 1e6)
    assert size.queries >= 100


def test_reads_that_take_long_leave_room_in_time_for_one_that_comes() -> None:
    lanes = [Lane() for _ in range(4)]
    reads = filled([read(lane) for _ in range(20) for lane in lanes])
    reads.size.learn(64, 64 * 400.0)
    assert len(reads.take()) == LEAST_QUERIES
    late = read(Lane())
    reads.add(late)
    assert late in reads.take()


async def test_what_searches_took_says_how_many_the_next_ticks_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each call of the clock is a hundredth of a second later: a tick took that."""
    calls = count(0, 10_000_000)
    monkeypatch.setattr(reading, "time", SimpleNamespace(thread_time_ns=lambda: next(calls)))
    async with running() as server, client(server) as raw:
        handle = (await raw.create(metric="dot"))["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        vectors = np.ones((20, 2), np.float32)
        await raw.send_binary(binary.encode_search(7, handle, vectors, 3))
        await raw.reply(7)
        size = server.context.engine.tick.reading.waiting.size
        assert size.queries == LEAST_QUERIES


async def test_one_vector_does_not_wait_for_forty_times_256(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scans: list[int] = []
    search_all = Window.search_all

    def noted(window: Window, vectors: F32, k: I64) -> Answer:
        scans.append(len(vectors))
        return search_all(window, vectors, k)

    monkeypatch.setattr(Window, "search_all", noted)
    async with running() as server, client(server) as flood, client(server) as raw:
        handle = (await flood.create(metric="dot"))["handle"]
        await flood.add_binary(handle, batch(1, 2, 3))
        own = (await raw.ok("open", collection="items"))["handle"]
        many = np.ones((Limits().max_queries, 2), np.float32)
        async with engine_held(server):
            for id in range(1000, 1040):
                await flood.send_binary(binary.encode_search(id, handle, many, 3))
            await queued(server, 40)
            await raw.send_binary(binary.encode_search(7, own, many[:1], 3))
            await queued(server, 41)
        await raw.reply(7)
        for id in range(1000, 1040):
            await flood.reply(id)
        assert scans[:2] == [256, 257]
        assert sum(scans) == 40 * 256 + 1


async def test_a_tick_makes_masks_for_as_long_as_it_has_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reads with a filter that is new count for what its mask takes, the others for one."""
    monkeypatch.setattr(masks, "AT_ONCE_NS", 100)  # less than that of a hundred rows: a mask a tick
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(columns={"n": "i64"}, capacity=100)
        rows = [{"id": n, "vector": [n, 1], "metadata": {"n": n}} for n in range(100)]
        await raw.ok("add", collection="items", rows=rows)
        reads = server.context.engine.tick.reading.waiting
        take, ticks = reads.take, []
        made: set[str] = set()

        def taking(*arguments: Any) -> Any:
            works = take(*arguments)
            if works:
                filters = {repr(work.query.filter) for work in works}
                ticks.append((len(works), len(filters - made)))
                made.update(filters)
            return works

        monkeypatch.setattr(reads, "take", taking)

        async def asked(new: range) -> list[tuple[int, int]]:
            """Of each tick: its reads, and their filters that had no mask."""
            ticks.clear()
            async with engine_held(server):
                ids = [
                    (one, await one.send(op, collection="items", filter={"n": {"$lt": n}}, **more))
                    for n in new
                    for one, op, more in (
                        (raw, "count", {}),
                        (other, "search", {"vector": [1, 0], "k": 1}),
                    )
                ]
                await queued(server, len(ids))
            for one, id in ids:
                assert "ok" in await one.reply(id)
            return ticks.copy()

        assert [new for _, new in await asked(range(5)) if new] == [1] * 5
        assert await asked(range(5)) == [(10, 0)], "masks that are there take no time"


def test_a_fault_while_a_tick_is_filled_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = [Lane() for _ in range(5)]
    works = [read(lane) for _ in range(60) for lane in lanes]
    reads = filled(works)
    taken = list(reads.take())
    weights = iter([1] * 40)
    with monkeypatch.context() as faulty:
        faulty.setattr(fair_reads, "weight", lambda work: next(weights))
        with pytest.raises(StopIteration):
            reads.take()
    assert len(reads) == len(works) - len(taken)
    while reads.has_more:
        taken += reads.take()
    assert len(taken) == len(set(map(id, taken))) == len(works)
    for lane in lanes:
        own = [work for work in works if work.ticket.asker.lane is lane]
        assert [work for work in taken if work.ticket.asker.lane is lane] == own


def test_a_tick_looks_at_no_more_connections_than_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 10,000 that wait, to look at each of them in every tick took longer than to answer."""
    reads = filled([read(lane) for lane in lanes_of(TenantShare(), 20 * TICK_QUERIES)])
    reads.take()
    looks = 0
    place = Shares.place

    def noted(self: Shares, share: Share) -> tuple[float, float]:
        nonlocal looks
        looks += 1
        return place(self, share)

    monkeypatch.setattr(Shares, "place", noted)
    for _ in range(10):
        assert len(reads.take()) == TICK_QUERIES
    assert looks <= 10 * 4 * TICK_QUERIES
