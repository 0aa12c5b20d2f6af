"""Searches, gets and counts in pieces: the answers of one go, at one version, others in between.

Nothing here goes by time: whatever can be done in pieces is, a piece a tick.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest
from omendb_core import counting
from omendb_core.filters import mask_cache
from omendb_core.filters import masks as filter_masks
from omendb_core.search import deep, shaped

from omendb_ws.engine.pieces import copies
from omendb_ws.engine.pieces import long_reads as pieces
from omendb_ws.engine.reads import long_answers
from omendb_ws.engine.streams import beginning
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Added, Results
from tests.patience import eventually
from tests.server.raw import (
    Clock,
    Raw,
    batch,
    client,
    engine_held,
    queued,
    running,
    settings,
)
from tests.server.streams.test_beginning import long_reads

COLUMNS = {"n": "i64", "kind": "str"}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SLICE_US", 0)
    monkeypatch.setattr(long_answers, "AT_ONCE_US", -1.0)
    monkeypatch.setattr(long_answers, "_LEAST_QUERIES", 1)
    monkeypatch.setattr(long_answers, "_LEAST_HARD_QUERIES", 1)
    monkeypatch.setattr(long_answers, "_MOST_QUERIES", 1)
    monkeypatch.setattr(long_answers, "_IDS", 2)
    monkeypatch.setattr(copies, "_rows_of_piece", lambda hits: 3)
    monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 0)
    monkeypatch.setattr(mask_cache, "BLOCK_ROWS", 64)
    monkeypatch.setattr(filter_masks, "BLOCK_ROWS", 64)
    monkeypatch.setattr(counting, "BLOCK_ROWS", 64)
    monkeypatch.setattr(deep, "_PIECE_ROWS", 64)
    monkeypatch.setattr(deep, "_MOST_SORTED_ROWS", 32)
    monkeypatch.setattr(shaped, "_LEAST_SCANNED", 32)
    monkeypatch.setattr(counting, "is_short", lambda state: False)


@pytest.fixture
def all_at_once(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it, and nothing is done in pieces any more."""
    return lambda: (
        monkeypatch.setattr(long_answers, "AT_ONCE_US", 1e9),
        monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 1 << 40),
        monkeypatch.setattr(counting, "is_short", lambda state: True),
    )


def made_rows(first: int, count: int) -> list[dict[str, Any]]:
    numbers = np.random.default_rng(first)
    return [
        {
            "id": first + n,
            "vector": numbers.standard_normal(2).tolist(),
            "metadata": {"n": n % 7, "kind": f"k{n % 3}", "note": "x" * (n % 5)},
        }
        for n in range(count)
    ]


async def filled(raw: Raw, rows: int = 300, **fields: Any) -> int:
    made = await raw.create(**{"capacity": 500, "columns": COLUMNS, **fields})
    for first in range(0, rows, 100):
        await raw.ok("add", collection="items", rows=made_rows(first, 100))
    return int(made["handle"])


def pieces_take(server: Server, clock: Clock, seconds: float) -> None:
    """The clock moves by that much with every piece."""
    run = long_reads(server).run

    def slow(effects: Any) -> int:
        before = long_reads(server).pieces
        done = run(effects)
        if long_reads(server).pieces > before:
            clock.move(seconds)
        return done

    long_reads(server).run = slow  # type: ignore[method-assign]


FILTER = {"$or": [{"n": {"$lt": 3}}, {"kind": {"$in": ["k1", "k9"]}}]}
READS: list[dict[str, Any]] = [
    {"op": "search", "vectors": [[1, 0], [0, 1], [-1, 0.5]], "k": 40},
    {"op": "search", "vectors": [[1, 0], [0, 1]], "k": 7, "include": ["metadata", "vector"]},
    {"op": "search", "vectors": [[1, 0], [0, 1]], "k": 9, "filter": FILTER, "min_score": 0.1},
    {"op": "search", "vectors": [[1, 0], [0, 1]], "k": 9, "last": 50, "filter": FILTER},
    {"op": "search", "vector": [1, 0], "k": 300, "include": ["metadata"]},
    {"op": "search", "like": 17, "k": 5, "filter": FILTER},
    {"op": "search", "vectors": [[1, 0], [0, 1]], "group": {"by": "kind", "size": 40}, "k": 90},
    {"op": "search", "vector": [1, 0], "rank": {"$mul": ["n", "$score"]}, "k": 30, "at": 5},
    {"op": "search", "vectors": [[1, 0], [0, 1]], "decay": {"half_life": 1}, "k": 30, "at": 5},
    {"op": "search", "positive": [17, [1, 0]], "spread": {"max_similarity": 0.2}, "filter": FILTER},
    {"op": "search", "vector": [1, 0], "mmr": {"lambda": 0.3}, "include": ["vector"]},
    {"op": "get", "ids": [5, 900, 7, 5, 299, 0], "include": ["metadata", "vector"]},
    {"op": "get", "ids": []},
    {"op": "count", "filter": FILTER},
    {"op": "count", "filter": {"$not": FILTER}},
    {"op": "count", "by": "n"},
    {"op": "count", "by": "kind", "filter": FILTER, "limit": 2},
]


@pytest.mark.parametrize("asked", READS)
async def test_in_pieces_the_answer_is_that_of_one_go(asked: Any, all_at_once: Any) -> None:
    async with running() as server, client(server) as raw:
        await filled(raw)
        in_pieces = await raw.ok(collection="items", **asked)
        assert long_reads(server).pieces
        all_at_once()
        before = long_reads(server).pieces
        at_once = await raw.ok(collection="items", **asked)
        assert long_reads(server).pieces == before
        for reply in (in_pieces, at_once):
            reply.pop("took_us", None)
        assert in_pieces == at_once


@pytest.mark.parametrize("fields", [{}, {"include": binary.Include(metadata=True, vector=True)}])
async def test_binary_batches_too(fields: Any, all_at_once: Any) -> None:
    vectors = np.random.default_rng(0).standard_normal((9, 2)).astype(np.float32)
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        one = await raw.search_binary(handle, vectors, k=20, **fields)
        assert long_reads(server).pieces >= 9
        all_at_once()
        other = await raw.search_binary(handle, vectors, k=20, **fields)
        assert (one.version, one.counts.tolist()) == (other.version, other.counts.tolist())
        for name in ("ids", "seqs", "scores", "vectors"):
            mine, theirs = getattr(one.hits, name), getattr(other.hits, name)
            assert (mine is None) == (theirs is None)
            assert mine is None or np.array_equal(mine, theirs)
        assert one.hits.metadata == other.hits.metadata


async def test_others_are_answered_while_a_selection_reads_every_row() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw)
        fields = {"vector": [1, 0], "group": {"by": "kind"}, "k": 10}
        deep_one = await raw.send("search", collection="items", **fields)
        await eventually(lambda: long_reads(server).pieces > 0)
        while deep_one not in raw.replies:
            await other.ok("count", collection="items")
            if not long_reads(server):
                break
        assert len((await raw.reply(deep_one))["ok"]["results"]) == 3
        assert long_reads(server).pieces > 10


async def test_a_shaped_answer_in_pieces_is_of_one_version() -> None:
    """Each add overwrites the whole window, and its rows alone have its number."""
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(capacity=90, columns=COLUMNS)
        shapes: list[dict[str, Any]] = [
            {"rank": "n"}, {"group": {"by": "n", "size": 100}}, {"spread": {"max_similarity": 50}},
        ]  # fmt: skip
        for turn in range(24):
            rows = [{"id": n, "vector": [n, 0], "metadata": {"n": turn}} for n in range(90)]
            await raw.ok("add", collection="items", rows=rows)
            searched = await raw.send(
                "search", collection="items", vector=[1, 0], k=90, include=["metadata"],
                **shapes[turn % 3],
            )  # fmt: skip
            rows = [{"id": n, "vector": [n, 0], "metadata": {"n": -turn}} for n in range(90)]
            added = await other.send("add", collection="items", rows=rows)
            found = (await raw.reply(searched))["ok"]
            seen = {row["metadata"]["n"] for row in found["results"]}
            assert seen <= {turn if found["version"] == 2 * turn + 1 else -turn}
            assert len(found["results"]) == (90 if turn % 3 < 2 else 2)
            assert "ok" in await other.reply(added)


async def test_others_are_answered_between_the_pieces_of_a_batch() -> None:
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        big = raw.next_id()
        vectors = np.ones((100, 2), np.float32)
        await raw.send_binary(binary.encode_search(big, handle, vectors, 10))
        small = await raw.search_binary(handle, vectors[:1], k=3)
        assert small.counts.tolist() == [3]
        assert big not in raw.replies
        assert (await raw.reply(big)).counts.tolist() == [10] * 100


async def test_two_batches_go_on_by_turns_and_changes_come_between_them() -> None:
    """Batches without end on one connection do not keep another's change waiting for ever."""
    async with running() as server, client(server) as raw, client(server) as other:
        handle = await filled(raw)
        vectors = np.ones((30, 2), np.float32)
        ids = [raw.next_id() for _ in range(20)]
        for id_ in ids:
            await raw.send_binary(binary.encode_search(id_, handle, vectors, 3))
        await eventually(lambda: long_reads(server).pieces > 0)
        while long_reads(server):
            await other.ok("add", collection="items", rows=made_rows(1000, 1))
        versions = [(await raw.reply(id_)).version for id_ in ids]
        assert len(set(versions)) > 1


async def test_an_answer_in_pieces_is_of_one_version_whatever_comes_between() -> None:
    """Each add overwrites the whole window: a mixture would show rows of two of them."""
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create(capacity=8, columns=COLUMNS))["handle"]
        last = 0

        async def change() -> None:
            nonlocal last
            ids = range(last + 1, last + 9)
            rows = [{"id": n, "vector": [1, 0], "metadata": {"n": last}} for n in ids]
            assert "ok" in await other.ask("add", collection="items", rows=rows)
            last += 8

        await change()
        vectors = np.ones((12, 2), np.float32)
        for turn in range(30):
            searched, got = raw.next_id(), raw.next_id()
            await raw.send_binary(binary.encode_search(searched, handle, vectors, 8))
            ids = list(range(last - 7, last + 17))
            await raw.send("get", id=got, collection="items", ids=ids, include=["metadata"])
            for _ in range(turn % 4):
                await change()
            found = await raw.reply(searched)
            assert set(found.hits.seqs.tolist()) == set(
                range(found.version * 8 - 7, found.version * 8 + 1)
            )
            assert found.counts.tolist() == [8] * 12
            reply = (await raw.reply(got))["ok"]
            there = [row for row in reply["rows"] if row is not None]
            assert {row["metadata"]["n"] for row in there} <= {reply["version"] * 8 - 8}
            assert [row["id"] for row in there] == [
                n for n in ids if reply["version"] * 8 - 8 < n <= reply["version"] * 8
            ]


async def test_a_read_in_pieces_sees_its_connections_changes() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        for turn in range(1, 40):
            id_ = raw.next_id()
            await raw.send_binary(binary.encode_add(id_, handle, batch(turn)))
            found = await raw.search_binary(handle, [[1, 0], [1, 1]], k=3)
            assert found.version >= turn
            assert found.hits.ids[0] == turn
            assert isinstance(await raw.reply(id_), Added)


async def test_changes_that_waited_keep_their_order() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = await filled(raw, rows=100)
        vectors = np.ones((50, 2), np.float32)
        await raw.send_binary(binary.encode_search(500, handle, vectors, 3))
        await eventually(lambda: long_reads(server).pieces > 0)
        asked = []
        for turn in range(30):
            id_ = 700 + turn
            update = [{"id": id_, "metadata": {"n": turn}}]
            changes = [("add", {"rows": made_rows(id_, 1)}), ("update", {"rows": update})]
            if turn % 3 == 0:
                changes.append(("delete", {"ids": [id_]}))
            for op, fields in changes:
                asked.append(await other.send(op, collection="items", **fields))
        versions = [(await other.reply(id_))["ok"]["version"] for id_ in asked]
        assert versions == list(range(2, 2 + len(versions)))
        await raw.reply(500)


@pytest.mark.parametrize(
    ("asked", "code", "row"),
    [
        ({"vectors": [[1, 0], [0, 1], [0, 0]]}, "zero_norm", 2),
        ({"vectors": [[1, 0, 0], [1, 2, 3]]}, "dim_mismatch", None),
        ({"like": 12345, "filter": FILTER}, "not_found", None),
        ({"positive": [5, 12345], "group": {"by": "n"}}, "not_found", 1),
        ({"vectors": [[1, 0], [0, 0]], "rank": "$score"}, "zero_norm", 1),
    ],
)
async def test_what_is_refused_in_pieces_is_refused_as_in_one_go(
    asked: Any, code: str, row: int | None, all_at_once: Any
) -> None:
    async with running() as server, client(server) as raw:
        await filled(raw, metric="cosine")
        errors = [await raw.error("search", collection="items", **asked)]
        all_at_once()
        errors.append(await raw.error("search", collection="items", **asked))
        assert [(error["code"], error.get("row")) for error in errors] == [(code, row)] * 2
        (shard,) = server.context.catalog.shards()
        assert not shard.is_held


async def test_what_would_be_too_long_is_refused_and_lets_the_window_go() -> None:
    async with running(max_message_bytes=20_000) as server, client(server) as raw:
        await filled(raw)
        vectors = [[1, 0]] * 20
        error = await raw.error("search", collection="items", vectors=vectors, k=100)
        assert error["code"] == "too_large"
        error = await raw.error(
            "get", collection="items", ids=list(range(300)), include=["metadata", "vector"]
        )
        assert error["code"] == "too_large"
        await raw.ok("add", collection="items", rows=made_rows(1000, 1))


async def test_a_fault_in_a_piece_is_one_requests_and_lets_the_window_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def boom(*_: Any) -> Any:
        raise MemoryError("on purpose")

    async with running() as server, client(server) as raw:
        await filled(raw)
        places = ((long_answers, "_one_piece"), (copies, "row_objects"), (long_answers, "joined"))
        for room, name in places:
            with monkeypatch.context() as patch:
                patch.setattr(room, name, boom)
                code = await raw.code("search", collection="items", vectors=[[1, 0], [0, 1]])
                assert code == "internal", name
            await raw.ok("add", collection="items", rows=made_rows(1000, 1))
        assert server.metrics.faults == 3


async def test_whoever_leaves_in_the_middle_lets_the_window_and_the_mask_go() -> None:
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        (shard,) = server.context.catalog.shards()
        for filter_ in (None, FILTER):
            async with client(server) as other:
                handle = (await other.ok("open", collection="items"))["handle"]
                frame = binary.encode_search(
                    900, handle, np.ones((200, 2), np.float32), 3, filter=filter_
                )
                before = long_reads(server).pieces
                await other.send_binary(frame)
                await eventually(lambda before=before: long_reads(server).pieces > before)
            await eventually(lambda: not (shard.is_held or shard.makes_mask))
            await raw.ok("add", collection="items", rows=made_rows(1000, 1))
            assert (await raw.ok("count", collection="items", filter=FILTER))["count"]


async def test_a_drop_behind_a_batch_comes_after_it() -> None:
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        frame = binary.encode_search(900, handle, np.ones((50, 2), np.float32), 3)
        await raw.send_binary(frame)
        dropped = await raw.send("drop", collection="items")
        assert isinstance(await raw.reply(900), Results)
        assert (await raw.reply(dropped))["ok"] == {}


async def test_masks_made_in_pieces_follow_what_is_written_meanwhile() -> None:
    """Counts with filters that nobody asked before, while rows come, go and change."""
    numbers = random.Random(1)
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw)
        rows: dict[int, dict[str, Any]] = {
            row["id"]: row for first in (0, 100, 200) for row in made_rows(first, 100)
        }
        states = {3: {id_: row["metadata"] for id_, row in rows.items()}}
        for turn in range(25):
            bound = turn % 7
            filter_ = {"n": {"$lte": bound}, "kind": {"$ne": f"t{turn}"}}
            asked = await raw.send("count", collection="items", filter=filter_)
            for _ in range(numbers.randrange(6)):
                state = dict(states[max(states)])
                id_ = numbers.randrange(320)
                if numbers.random() < 0.3:
                    reply = await other.ok("delete", collection="items", ids=[id_])
                    state.pop(id_, None)
                else:
                    metadata = {"n": numbers.randrange(9), "kind": "k1"}
                    row = {"id": id_, "vector": [1, 1], "metadata": metadata}
                    reply = await other.ok("add", collection="items", rows=[row])
                    state.pop(id_, None)
                    state[id_] = metadata
                    while reply["last_seq"] - 500 > 0 and len(state) > 500:
                        raise AssertionError("the test evicts nothing")
                states[reply["version"]] = state
            found = (await raw.reply(asked))["ok"]
            wanted = sum(one["n"] <= bound for one in states[found["version"]].values())
            assert found["count"] == wanted
        (shard,) = server.context.catalog.shards()
        async with engine_held(server):
            shard.window.check()


async def test_two_filters_at_a_time_are_made_one_after_the_other() -> None:
    async with running() as server, client(server) as raw:
        await filled(raw)
        async with engine_held(server):
            asked = [
                await raw.send("count", collection="items", filter={"n": {"$lte": n % 7}})
                for n in range(14)
            ]
            await queued(server, 14)
        counts = [(await raw.reply(id_))["ok"]["count"] for id_ in asked]
        assert counts[:7] == counts[7:]
        assert counts[:7] == sorted(counts[:7])
        assert long_reads(server).pieces < 14 * 8


async def test_a_durable_collection_is_held_too(tmp_path: Any) -> None:
    async with (
        running(data_dir=str(tmp_path)) as server,
        client(server) as raw,
        client(server) as other,
    ):
        made = await raw.create(capacity=8, durability="everysec")
        handle = made["handle"]
        vectors = np.ones((12, 2), np.float32)
        for turn in range(15):
            id_ = raw.next_id()
            await raw.send_binary(binary.encode_search(id_, handle, vectors, 8))
            await other.add(*range(turn * 8, turn * 8 + 8))
            found = await raw.reply(id_)
            seqs = set(found.hits.seqs.tolist())
            assert seqs == set(range(max(1, found.version * 8 - 7), found.version * 8 + 1))
        await asyncio.sleep(0)
        assert server.metrics.faults == 0


async def test_a_server_that_stops_in_the_middle_does_what_waits() -> None:
    server: Server
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        await raw.send_binary(binary.encode_search(900, handle, np.ones((200, 2), np.float32), 3))
        await eventually(lambda: long_reads(server).pieces > 0)


async def test_rows_expire_between_batches_without_end() -> None:
    """No change comes that would part them: expiry alone does."""
    clock = Clock()
    server = Server(settings(queue_deadline_ms=60_000), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as other:
        handle = await filled(raw, ttl=10)
        other_handle = (await other.ok("open", collection="items"))["handle"]
        vectors = np.ones((30, 2), np.float32)
        ids = [raw.next_id() for _ in range(10)]
        async with engine_held(server):
            for id_ in ids:
                await raw.send_binary(binary.encode_search(id_, handle, vectors, 3))
                await other.send_binary(binary.encode_search(id_, other_handle, vectors, 3))
            await queued(server, 20)
        await eventually(lambda: long_reads(server).pieces > 0)
        clock.move(11)
        found = [await one.reply(id_) for id_ in ids for one in (raw, other)]
        assert found[0].counts.tolist() == [3] * 30
        assert found[-1].counts.tolist() == [0] * 30


LATE: list[dict[str, Any]] = [
    {"op": "search", "vectors": [[1, 0], [0, 1]], "k": 3},
    {"op": "search", "vector": [1, 0], "k": 300, "include": ["metadata"]},
    {"op": "get", "ids": [5, 7]},
    {"op": "count", "filter": FILTER},
]


@pytest.mark.parametrize("asked", LATE)
@pytest.mark.parametrize("asks", ["same", "other"])
async def test_what_waits_too_long_for_its_first_piece_is_shed_and_what_has_begun_is_not(
    asked: Any, asks: str
) -> None:
    """A piece takes 60 ms on this clock: whoever comes second is late, and the first never is."""
    clock = Clock()
    server = Server(settings(queue_deadline_ms=50), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as other:
        handle = await filled(raw)
        pieces_take(server, clock, 0.06)
        begun = raw.next_id()
        asker = raw if asks == "same" else other
        async with engine_held(server):
            await raw.send_binary(binary.encode_search(begun, handle, np.ones((20, 2)), 3))
            await queued(server, 1)
            late = await asker.send(collection="items", **asked)
            await queued(server, 2)
        error = (await asker.reply(late))["error"]
        assert (error["code"], error["retry"]) == ("overloaded", True)
        assert (await raw.reply(begun)).counts.tolist() == [3] * 20
        assert await other.ok("count", collection="items") == {"version": 3, "count": 300}
        (shard,) = server.context.catalog.shards()
        assert not len(long_reads(server))
        assert not shard.makes_mask
        assert not shard.is_held
        assert server.metrics.faults == 0


async def test_what_waits_too_long_for_a_window_that_others_hold_is_shed() -> None:
    """Its turn came in time, and came to nothing."""
    clock = Clock()
    server = Server(settings(queue_deadline_ms=500), clock_us=clock)
    async with running(server), client(server) as raw:
        handle = await filled(raw)
        pieces_take(server, clock, 0.06)
        ids = [raw.next_id() for _ in range(3)]
        async with engine_held(server):
            for id_ in ids:
                await raw.send_binary(binary.encode_search(id_, handle, np.ones((20, 2)), 3))
            await queued(server, 3)
        found = [await raw.reply(id_) for id_ in ids]
        assert found[0].counts.tolist() == [3] * 20
        assert [one["error"]["code"] for one in found[1:]] == ["overloaded"] * 2


async def test_connections_have_their_turns_however_much_one_asks_for() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = await filled(raw)
        other_handle = (await other.ok("open", collection="items"))["handle"]
        vectors = np.ones((30, 2), np.float32)
        async with engine_held(server):
            many = [raw.next_id() for _ in range(50)]
            for id_ in many:
                await raw.send_binary(binary.encode_search(id_, handle, vectors, 3))
            await queued(server, 50)
            one = other.next_id()
            await other.send_binary(binary.encode_search(one, other_handle, vectors, 3))
            await queued(server, 51)
        await other.reply(one)
        assert len(long_reads(server)) > 40
        for id_ in many:
            await raw.reply(id_)


async def test_what_is_found_and_not_written_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that ask for much, few have it copied at a time; all are answered."""
    monkeypatch.setattr(pieces, "COPIED_BYTES", 1)
    written, most = 0, 0
    joined = long_answers.joined

    def counted(parts: Any) -> Any:
        nonlocal written, most
        written += 1
        most = max(most, len(long_reads(server)._copied))
        return joined(parts)

    monkeypatch.setattr(long_answers, "joined", counted)
    async with running() as server, client(server) as raw:
        await filled(raw)
        asked = []
        async with engine_held(server):
            for n in range(12):
                body = {"ids": list(range(50)), "include": ["metadata", "vector"]}
                asked.append(await raw.send("get", collection="items", **body))
                body = {"vectors": [[1, n], [0, 1]], "k": 20, "include": ["vector"]}
                asked.append(await raw.send("search", collection="items", **body))
            await queued(server, 24)
        for id_ in asked:
            assert "ok" in await raw.reply(id_)
        assert (written, most) == (24, 1)


@pytest.mark.parametrize("asked", [*READS, {"op": "subscribe"}, {"op": "plain"}])
async def test_what_is_asked_of_a_collection_that_is_dropped_before_its_turn_finds_none(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a change of its connection, which waits for a long read elsewhere."""
    monkeypatch.setattr(beginning, "MOST_AT_ONCE", 0)
    vectors = np.ones((30, 2), np.float32)
    async with running() as server, client(server) as raw, client(server) as other:
        handle = await filled(raw)
        await other.create("busy", columns=COLUMNS)
        (busy,) = (one for one in server.context.catalog.shards() if one.name == "busy")
        busy.is_being_read = True
        await raw.send("add", id=800, collection="busy", rows=made_rows(0, 5))
        if asked["op"] == "subscribe":
            await raw.send_binary(binary.encode_subscribe(801, handle, vectors))
        elif asked["op"] == "plain":
            await raw.send_binary(binary.encode_search(801, handle, vectors, 3))
        else:
            await raw.send(id=801, collection="items", **asked)
        await queued(server, 2)
        await other.ok("drop", collection="items")
        busy.is_being_read = False
        assert (await raw.reply(801))["error"]["code"] == "not_found"
        assert "ok" in await raw.reply(800)
        assert server.metrics.faults == 0
