"""Live queries over a real server: what is yielded is what search returns, and what happens then.

Faults of the connection and the order of moves are in ``test_live.py``, against a server whose
every answer is held by hand.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from omendb_ws.client import Client, LiveAnswer, LiveQuery, connect
from omendb_ws.client.answers import Gap, Rows
from omendb_ws.client.backoff import Backoff
from omendb_ws.server import Server
from tests.server.raw import running, with_keys

from .fake import PATIENCE_SECONDS, eventually
from .proxy import Proxy

DIM = 6
SOON = Backoff(base_seconds=0.001, cap_seconds=0.01)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as started:
        yield started


@pytest.fixture
async def db(server: Server) -> AsyncIterator[Client]:
    async with connect(server.url) as client:
        yield client


def vectors(count: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


async def step(query: Any) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(query)


def held(rows: Rows) -> dict[str, Any]:
    """All that rows hold, to the bit."""
    return {
        "ids": list(rows.ids) if isinstance(rows.ids, list) else rows.ids.tolist(),
        "seqs": rows.seqs.tolist(),
        "scores": None if rows.scores is None else rows.scores.tobytes(),
        "metadata": None if rows.metadata is None else list(rows.metadata),
        "vectors": None if rows.vectors is None else rows.vectors.tobytes(),
    }


class Reader:
    """Reads a query; holds every step to what the one before it and its delta say."""

    def __init__(self, query: LiveQuery) -> None:
        self.query = query
        self.answer: LiveAnswer | None = None

    async def step(self, *, patient: bool = False) -> LiveAnswer:
        before = self.answer
        answer = await (anext(self.query) if patient else step(self.query))
        assert isinstance(answer, LiveAnswer)
        seqs = set() if before is None else set(before.seqs.tolist())
        if before is not None:
            assert answer.version >= before.version
            assert answer.entered.seqs.size or answer.left or answer.resumed or answer.moved
        gone = [one.seq for one in answer.left]
        assert len(set(gone)) == len(gone)
        assert set(gone) <= seqs
        seqs -= set(gone)
        came = answer.entered.seqs.tolist()
        assert not seqs & set(came)
        assert seqs | set(came) == set(answer.seqs.tolist())
        if before is not None:
            ids = dict(zip(before.seqs.tolist(), list(before.ids), strict=True))
            assert all(ids[one.seq] == one.id for one in answer.left)
        again = {one.seq for one in answer.left if one.reason == "updated"}
        assert again == set(gone) & set(came)
        self.answer = answer
        return answer

    async def until(self, version: int) -> LiveAnswer:
        """Step to an answer that holds at ``version``, where nothing has changed since then."""
        while self.answer is None or self.answer.version < version:
            await self.step()
        return self.answer


# -- the law ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "ids", "include"),
    [("cosine", "u64", ()), ("dot", "str", ("metadata",)), ("l2", "auto", ("metadata", "vector"))],
)
async def test_every_answer_is_what_search_returned_at_that_version(
    server: Server, metric: Any, ids: Any, include: tuple[Any, ...]
) -> None:
    """One connection changes the window and searches after every change; others only listen."""
    options: list[dict[str, Any]] = [
        {"k": 1},
        {"k": 5, "min_score": -0.5 if metric != "l2" else -9.0},
        {"k": 40, "filter": {"price": {"$lt": 6}}},
        {"k": 1000},
    ]
    random = np.random.default_rng(7)
    async with connect(server.url) as changer, connect(server.url) as db:
        await changer.create(
            "items", dim=DIM, capacity=30, metric=metric, ids=ids, columns={"price": "i64"}
        )
        question = vectors(1, seed=9)[0]
        queries = [db.live("items", question, include=include, **one) for one in options]
        readers = [Reader(query) for query in queries]
        expected: dict[int, list[dict[str, Any]]] = {}

        async def look() -> int:
            answers = [
                await changer.search("items", question, include=include, **one) for one in options
            ]
            [version] = {one.version for one in answers}
            expected[version] = [held(one) for one in answers]
            return version

        async def change() -> int:
            for turn in range(120):
                await change_at_random(changer, ids, random, turn)
                await look()
            last = np.tile(question, (40, 1))  # all new: every answer changes
            metadata = [{"price": 1}] * 40
            given = {"auto": None, "u64": range(900, 940), "str": [f"z{i}" for i in range(40)]}
            await changer.add("items", last, ids=given[ids], metadata=metadata)
            return await look()

        async def read(reader: Reader, place: int) -> None:
            while True:
                yielded.append((place, await reader.step(patient=True)))

        await look()
        yielded: list[tuple[int, LiveAnswer]] = []
        reads = [asyncio.create_task(read(*one)) for one in zip(readers, range(4), strict=True)]
        last = await change()
        await eventually(
            lambda: (
                any(one.done() for one in reads)
                or all(reader.answer and reader.answer.version == last for reader in readers)
            )
        )
        for one in reads:
            one.cancel()
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert [type(one) for one in ends] == [asyncio.CancelledError] * 4
        for place, answer in yielded:
            assert held(answer) == expected[answer.version][place]
        assert len(yielded) > 100


async def change_at_random(db: Client, ids: str, random: Any, turn: int) -> None:
    """One add, update or delete."""
    some = random.integers(0, 25, size=2)
    known = [f"n{one}" for one in some] if ids == "str" else some
    if ids == "auto":
        known = (await db.describe("items")).last_seq - some % 20
        known = known[known > 0]
    action = random.integers(4)
    if action == 0 and turn > 20:
        await db.delete("items", known)
    elif action == 1 and turn > 20:
        rows = [row.id for row in await db.get("items", known) if row is not None]
        rows = list(dict.fromkeys(rows))
        if rows:
            new = [{"price": int(random.integers(12)), "turn": turn} for _ in rows]
            await db.update("items", rows, new)
    else:
        count = int(random.integers(1, 4))
        fresh = [int(one) for one in random.choice(25, size=count, replace=False)]
        given: Any = {"auto": None, "u64": fresh, "str": [f"n{one}" for one in fresh]}[ids]
        rows_given = random.normal(size=(count, DIM)).astype(np.float32)
        metadata = [{"price": int(random.integers(12))} for _ in fresh]
        await db.add("items", rows_given, ids=given, metadata=metadata)


async def test_moves_and_changes_side_by_side_keep_the_law(server: Server) -> None:
    targets = vectors(20, seed=3)
    async with connect(server.url) as changer, connect(server.url) as db:
        await changer.create("items", dim=DIM, capacity=50, metric="dot")
        await changer.add("items", vectors(50), ids=range(50))
        async with db.live("items", targets[0], 5) as query:
            reader = Reader(query)

            async def change() -> None:
                for turn in range(60):
                    await changer.add("items", vectors(1, seed=turn), ids=[turn])

            async def move() -> None:
                for target in targets:
                    await query.move(target)

            async def read() -> None:
                while True:
                    await reader.step(patient=True)

            reading = asyncio.create_task(read())
            await asyncio.gather(change(), move())
            expected = await changer.search("items", targets[-1], 5)
            await eventually(
                lambda: (
                    reading.done()
                    or (reader.answer and reader.answer.seqs.tolist() == expected.seqs.tolist())
                )
            )
            reading.cancel()
            assert reader.answer is not None
            assert held(reader.answer) == held(expected)


async def test_answers_stay_true_however_often_the_connection_is_lost(server: Server) -> None:
    questions = vectors(40, seed=4)
    async with (
        Proxy(server.url, seed=5) as proxy,
        connect(server.url) as changer,
        connect(proxy.url, backoff=SOON) as db,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        await changer.create("items", dim=DIM, capacity=200, metric="cosine", columns={"n": "i64"})
        queries = [db.live("items", one, 5, include=["metadata"]) for one in questions]
        readers = [Reader(query) for query in queries]
        proxy.mean_bytes = 20_000

        async def read(reader: Reader) -> None:
            while True:
                await reader.step(patient=True)

        reads = [asyncio.create_task(read(reader)) for reader in readers]
        for turn in range(150):
            await changer.add("items", vectors(2, seed=turn), metadata=[{"n": turn}] * 2, ids=[
                turn % 60, 100 + turn % 50,
            ])  # fmt: skip
        proxy.mean_bytes = None
        expected = await changer.search("items", questions, 5, include=["metadata"])

        def are_there() -> bool:
            return any(one.done() for one in reads) or all(
                reader.answer is not None and held(reader.answer) == held(one)
                for reader, one in zip(readers, expected, strict=True)
            )

        await eventually(are_there)
        for one in reads:
            one.cancel()
        ends = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(one) for one in ends} == {asyncio.CancelledError}
        assert proxy.cuts > 5


# -- what else there is -------------------------------------------------------------------------


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
    (errors.BadRequest, {"filter": {"price": object()}}),
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
