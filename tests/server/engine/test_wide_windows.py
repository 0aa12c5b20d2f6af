"""Searches and live queries over windows that are wide: by parts of their rows, as in one scan.

Nothing here goes by time: parts are made small, and a piece is done a tick.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.scan import parts

from omendb_ws.engine.pieces import long_reads as pieces
from omendb_ws.engine.reads import wide
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from tests.patience import eventually
from tests.server.engine.test_long_answers import FILTER, filled, made_rows
from tests.server.raw import Raw, client, engine_held, queued, running
from tests.server.streams.test_beginning import long_reads, subscribe

PLAIN: list[dict[str, Any]] = [
    {"vectors": [[1, 0], [0, 1], [-1, 0.5]], "k": 40},
    {"vectors": [[1, 0], [0, 1]], "k": 7, "include": ["metadata", "vector"]},
    {"vectors": [[1, 0], [0, 1]], "k": 9, "filter": FILTER, "min_score": 0.1},
    {"vector": [1, 0], "k": 9, "last": 50, "filter": FILTER},
    {"vector": [1, 0], "k": 300, "include": ["metadata"]},
    {"like": 17, "k": 5, "filter": FILTER},
    {"like": 17, "k": 299, "exclude": [3, 4]},
    {"positive": [17, [1, 0]], "negative": [5]},
]
STEP_ROWS = 64


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SLICE_US", 0)
    monkeypatch.setattr(parts, "WIDE_ELEMENTS", 0)
    monkeypatch.setattr(parts, "STEP_ELEMENTS", 2 * STEP_ROWS)
    monkeypatch.setattr(wide, "_LEAST_ELEMENTS", 2 * STEP_ROWS)
    monkeypatch.setattr(wide, "_MOST_ELEMENTS", 2 * STEP_ROWS)


@pytest.fixture
def in_one_scan(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it, and no window is wide any more."""
    return lambda: monkeypatch.setattr(parts, "WIDE_ELEMENTS", 1 << 60)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many vectors each part was scanned."""
    counts: list[int] = []
    look = parts.TopKInParts._look

    def counted(self: Any, start: int, stop: int) -> None:
        counts.append(len(self._question.queries))
        look(self, start, stop)

    monkeypatch.setattr(parts.TopKInParts, "_look", counted)
    return counts


def without_time(ok: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ok.items() if name != "took_us"}


@pytest.mark.parametrize("asked", PLAIN)
async def test_in_parts_the_answer_is_that_of_one_scan(
    asked: Any, in_one_scan: Any, scanned: list[int]
) -> None:
    async with running() as server, client(server) as raw:
        await filled(raw)
        in_parts = await raw.ok("search", collection="items", **asked)
        assert len(scanned) >= 300 // (2 * STEP_ROWS)
        assert long_reads(server).pieces >= len(scanned)
        in_one_scan()
        at_once = await raw.ok("search", collection="items", **asked)
        assert without_time(at_once) == without_time(in_parts)


async def held_searches(
    server: Server, raw: Raw, handle: int, vectors: list[Any], k: int = 7
) -> list[Any]:
    """Ask for each vector by itself, all before the engine takes the first; the replies."""
    ids = [raw.next_id() for _ in vectors]
    async with engine_held(server):
        for id_, vector in zip(ids, vectors, strict=True):
            await raw.send_binary(binary.encode_search(id_, handle, np.array([vector]), k))
        await queued(server, len(ids))
    return [await raw.reply(id_) for id_ in ids]


async def test_searches_that_come_together_share_a_scan(
    in_one_scan: Any, scanned: list[int]
) -> None:
    vectors = list(np.random.default_rng(3).standard_normal((20, 2)).astype(np.float32))
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        together = await held_searches(server, raw, handle, vectors)
        assert scanned == [20] * len(scanned)
        assert len(scanned) >= 300 // (2 * STEP_ROWS)
        in_one_scan()
        for vector, found in zip(vectors, together, strict=True):
            alone = await raw.search_binary(handle, np.array([vector]), k=7)
            assert (alone.counts == found.counts).all()
            assert (alone.hits.seqs == found.hits.seqs).all()
            assert alone.hits.scores.tobytes() == found.hits.scores.tobytes()


async def test_one_that_is_at_fault_is_told_so_and_the_others_are_answered() -> None:
    vectors = [np.array(one, np.float32) for one in ([1, 0], [np.nan, 0], [0, 1])]
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        first, second, third = await held_searches(server, raw, handle, vectors)
        assert first.counts.tolist() == third.counts.tolist() == [7]
        assert second["error"]["code"] == "non_finite"


async def test_other_collections_are_answered_between_the_parts() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw)
        await other.ok("create", collection="small", dim=2, capacity=10)
        await other.ok("add", collection="small", rows=made_rows(0, 5))
        asked = await raw.send("search", collection="items", vectors=[[1, 0]] * 250, k=3)
        await eventually(lambda: long_reads(server).pieces > 2)
        assert len((await other.ok("search", collection="small", vector=[1, 0], k=3))["results"])
        assert asked not in raw.replies
        assert len((await raw.reply(asked))["ok"]["results"]) == 250


async def test_what_changes_meanwhile_comes_after_all_parts() -> None:
    """Each add overwrites the whole window: a mixture would show rows of two of them."""
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(capacity=130)
        for turn in range(12):
            mine = [{"id": n, "vector": [n + 1, turn + 1]} for n in range(130)]
            await raw.ok("add", collection="items", rows=mine)
            asked = await raw.send(
                "search", collection="items", vector=[1, 0], k=130, include=["vector"]
            )
            theirs = [{"id": n, "vector": [n + 1, -turn - 1]} for n in range(130)]
            added = await other.send("add", collection="items", rows=theirs)
            found = (await raw.reply(asked))["ok"]
            signs = {np.sign(row["vector"][1]) for row in found["results"]}
            assert signs == {1.0 if found["version"] == 2 * turn + 1 else -1.0}
            assert "ok" in await other.reply(added)


async def test_who_leaves_lets_the_others_go_on_and_holds_nothing() -> None:
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        shard = server.context.catalog.find("default", "items").shard
        async with client(server) as gone:
            theirs = (await gone.ok("open", collection="items"))["handle"]
            mine = raw.next_id()
            async with engine_held(server):
                for id_ in range(2):
                    frame = binary.encode_search(100 + id_, theirs, np.ones((1, 2)), 3)
                    await gone.send_binary(frame)
                await raw.send_binary(binary.encode_search(mine, handle, np.ones((1, 2)), 3))
                await queued(server, 3)
        assert (await raw.reply(mine)).counts.tolist() == [3]
        await eventually(lambda: not long_reads(server))
        assert not shard.is_being_read
        await raw.ok("add", collection="items", rows=made_rows(1000, 1))


@pytest.mark.parametrize("count", [1, 3, 40])
async def test_live_queries_begin_in_parts_with_the_lists_of_one_scan(
    count: int, in_one_scan: Any, scanned: list[int]
) -> None:
    vectors = np.random.default_rng(4).standard_normal((count, 2)).astype(np.float32)
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        found = await raw.reply(await subscribe(raw, handle, vectors, k=5))
        assert len(scanned) >= 300 // (2 * STEP_ROWS)
        in_one_scan()
        expected = await raw.reply(await subscribe(raw, handle, vectors, k=5))
        assert found.counts.tolist() == expected.counts.tolist() == [5] * count
        assert found.hits.seqs.tolist() == expected.hits.seqs.tolist()
        assert found.hits.scores.tobytes() == expected.hits.scores.tobytes()
