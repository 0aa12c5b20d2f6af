"""Subscriptions, by every kind of client."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from omendb_ws.client.answers import Row
from tests.client.common.places import Place, vectors
from tests.patience import PATIENCE_SECONDS


async def test_a_feed_delivers_every_row_that_is_added(place: Place, shared: Any) -> None:
    await shared.create("items", dim=4, capacity=5_000, metric="dot", columns={"n": "i64"})
    rows = vectors(1_000)
    seen: list[Row] = []
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        shared.feed("items", include=["metadata", "vector"]) as feed,
    ):
        async with place.connect() as producer:
            for at in range(0, 1_000, 100):
                part = slice(at, at + 100)
                ids = range(at, at + 100)
                await producer.add("items", rows[part], ids=ids, columns={"n": ids})
        async for batch in feed:
            assert batch.gap is None
            seen += batch
            if len(seen) == 1_000:
                break
    assert [row.seq for row in seen] == list(range(1, 1_001))
    assert [row.metadata for row in seen] == [{"n": at} for at in range(1_000)]
    np.testing.assert_array_equal(np.array([row.vector for row in seen]), rows)


async def test_a_feed_can_begin_in_the_past_and_states_what_has_left_the_window(
    db: Any,
) -> None:
    made = await db.create("items", dim=4, capacity=10, metric="dot", columns={"n": "i64"})
    await db.add("items", vectors(25), ids=range(25), columns={"n": [at % 2 for at in range(25)]})
    feed = db.feed("items", filter={"n": 1}, from_seq=1, epoch=made.epoch)
    async with asyncio.timeout(PATIENCE_SECONDS), feed:
        first = await anext(feed)
        assert first.gap is not None
        assert (first.gap.from_seq, first.gap.to_seq, first.gap.reason) == (1, 15, "evicted")
        assert [row.id for row in await anext(feed)] == [15, 17, 19, 21, 23]
    with pytest.raises(errors.BadRequest):
        async with db.feed("items", from_seq=100, epoch=made.epoch):
            pass


async def test_a_feed_ends_when_its_collection_is_dropped(db: Any) -> None:
    await db.create("items", dim=4, capacity=10)
    async with asyncio.timeout(PATIENCE_SECONDS), db.feed("items") as feed:
        await db.drop("items")
        assert [rows async for rows in feed] == []


async def test_statistics_come_once_and_again(db: Any) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(3), ids=range(3))
    assert (await db.stats())["connections"] == 1
    assert (await db.stats("items"))["rows"] == 3
    async with asyncio.timeout(PATIENCE_SECONDS), db.watch_stats("items", every_ms=100) as stats:
        assert (await anext(stats))["rows"] == 3
        assert (await anext(stats))["rows"] == 3
    async with asyncio.timeout(PATIENCE_SECONDS), db.watch_stats(every_ms=100) as stats:
        assert "uptime_s" in await anext(stats)
    with pytest.raises(errors.BadRequest):
        async with db.watch_stats(every_ms=1):
            pass


@pytest.mark.parametrize("ids", ["u64", "str", "auto"])
async def test_pictures_of_a_window_hold_its_rows_where_the_plane_says(db: Any, ids: Any) -> None:
    await db.create("items", dim=4, capacity=50, metric="dot", ids=ids)
    rows = vectors(40)
    given: dict[str, Any] = {
        "u64": [2**60 + n for n in range(40)], "str": [str(n) for n in range(40)], "auto": None,
    }  # fmt: skip
    await db.add("items", rows, ids=given[ids])
    expected = given[ids] or list(range(1, 41))
    async with asyncio.timeout(PATIENCE_SECONDS), db.watch_map("items", every_ms=100) as pictures:
        first = await anext(pictures)
        assert first.ids == expected
        assert first.seqs.tolist() == list(range(1, 41))
        np.testing.assert_allclose(first.places, first.plane.place(rows), atol=1e-4)
        more = {"u64": range(30), "str": [f"x{n}" for n in range(30)], "auto": None}[ids]
        await db.add("items", vectors(30, seed=5), ids=more)
        picture = await anext(pictures)
        while picture.version < 2:
            picture = await anext(pictures)
        assert picture.seqs.tolist() == list(range(21, 71))
        if picture.basis == first.basis:
            assert (picture.places[:20] == first.places[20:]).all()
    with pytest.raises(errors.NotFound):
        async with db.watch_map("nothing"):
            pass
