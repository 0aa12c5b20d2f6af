"""``match`` subscriptions over real sockets: every near row once, in order, or a stated gap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch

from omendb_ws.engine.streams import matches
from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.live_view import Matched, match, slow_sockets, sub_of
from tests.server.raw import Clock, client, engine_held, queued, rows, running, settings

V = [1.0, 0.0]
ENCODINGS = pytest.mark.parametrize("encoding", ["json", "binary"])


def accounted(near: Matched, wanted: set[int]) -> None:
    """Every row of ``wanted`` was delivered or lies in a stated gap, none of them both."""
    assert near.rows.keys() & near.missed == set()
    assert near.rows.keys() <= wanted
    assert wanted <= near.rows.keys() | near.missed


@ENCODINGS
async def test_every_row_at_or_above_min_score_comes_exactly_once_in_order(encoding: str) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        made = await raw.create(capacity=5000, ids="auto")
        floor = float(np.float32(0.3))
        near = await match(raw, V, 0.3, encoding=encoding)
        assert near.to_seq == 0
        random = np.random.default_rng(1)
        values = random.choice(
            [floor, float(np.nextafter(np.float32(floor), np.float32(0))), 0.2, 0.7, -0.3], 2000
        )
        handle = (await writer.ok("open", collection="items"))["handle"]
        assert handle == made["handle"]
        for start in range(0, 2000, 40):
            vectors = np.zeros((40, 2), np.float32)
            vectors[:, 0] = values[start : start + 40]
            await writer.add_binary(handle, RowBatch(vectors))
        wanted = {seq for seq, value in enumerate(values.tolist(), 1) if np.float32(value) >= floor}
        await near.until(max(wanted))
        assert near.gaps == []
        assert list(near.rows) == sorted(wanted)
        assert all(
            row.score == float(np.float32(values[seq - 1])) for seq, row in near.rows.items()
        )


@ENCODINGS
async def test_rows_from_a_seq_come_first_and_the_new_ones_follow_without_a_seam(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matches, "PAST_ROWS", 7)  # the past takes many pushes
    async with running() as server, client(server) as raw, client(server) as writer:
        epoch = (await raw.create(capacity=1000))["epoch"]
        for number in range(1, 101):
            await writer.send("add", collection="items", rows=rows(number))
        await writer.ok("delete", collection="items", ids=[50])
        asked = await raw.send(
            "subscribe", kind="match", collection="items", vector=V, min_score=20.0,
            from_seq=10, epoch=epoch, encoding=encoding,
        )  # fmt: skip
        for number in range(101, 201):
            await writer.send("add", collection="items", rows=rows(number))
        ok = (await raw.reply(asked))["ok"]
        near = Matched(raw, ok["sub"], ok["to_seq"])
        assert ok["to_seq"] == 9
        await near.until(200)
        assert list(near.rows) == [*range(20, 50), *range(51, 201)]
        assert near.gaps == []
        # A replay of nothing but the future is the future.
        late = await match(raw, V, 20.0, from_seq=201, epoch=epoch)
        assert late.to_seq == 200
        await writer.add(201)
        await late.until(201)
        assert list(late.rows) == [201]


async def test_a_replay_of_what_left_by_age_begins_with_gaps_evicted_first() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        epoch = (await raw.create(capacity=4, ttl=10))["epoch"]
        await raw.add(1, 2, 3)
        clock.move(6)
        await raw.add(4, 5, 6)
        clock.move(6)
        await raw.ok("count", collection="items")
        near = await match(raw, V, 5.0, from_seq=1, epoch=epoch)
        await near.until(6)
        assert near.gaps == [(1, 2, "evicted"), (3, 3, "expired")]
        assert list(near.rows) == [5, 6]


async def test_more_than_max_pending_rows_is_one_slow_gap_behind_what_was_kept() -> None:
    async with (
        running(max_pending_rows=5) as server,
        client(server) as raw,
        client(server) as writer,
    ):
        await raw.create(capacity=1000)
        near, other = await match(raw, V, 0.0), await match(raw, [0.0, 1.0], 50.0)
        async with slow_sockets(server):
            await writer.add(1)
            for number in range(2, 41):
                await writer.add(number)
            (query, _) = server.context.engine.matches.of(
                server.context.catalog.find("default", "items").shard
            )
            assert len(query.hits) == 5
        await near.until(40)
        assert near.gaps == [(7, 40, "slow")]
        assert list(near.rows) == [1, 2, 3, 4, 5, 6]
        assert server.metrics.gaps == 1
        assert other.rows == {}
        # And then it goes on, one by one.
        for number in range(41, 46):
            await writer.add(number)
            await near.until(number)
        assert list(near.rows) == [1, 2, 3, 4, 5, 6, 41, 42, 43, 44, 45]
        assert len(near.gaps) == 1


async def test_more_than_max_pending_rows_in_one_tick_is_the_same() -> None:
    async with running(max_pending_rows=5) as server, client(server) as raw:
        await raw.create(capacity=1000)
        near = await match(raw, V, 10.0)
        await raw.add(*range(1, 31))
        await near.until(30)
        assert near.gaps == [(15, 30, "slow")]
        assert list(near.rows) == [10, 11, 12, 13, 14]


async def test_what_overflowed_and_then_left_by_age_is_in_the_gap_of_its_age() -> None:
    clock = Clock()
    server = Server(settings(max_pending_rows=3), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as writer:
        await raw.create(capacity=20, ttl=10)
        near = await match(raw, V, 0.0)
        async with slow_sockets(server) as slow:
            await writer.add(1)
            await eventually(lambda: bool(slow.held))  # 1 is on its way
            for number in range(2, 11):
                await writer.add(number)  # 2, 3, 4 wait; 5 … 10 have no place
            for number in range(11, 27):
                await writer.add(number)  # 1 … 6 are evicted
            clock.move(5)
        await near.until(26)
        assert near.gaps == [(2, 6, "evicted"), (7, 26, "slow")]
        async with slow_sockets(server) as slow:
            await writer.add(27)
            await eventually(lambda: bool(slow.held))
            for number in range(28, 38):
                await writer.add(number)
            clock.move(20)
            await writer.ok("count", collection="items")
        await near.until(37)
        # All of it expired: no slow gap behind the window's end.
        assert near.gaps[2:] == [(28, 37, "expired")]
        await writer.add(50)
        await near.until(38)
        assert list(near.rows) == [1, 27, 38]


@pytest.mark.usefixtures("whole_ticks")
async def test_rows_that_came_and_went_within_one_tick_lie_in_a_gap() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=4)
        near, far = await match(raw, V, 0.0), await match(raw, V, 1000.0)
        async with engine_held(server):
            for number in range(1, 11):
                await writer.send("add", collection="items", rows=rows(number))
            await queued(server, 10)
        await near.until(10)
        assert near.gaps == [(1, 6, "evicted")]
        assert list(near.rows) == [7, 8, 9, 10]
        # Nobody looked at those rows: not even for a query that they would not have reached.
        await far.until(6)
        assert far.gaps == [(1, 6, "evicted")]


async def test_rows_that_were_expired_before_anyone_looked_lie_in_a_gap() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as writer:
        await raw.create(capacity=10, ttl=10)
        near = await match(raw, V, 0.0)
        async with slow_sockets(server) as slow:
            await writer.add(1)
            await eventually(lambda: bool(slow.held))
            for number in range(2, 15):
                await writer.add(number)
            clock.move(11)
            await writer.ok("count", collection="items")
            for number in range(15, 18):
                await writer.add(number)
        await near.until(17)
        # 14 rows came, the oldest were overwritten, then the others expired.
        assert near.gaps == [(2, 7, "evicted"), (8, 14, "expired")]
        assert list(near.rows) == [1, 15, 16, 17]


@pytest.mark.usefixtures("whole_ticks")
async def test_rows_that_were_deleted_or_replaced_before_the_push_are_not_in_it() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=100)
        near = await match(raw, V, 0.0)
        async with engine_held(server):
            await writer.send("add", collection="items", rows=rows(1, 2, 3))
            await writer.send("delete", collection="items", ids=[1])
            await writer.send("add", collection="items", rows=rows(3))
            await queued(server, 3)
        await near.until(4)
        assert list(near.rows) == [2, 4]
        async with slow_sockets(server) as slow:
            await writer.add(10)
            await eventually(lambda: bool(slow.held))
            await writer.add(11, 12, 13)
            await writer.ok("delete", collection="items", ids=[11])
            await writer.add(13)
        await near.until(9)
        assert list(near.rows) == [2, 4, 5, 7, 9]
        assert near.gaps == []


@ENCODINGS
async def test_a_reader_hears_how_far_it_got_with_nothing_to_deliver(encoding: str) -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(capacity=1000)
        near = await match(raw, V, 100.0, encoding=encoding)
        await raw.add(1, 2, 3)
        await raw.ok("ping")
        assert raw.events == []
        for turn in range(3):
            clock.move(5)
            await raw.ok("count", collection="items")
            await near.until(3 + turn)
            assert near.rows == {}
            assert near.gaps == []
            await raw.add(4 + turn)
        # With nothing new there is nothing to say.
        clock.move(5)
        await raw.ok("count", collection="items")
        await near.until(6)
        for _ in range(5):
            clock.move(5)
            await raw.ok("count", collection="items")
        await raw.ok("ping")
        assert raw.events == []


async def test_all_that_waits_was_deleted_and_the_reader_hears_so() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        near = await match(raw, V, 0.0)
        async with slow_sockets(server) as slow:
            await writer.add(1)
            await eventually(lambda: bool(slow.held))
            await writer.add(2, 3, 4)
            await writer.ok("delete", collection="items", ids=[2, 3, 4])
        clock.move(5)
        await writer.ok("count", collection="items")
        await near.until(4)
        assert list(near.rows) == [1]
        assert near.gaps == []


async def test_a_reader_comes_back_with_its_last_to_seq_and_misses_nothing() -> None:
    async with running() as server, client(server) as writer:
        epoch = (await writer.create(capacity=60))["epoch"]
        rows_seen: dict[int, Any] = {}
        missed: set[int] = set()
        to_seq, number = 0, 0
        random = np.random.default_rng(3)
        for _ in range(25):
            async with client(server) as raw:
                near = await match(raw, V, 10.0, from_seq=to_seq + 1, epoch=epoch)
                for _ in range(int(random.integers(1, 6))):
                    number += 1
                    await writer.add(number)
                for _ in range(int(random.integers(0, 3))):
                    if number >= 10:
                        await near.step()
                assert not near.rows.keys() & rows_seen.keys()
                rows_seen |= near.rows
                missed |= near.missed
                to_seq = near.to_seq
            for _ in range(int(random.choice([0, 1, 2, 70]))):
                number += 1
                await writer.add(number)
        async with client(server) as raw:
            near = await match(raw, V, 10.0, from_seq=to_seq + 1, epoch=epoch)
            await near.until(number)
            rows_seen |= near.rows
            missed |= near.missed
        assert rows_seen.keys() | missed >= set(range(10, number + 1))
        assert not rows_seen.keys() & missed
        assert missed


@ENCODINGS
async def test_a_filter_decides_what_matches_in_the_past_and_from_now_on(encoding: str) -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create(capacity=100, columns={"price": "f64"}))["epoch"]

        async def add(*numbers: int) -> None:
            given = [{**rows(n)[0], "metadata": {"price": n % 3}} for n in numbers]
            await raw.ok("add", collection="items", rows=given)

        await add(*range(1, 13))
        near = await match(
            raw, V, 4.0, filter={"price": 1}, include=["metadata", "vector"],
            from_seq=2, epoch=epoch, encoding=encoding,
        )  # fmt: skip
        await add(*range(13, 25))
        await near.until(22)
        assert list(near.rows) == [4, 7, 10, 13, 16, 19, 22]
        assert all(row.metadata == {"price": 1} for row in near.rows.values())
        assert near.rows[7].vector == [7.0, 1.0]
        # An update makes no row an added row.
        await raw.ok("update", collection="items", rows=[{"id": 24, "metadata": {"price": 1}}])
        await add(25)
        await near.until(25)
        assert list(near.rows)[-2:] == [22, 25]


@pytest.mark.parametrize(
    ("kind", "given"), [("u64", [0, 2**53, 2**64 - 1]), ("str", ["ä", "b", "'"]), ("auto", None)]
)
@ENCODINGS
async def test_ids_of_every_kind_come_as_they_are(
    kind: str, given: list[Any] | None, encoding: str
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100, ids=kind)
        near = await match(raw, V, 0.0, encoding=encoding, id_kind=kind)
        wire = [
            str(one) if isinstance(one, int) and one > 2**53 - 1 else one for one in given or ()
        ]
        added = [{"vector": [1.0, 1.0], **({"id": wire[n]} if given else {})} for n in range(3)]
        await raw.ok("add", collection="items", rows=added)
        await near.until(3)
        assert [row.id for row in near.rows.values()] == (given or [1, 2, 3])


async def test_min_scores_beyond_float32_match_all_or_nothing() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(capacity=100)
        least, most = await match(raw, V, -1e300), await match(raw, V, 1e300)
        await raw.add(1, 2)
        await least.until(2)
        assert list(least.rows) == [1, 2]
        clock.move(5)
        await raw.ok("count", collection="items")
        await most.until(2)
        assert most.rows == {}


async def test_large_pushes_are_split_and_none_is_over_a_mebibyte() -> None:
    async with running() as server, client(server) as raw:
        made = await raw.create(capacity=4000, dim=256)
        vectors = np.ones((2000, 256), np.float32)
        for start in (0, 2000):
            ids = np.arange(start, start + 2000, dtype=np.uint64)
            await raw.add_binary(made["handle"], RowBatch(vectors, ids))
        for encoding in ("binary", "json"):
            sizes: list[int] = []
            receive = raw.socket.recv

            async def measured(receive: Any = receive, sizes: list[int] = sizes) -> Any:
                data = await receive()
                sizes.append(len(data))
                return data

            raw.socket.recv = measured  # type: ignore[method-assign]
            near = await match(
                raw, [1.0] * 256, 0.0, include=["vector"], from_seq=1, epoch=made["epoch"],
                encoding=encoding,
            )  # fmt: skip
            await near.until(4000)
            raw.socket.recv = receive  # type: ignore[method-assign]
            assert list(near.rows) == list(range(1, 4001))
            assert max(sizes) <= 1 << 20
            await raw.ok("unsubscribe", sub=near.sub)


async def test_nothing_comes_after_the_reply_to_unsubscribe_and_nothing_is_kept() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        near = await match(raw, V, 0.0)
        for number in range(50):
            await writer.send("add", collection="items", rows=rows(number))
        left = await raw.send("unsubscribe", sub=near.sub)
        reply = await raw.reply(left)
        for number in range(50, 80):
            await writer.add(number)
        await raw.ok("ping")
        place = raw.order.index(reply)
        assert not [one for one in raw.order[place:] if sub_of(one) == near.sub]
        shard = server.context.catalog.find("default", "items").shard
        assert not server.context.engine.matches.of(shard)
        assert len(shard.window.standing) == 0


@pytest.mark.usefixtures("whole_ticks")
async def test_hits_wait_within_the_budget_and_beyond_it_are_a_gap() -> None:
    """A reader that takes nothing: what its hits may take is charged, and given back."""
    async with running(max_memory_bytes=1 << 20, max_pending_bytes=4096) as server:
        catalog = server.context.catalog
        async with client(server) as writer:
            made = await writer.create(capacity=4096)
            async with client(server) as reader:
                fields = {"collection": "items", "vector": [1.0, 1.0], "min_score": -1e9}
                await reader.ok("subscribe", kind="match", **fields)
                before = catalog.reserved_bytes
                # Nothing is delivered while the budget has room for 100 hits only.
                async with engine_held(server):
                    sent = [
                        await writer.send("add", collection="items", rows=rows(*range(n, n + 500)))
                        for n in range(0, 2000, 500)
                    ]
                    await queued(server, 4)
                    room = catalog.limits.max_memory_bytes - before - 1200
                    catalog.budget.take(room, "this test takes")
                for one in sent:
                    await writer.reply(one)
                gap = await reader.named("gap")
                assert gap["reason"] == "slow"
                assert gap["to_seq"] - gap["from_seq"] > 1000
                assert catalog.reserved_bytes <= catalog.limits.max_memory_bytes
                catalog.budget.give_back(room)
                await writer.add(5000)
                while (await reader.named("match"))["to_seq"] < 2001:
                    pass
                assert catalog.reserved_bytes == before
            await writer.ok("drop", collection="items")
        assert made["bytes"] > 0
