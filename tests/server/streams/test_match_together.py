"""Match queries that are told together hear, to the bit, what each would hear by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from omendb_ws.engine.streams import matches, together
from omendb_ws.net.server import Server
from tests.server.live_view import Matched, Row, match, slow_sockets
from tests.server.raw import Clock, Raw, client, engine_held, queued, running, settings

DIM = 3
QUERIES = 30
FORMS = pytest.mark.parametrize(
    ("ids", "encoding", "include"),
    [
        ("u64", "binary", []),
        ("u64", "json", ["metadata"]),
        ("str", "binary", ["metadata", "vector"]),
        ("str", "json", ["vector"]),
        ("u64", "binary", ["vector"]),
    ],
)


def vectors(count: int, seed: int) -> list[list[float]]:
    return np.random.default_rng(seed).integers(-3, 4, (count, DIM)).astype(float).tolist()


def rows(first: int, count: int, ids: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"row {number}" if ids == "str" else number,
            "vector": vector,
            "metadata": {"group": number % 3, "said": "x" * (number % 5)},
        }
        for number, vector in enumerate(vectors(count, first), first)
    ]


@asynccontextmanager
async def listening(
    server: Server, ids: str, epoch: str, **asked: Any
) -> AsyncIterator[list[Matched]]:
    """Queries of three connections: some with a filter, one that begins in the past."""
    async with AsyncExitStack() as stack:
        found = []
        readers = [await stack.enter_async_context(client(server)) for _ in range(3)]
        for number, vector in enumerate(vectors(QUERIES, 0)):
            given = {**asked}
            if number % 4 == 1:
                given["filter"] = {"group": number % 3}
            if number % 10 == 7:
                given |= {"from_seq": 1, "epoch": epoch}
            reader = readers[number % 3]
            found.append(await match(reader, vector, 4.0, id_kind=ids, **given))
        yield found


async def heard(
    ids: str, encoding: str, include: list[str], monkeypatch: pytest.MonkeyPatch, least: int
) -> list[dict[int, Row]]:
    """What the queries are told of adds and deletes; ``least`` of them together."""
    monkeypatch.setattr(matches, "LEAST_TOGETHER", least)
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as writer:
        made = await writer.create(
            dim=DIM, metric="dot", capacity=200, ids=ids, columns={"group": "f64"}
        )
        await writer.ok("add", collection="items", rows=rows(1, 10, ids))
        asked = {"encoding": encoding, "include": include}
        async with listening(server, ids, made["epoch"], **asked) as queries:
            for first in range(11, 71, 10):
                async with engine_held(server):
                    await writer.send("add", collection="items", rows=rows(first, 10, ids))
                    gone = rows(first, 1, ids)[0]["id"]
                    await writer.send("delete", collection="items", ids=[gone])
                    await queued(server, 2)
                await writer.ok("count", collection="items")
            clock.move(5)
            await writer.ok("count", collection="items")
            for query in queries:
                await query.until(70)
            assert not any(query.gaps for query in queries)
            await equals_searches(writer, queries)
            assert server.metrics.faults == 0
            return [query.rows for query in queries]


async def equals_searches(writer: Raw, queries: Sequence[Matched]) -> None:
    """What was told of rows that are there still has the scores that a search finds."""
    for query, vector in zip(queries, vectors(QUERIES, 0), strict=True):
        ok = await writer.ok("search", collection="items", vector=vector, k=70)
        scores = {one["seq"]: one["score"] for one in ok["results"]}
        assert all(row.score == scores[seq] for seq, row in query.rows.items() if seq in scores)


@FORMS
@pytest.mark.usefixtures("whole_ticks")
async def test_what_is_told_together_is_what_each_is_told_by_itself(
    ids: str, encoding: str, include: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told_together = 0
    tell = together.told

    def counted(*arguments: Any) -> Any:
        nonlocal told_together
        found = tell(*arguments)
        told_together += sum(one is not None for one in found)
        return found

    monkeypatch.setattr(matches, "told", counted)
    both = await heard(ids, encoding, include, monkeypatch, 1)
    assert told_together > QUERIES
    told_together = 0
    assert both == await heard(ids, encoding, include, monkeypatch, 10**9)
    assert told_together == 0
    assert sum(map(len, both)) > QUERIES


@pytest.mark.usefixtures("whole_ticks")
async def test_a_fault_of_what_is_told_together_leaves_each_to_be_told_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = 0

    def fails(*_: Any) -> Any:
        nonlocal failed
        failed += 1
        raise ZeroDivisionError

    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=100)
        queries = [await match(raw, [1.0, 0.0], 0.0) for _ in range(10)]
        monkeypatch.setattr(matches, "told", fails)
        await writer.add(1, 2)
        for query in queries:
            await query.until(2)
            assert list(query.rows) == [1, 2]
        assert failed == 1


async def test_pushes_that_would_be_too_long_together_are_cut_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each row takes 60 KB, and a push at most 200."""
    async with (
        running(max_message_bytes=200_000, max_metadata_bytes=64_000) as server,
        client(server) as raw,
        client(server) as writer,
    ):
        await raw.create(capacity=100)
        queries = [await match(raw, [1.0, 0.0], 0.0, include=["metadata"]) for _ in range(8)]
        note = "x" * 60_000
        async with slow_sockets(server):
            for number in range(6):
                row = {"id": number, "vector": [1.0, 0.0], "metadata": {"note": note}}
                await writer.ok("add", collection="items", rows=[row])
        for query in queries:
            await query.until(6)
            assert list(query.rows) == [1, 2, 3, 4, 5, 6]
            assert query.pushes > 2


async def test_a_query_that_was_told_all_is_not_looked_at_again_until_something_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = 0
    make = matches.Matches.make

    def counted(self: Any, streams: Any, now_us: int) -> Any:
        nonlocal looked_at
        looked_at += len(streams)
        yield from make(self, streams, now_us)

    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as writer:
        await raw.create(capacity=100)
        queries = [await match(raw, [1.0, 0.0], 0.0) for _ in range(10)]
        await writer.ok("count", collection="items")
        monkeypatch.setattr(matches.Matches, "make", counted)
        for number in range(1, 6):
            await writer.add(number)
            for query in queries:
                await query.until(number)
            # What the sockets took is known to the engine, and what follows from it is done.
            await raw.ok("count", collection="items")
            await writer.ok("count", collection="items")
        assert looked_at == 50
