"""Live and match queries, by every kind of client."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from tests.client.common.places import PATIENCE_SECONDS, Place, vectors


async def until(query: Any, version: int) -> Any:
    """Steps of a live query until that version, or a later one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for answer in query:
            if answer.version >= version:
                return answer
    raise AssertionError("it ended")


async def test_a_live_query_gives_what_search_gives_as_rows_come_and_go(db: Any) -> None:
    await db.create("items", dim=8, capacity=50, metric="dot", columns={"n": "i64"})
    query, rows = vectors(1, 8, seed=9)[0], vectors(200, 8)
    options = {"filter": {"n": {"$lt": 3}}, "include": ["metadata"]}
    async with db.live("items", query, 5, **options) as live:
        for at in range(0, 200, 5):
            columns = {"n": np.arange(at, at + 5) % 4}
            await db.add("items", rows[at : at + 5], ids=range(at, at + 5), columns=columns)
            if at % 20 == 15:
                await db.delete("items", [at, at + 1])
        best = rows[199] + 10 * query
        done = await db.add("items", [best], ids=[199], columns={"n": [0]})
        answer = await until(live, done.version)
        asked = await db.search("items", query, 5, **options)
    assert answer.ids.tolist() == asked.ids.tolist()
    assert answer.seqs.tolist() == asked.seqs.tolist()
    np.testing.assert_array_equal(answer.scores, asked.scores)
    assert list(answer.metadata) == list(asked.metadata)


async def test_a_live_query_says_what_entered_and_what_left_and_why(db: Any) -> None:
    await db.create("items", dim=2, capacity=3, metric="dot")
    async with db.live("items", [1, 0], 2) as live:
        first = await anext(live)
        assert (len(first), len(first.entered), len(first.left)) == (0, 0, 0)
        await db.add("items", [[1, 0], [2, 0]], ids=[1, 2])
        second = await until(live, 1)
        assert second.ids.tolist() == second.entered.ids.tolist() == [2, 1]
        await db.delete("items", [2])
        third = await until(live, 2)
        assert [(one.id, one.reason) for one in third.left] == [(2, "deleted")]
        await db.add("items", [[5, 0]], ids=[3])
        await db.add("items", [[6, 0]], ids=[4])
        fourth = await until(live, 4)
        assert fourth.ids.tolist() == [4, 3]


async def test_a_live_query_moves(db: Any) -> None:
    await db.create("items", dim=2, capacity=10, metric="dot")
    await db.add("items", [[1, 0], [0, 1]], ids=[1, 2])
    async with asyncio.timeout(PATIENCE_SECONDS), db.live("items", [1, 0], 1) as live:
        assert (await anext(live)).ids.tolist() == [1]
        await live.move([0, 1])
        answer = await anext(live)
        assert (answer.ids.tolist(), answer.moved) == ([2], True)
        with pytest.raises(errors.DimMismatch):
            await live.move([1, 2, 3])
        with pytest.raises(errors.NonFinite):
            await live.move([1, np.nan])
    with pytest.raises(errors.NotFound):
        await live.move([1, 0])


async def test_a_match_query_gives_every_added_row_that_scores_enough(db: Any) -> None:
    made = await db.create("items", dim=2, capacity=100, metric="dot")
    async with asyncio.timeout(PATIENCE_SECONDS), db.match("items", [1, 0], 5.0) as matches:
        await db.add("items", [[i, 0] for i in range(10)], ids=range(10))
        rows = await anext(matches)
        assert rows.ids.tolist() == [5, 6, 7, 8, 9]
        assert rows.scores.tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    again = db.match("items", [1, 0], 8.0, from_seq=1, epoch=made.epoch)
    async with asyncio.timeout(PATIENCE_SECONDS), again:
        assert (await anext(again)).ids.tolist() == [8, 9]


@pytest.mark.parametrize(
    ("open_one", "error"),
    [
        (lambda db: db.live("items", [1, 2, 3]), errors.DimMismatch),
        (lambda db: db.live("items", [0, 0]), errors.ZeroNorm),
        (lambda db: db.live("items", [1, 2], filter={"nope": 1}), errors.BadFilter),
        (lambda db: db.live("items", [1, 2], every_ms=-1), errors.BadRequest),
        (lambda db: db.live("nothing", [1, 2]), errors.NotFound),
        (lambda db: db.match("items", [1, 2, 3], 1), errors.DimMismatch),
        (lambda db: db.feed("nothing"), errors.NotFound),
        (lambda db: db.feed("items", filter={"nope": 1}), errors.BadFilter),
        (lambda db: db.watch_count("nothing"), errors.NotFound),
        (lambda db: db.watch_count("items", by="nope"), errors.BadRequest),
        (lambda db: db.watch_count("items", filter={"nope": 1}), errors.BadFilter),
        (lambda db: db.watch_stats("nothing"), errors.NotFound),
        (lambda db: db.watch_cluster(), errors.Unsupported),
    ],
)
async def test_subscriptions_that_cannot_be_raise_their_class(
    db: Any, open_one: Any, error: type[errors.OmenError]
) -> None:
    await db.create("items", dim=2, capacity=10)
    with pytest.raises(error):
        async with open_one(db):
            pass
    with pytest.raises(error):
        await anext(open_one(db))
    await db.ping()


@pytest.mark.parametrize(
    ("open_one", "error"),
    [
        (lambda db: db.live("items", [1, np.inf]), errors.NonFinite),
        (lambda db: db.live("items", [[1, 2]]), errors.BadVector),
        (lambda db: db.live("items", [1, 2], 0), errors.BadK),
        (lambda db: db.live("items", [1, 2], include=["score"]), errors.BadRequest),
        (lambda db: db.match("items", [1, 2], float("nan")), errors.BadRequest),
        (lambda db: db.feed("items", from_seq=1), errors.BadRequest),
    ],
)
async def test_arguments_that_cannot_be_are_refused_before_the_first_step(
    db: Any, open_one: Any, error: type[errors.OmenError]
) -> None:
    with pytest.raises(error):
        open_one(db)


@pytest.mark.parametrize("what", ["live", "match", "feed", "watch_count", "watch_stats"])
async def test_a_subscription_ends_with_its_collection(db: Any, what: str) -> None:
    await db.create("items", dim=2, capacity=10)
    given: Any = {"live": ([1, 2],), "match": ([1, 2], 0.5)}.get(what, ())
    async with getattr(db, what)("items", *given) as subscription:
        await db.drop("items")
        async with asyncio.timeout(PATIENCE_SECONDS):
            steps = [step async for step in subscription]
    assert len(steps) <= 1


async def test_many_live_queries_of_one_client_each_get_their_own(place: Place) -> None:
    async with place.connect() as db, asyncio.timeout(PATIENCE_SECONDS):
        await db.create("items", dim=8, capacity=1000, metric="dot")
        queries = vectors(40, 8, seed=3)
        lives = [db.live("items", query, 3) for query in queries]
        await asyncio.gather(*(live.__aenter__() for live in lives))
        done = await db.add("items", vectors(300, 8), ids=range(300))
        for live, query in zip(lives, queries, strict=True):
            answer = await until(live, done.version)
            asked = await db.search("items", query, 3)
            assert answer.ids.tolist() == asked.ids.tolist()
        await asyncio.gather(*(live.close() for live in lives))
