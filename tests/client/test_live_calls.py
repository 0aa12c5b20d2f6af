"""Live and match queries over a real server: what they yield, refuse, and leave behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from omendb_ws.client import Client, connect
from omendb_ws.client.answers import Gap
from omendb_ws.net.server import Server
from tests.server.raw import running, with_keys

from .fake import PATIENCE_SECONDS, eventually
from .live_reader import DIM, SOON, Reader, step, vectors
from .proxy import Proxy


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as started:
        yield started


@pytest.fixture
async def db(server: Server) -> AsyncIterator[Client]:
    async with connect(server.url) as client:
        yield client


async def test_rows_leave_with_their_reasons_and_enter_with_what_was_asked_for(db: Client) -> None:
    await db.create("items", dim=2, capacity=6, metric="dot", columns={"kind": "str"})
    film = {"kind": "film"}
    await db.add("items", [[1, 0], [2, 0], [3, 0]], ids=[1, 2, 3], metadata=[film] * 3)
    query = db.live("items", [1, 0], 3, filter=film, min_score=0.5, include=["metadata", "vector"])
    async with query:
        reader = Reader(query)
        answer = await reader.step()
        assert [(row.id, row.score) for row in answer] == [(3, 3.0), (2, 2.0), (1, 1.0)]
        assert list(answer.entered.ids) == [3, 2, 1]
        assert (answer.moved, answer.resumed, list(answer.left)) == (False, False, [])
        assert answer.metadata == [film] * 3
        assert answer.vectors is not None
        assert answer.vectors.tolist() == [[3, 0], [2, 0], [1, 0]]
        assert answer.epoch == (await db.describe("items")).epoch
        with pytest.raises(ValueError, match="read-only"):
            answer.seqs[0] = 9

        await db.add("items", [[4, 0]], ids=[4], metadata=[film])
        answer = await reader.step()
        assert [one[::2] for one in answer.left] == [(1, "displaced")]
        assert [(row.id, row.metadata) for row in answer.entered] == [(4, film)]

        await db.delete("items", [4])
        answer = await reader.step()
        assert [one[::2] for one in answer.left] == [(4, "deleted")]
        assert answer.entered.ids.tolist() == [1]

        await db.update("items", [3], [{"kind": "book"}])
        answer = await reader.step()
        assert [one[::2] for one in answer.left] == [(3, "filtered")]

        await db.update("items", [2], [{"kind": "film", "seen": True}])
        answer = await reader.step()
        assert [one[::2] for one in answer.left] == [(2, "updated")]
        assert [row.metadata for row in answer.entered] == [{"kind": "film", "seen": True}]

        await db.add("items", [[5, 0]], ids=[2], metadata=[film])
        answer = await reader.step()
        assert [one[1:] for one in answer.left] == [(2, "replaced")]
        assert [row.seq for row in answer.entered] == [5]

        await db.add("items", [[0, 1]] * 2, ids=[8, 9], metadata=[film] * 2)
        answer = await reader.step()
        assert [one[::2] for one in answer.left] == [(1, "evicted")]
        assert answer.ids.tolist() == [2]


async def test_a_query_of_an_empty_window_begins_empty_and_one_of_no_match_stays_so(
    db: Client,
) -> None:
    await db.create("items", dim=2, capacity=6, metric="dot", ids="str")
    async with (
        db.live("items", [1, 0], include=["vector", "metadata"]) as query,
        db.live("items", [1, 0], min_score=100) as none,
    ):
        reader = Reader(query)
        answer = await reader.step()
        assert (len(answer), answer.ids, answer.version) == (0, [], 0)
        assert len(await step(none)) == 0
        await db.add("items", [[1, 2]], ids=["a"])
        answer = await reader.step()
        assert (answer.ids, answer.entered.ids, answer.metadata) == (["a"], ["a"], [{}])
        await db.delete("items", ["a"])
        answer = await reader.step()
        assert (answer.ids, [tuple(one) for one in answer.left]) == ([], [("a", 1, "deleted")])


async def test_a_move_yields_the_other_vectors_answer(db: Client) -> None:
    await db.create("items", dim=2, capacity=6, metric="dot")
    await db.add("items", [[1, 0], [0, 1], [2, 2]], ids=[1, 2, 3])
    async with db.live("items", [1, 0], 2) as query:
        reader = Reader(query)
        assert (await reader.step()).ids.tolist() == [3, 1]
        await query.move([0, 3])
        answer = await reader.step()
        assert (answer.ids.tolist(), answer.moved, answer.resumed) == ([3, 2], True, False)
        assert answer.scores is not None
        assert answer.scores.tolist() == [6.0, 3.0]
        assert [one[::2] for one in answer.left] == [(1, "moved")]
        assert answer.entered.ids.tolist() == [2]
        await query.move(np.array([0.0, 1.0]))  # the same rows with other scores
        answer = await reader.step()
        assert (answer.moved, len(answer.entered), list(answer.left)) == (True, 0, [])
        assert answer.scores is not None
        assert answer.scores.tolist() == [2.0, 1.0]


async def test_a_query_moved_before_it_began_begins_with_that_vector(db: Client) -> None:
    await db.create("items", dim=2, capacity=6, metric="dot")
    await db.add("items", [[1, 0], [0, 1]], ids=[1, 2])
    query = db.live("items", [1, 0], 1)
    await query.move([0, 1])
    answer = await step(query)
    assert (answer.ids.tolist(), answer.moved) == ([2], False)
    await query.close()


async def test_a_dropped_collection_ends_live_and_match(db: Client) -> None:
    await db.create("items", dim=2, capacity=6)
    await db.add("items", [[1, 0]], ids=[1])
    async with db.live("items", [1, 0]) as query, db.match("items", [1, 0], 0.5) as match:
        await db.drop("items")
        assert [answer.ids.tolist() async for answer in query] == [[1]]
        assert [rows async for rows in match] == []
        with pytest.raises(errors.NotFound, match="dropped"):
            await query.move([0, 1])


async def test_live_and_match_need_the_right_to_read(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        connect(server.url, "token-root") as root,
        connect(server.url, "token-writer") as writer,
        connect(server.url, "token-other") as other,
    ):
        await root.create("items", dim=2, capacity=6)
        for query in (writer.live("items", [1, 0]), writer.match("items", [1, 0], 0.5)):
            with pytest.raises(errors.Forbidden):
                await step(query)
        for query in (other.live("items", [1, 0]), other.match("items", [1, 0], 0.5)):
            with pytest.raises(errors.NotFound):
                await step(query)


REFUSED: list[tuple[type[Exception], dict[str, Any]]] = [
    (errors.BadRequest, {"collection": 7}),
    (errors.BadName, {"collection": "no name!"}),
    (errors.NotFound, {"collection": "nothing"}),
    (errors.BadVector, {"vector": "text"}),
    (errors.BadVector, {"vector": [["a", "b"]]}),
    (errors.BadVector, {"vector": [[1.0, 0.0]]}),
    (errors.BadVector, {"vector": []}),
    (errors.BadVector, {"vector": 3.0}),
    (errors.DimMismatch, {"vector": [1.0, 0.0, 0.0]}),
    (errors.NonFinite, {"vector": [1.0, float("nan")]}),
    (errors.NonFinite, {"vector": [1.0, 1e39]}),
    (errors.NonFinite, {"vector": [1e38, 1e38]}),
    (errors.ZeroNorm, {"vector": [0.0, 0.0]}),
    (errors.BadFilter, {"filter": {"undeclared": 1}}),
    (errors.BadFilter, {"filter": {"price": {"$lt": float("nan")}}}),
    (errors.BadFilter, {"filter": {"price": object()}}),
    (errors.BadFilter, {"filter": ["price"]}),
    (errors.BadRequest, {"include": "metadata"}),
    (errors.BadRequest, {"include": ["score"]}),
    (errors.BadRequest, {"min_score": float("nan")}),
    (errors.BadRequest, {"min_score": np.float32("inf")}),
    (errors.BadRequest, {"min_score": "much"}),
    (errors.BadRequest, {"min_score": True}),
]
LIVE_REFUSED: list[tuple[type[Exception], dict[str, Any]]] = [
    (errors.BadK, {"k": 0}),
    (errors.BadK, {"k": -1}),
    (errors.BadK, {"k": 1001}),
    (errors.BadK, {"k": 2.0}),
    (errors.BadK, {"k": True}),
    (errors.BadK, {"k": "many"}),
    (errors.BadRequest, {"every_ms": -1}),
    (errors.BadRequest, {"every_ms": 60_001}),
    (errors.BadRequest, {"every_ms": 1.5}),
    (errors.BadRequest, {"every_ms": "soon"}),
]
MATCH_REFUSED: list[tuple[type[Exception], dict[str, Any]]] = [
    (errors.BadRequest, {"min_score": None}),
    (errors.BadRequest, {"from_seq": 1}),
    (errors.BadRequest, {"epoch": "e"}),
    (errors.BadRequest, {"from_seq": 0, "epoch": "e"}),
    (errors.BadRequest, {"from_seq": -1, "epoch": "e"}),
    (errors.BadRequest, {"from_seq": 1.5, "epoch": "e"}),
    (errors.BadRequest, {"from_seq": 99, "epoch": "this"}),
]


@pytest.mark.parametrize(
    ("kind", "error", "fields"),
    [("live", *one) for one in REFUSED + LIVE_REFUSED]
    + [("match", *one) for one in REFUSED + MATCH_REFUSED],
)
async def test_what_makes_no_sense_is_refused_and_harms_nothing_else(
    server: Server, db: Client, kind: str, error: type[Exception], fields: dict[str, Any]
) -> None:
    made = await db.create("items", dim=2, capacity=6, columns={"price": "f64"})
    if fields.get("epoch") == "this":
        fields = {**fields, "epoch": made.epoch}
    given = {"collection": "items", "vector": [1.0, 0.0], **fields}
    if kind == "match":
        given.setdefault("min_score", 0.5)
    async with db.live("items", [1.0, 0.0]) as other:
        assert len(await step(other)) == 0
        with pytest.raises(error) as caught:
            await step(getattr(db, kind)(**given))
        assert type(caught.value) is error
        await db.add("items", [[1, 0]], ids=[1])
        assert len(await step(other)) == 1
        live = server.context.metrics.subscriptions
        assert (live["live"], live["match"]) == (1, 0)


@pytest.mark.parametrize(("error", "vector"), [
    (errors.BadVector, "text"), (errors.BadVector, [[1.0, 0.0]]), (errors.BadVector, []),
    (errors.DimMismatch, [1.0]), (errors.NonFinite, [1.0, float("inf")]),
    (errors.NonFinite, [1e38, 1e38]), (errors.ZeroNorm, [0.0, 0.0]),
])  # fmt: skip
async def test_a_move_to_nowhere_is_refused_and_the_query_stays(
    db: Client, error: type[Exception], vector: Any
) -> None:
    await db.create("items", dim=2, capacity=6)
    async with db.live("items", [1.0, 0.0]) as query:
        assert len(await step(query)) == 0
        with pytest.raises(error):
            await query.move(vector)
        await db.add("items", [[1, 1]], ids=[1])
        answer = await step(query)
        assert (answer.ids.tolist(), answer.moved) == ([1], False)
        expected = await db.search("items", [1.0, 0.0])
        assert answer.scores.tolist() == expected.scores.tolist()


async def test_more_than_the_server_lets_one_connection_have_are_refused_singly() -> None:
    async with running(max_subscriptions=20) as server, connect(server.url) as db:
        await db.create("items", dim=DIM, capacity=6)
        queries = [db.live("items", one) for one in vectors(30)]
        ends = await asyncio.gather(
            *[query.__aenter__() for query in queries], return_exceptions=True
        )
        refused = [one for one in ends if isinstance(one, BaseException)]
        assert {type(one) for one in refused} == {errors.Quota}
        assert len(refused) == 10


async def test_cancelled_closed_and_forgotten_queries_leave_nothing_on_the_server(
    server: Server, db: Client
) -> None:
    await db.create("items", dim=DIM, capacity=100)
    counts = server.context.metrics.subscriptions
    queries = [db.live("items", one) for one in vectors(60)]
    reads = [asyncio.ensure_future(anext(query)) for query in queries]
    for _ in range(3):
        await asyncio.sleep(0)
    for one in reads[:20]:
        one.cancel()  # their subscribes are under way
    await asyncio.wait(reads)
    await eventually(lambda: counts["live"] == 40)
    for query in queries[20:40]:
        await query.close()
        await query.close()
    await eventually(lambda: counts["live"] == 20)
    moves = [asyncio.ensure_future(query.move(vectors(1)[0])) for query in queries[40:]]
    await asyncio.wait(moves)
    del queries, reads, moves, query
    gc.collect()
    await db.add("items", vectors(100), ids=range(100))
    await eventually(lambda: counts["live"] == 0)


# -- match --------------------------------------------------------------------------------------


async def test_match_yields_rows_near_enough_from_the_past_and_the_present_once(
    db: Client,
) -> None:
    made = await db.create("items", dim=2, capacity=10_000, metric="dot", ids="auto")
    rows = np.zeros((3_000, 2), np.float32)
    rows[:, 0] = np.arange(1, 3_001)
    adding = asyncio.create_task(add_in_parts(db, rows, 100))
    match = db.match("items", [1.0, 0.0], 500.0, include=["vector"], from_seq=1, epoch=made.epoch)
    seen: list[int] = []
    async with match:
        while not seen or seen[-1] < 3_000:
            found = await step(match)
            assert found.gap is None
            assert found.scores.tolist() == found.seqs.tolist()
            assert found.vectors[:, 0].tolist() == found.seqs.tolist()
            seen += found.seqs.tolist()
            assert match.to_seq >= seen[-1]
    await adding
    assert seen == list(range(500, 3_001))


async def add_in_parts(db: Client, rows: Any, size: int) -> None:
    for start in range(0, len(rows), size):
        await db.add("items", rows[start : start + size])


async def test_match_misses_nothing_however_often_the_connection_is_lost(server: Server) -> None:
    async with (
        Proxy(server.url, seed=6) as proxy,
        connect(server.url) as producer,
        connect(proxy.url, backoff=SOON) as db,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await producer.create("items", dim=2, capacity=50_000, metric="dot", ids="auto")
        rows = np.zeros((20_000, 2), np.float32)
        rows[:, 0] = np.arange(1, 20_001) % 3
        proxy.mean_bytes = 20_000
        seen: list[int] = []
        async with db.match("items", [1.0, 0.0], 1.5) as match:
            adding = asyncio.create_task(add_in_parts(producer, rows, 50))
            while not seen or seen[-1] < 20_000:
                found = await anext(match)
                assert found.gap is None
                seen += found.seqs.tolist()
            await adding
            proxy.mean_bytes = None
        assert seen == list(range(2, 20_001, 3))
        assert proxy.cuts > 5


async def test_a_match_that_nobody_reads_has_a_stated_gap() -> None:
    async with (
        running(max_pending_rows=50) as server,
        connect(server.url) as producer,
        connect(server.url) as db,
    ):
        await producer.create("items", dim=2, capacity=300, metric="dot", ids="auto")
        async with db.match("items", [1.0, 0.0], 0.5) as match:
            # More in one tick than may wait.
            rows = np.tile(np.array([[1, 0]], np.float32), (200, 1))
            await producer.add("items", rows)
            seen, gaps = [], []
            while not gaps:
                found = await step(match)
                seen += found.seqs.tolist()
                gaps += [found.gap] if found.gap else []
            assert gaps == [Gap(seen[-1] + 1, 200, "slow")]
            assert seen == list(range(1, 51))
