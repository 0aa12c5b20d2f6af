"""Counting by a column, and counts that come again, from every client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from omendb_ws import Counts, errors
from tests import count_oracle
from tests.client.common.places import PATIENCE_SECONDS, vectors

COLUMNS = {"f": "f64", "i": "i64", "on": "bool", "text": "str"}
ROWS: list[dict[str, Any]] = [
    {"f": 0.5, "i": 2**53 - 1, "on": True, "text": "a"},
    {"f": 0.5, "on": False, "text": "\U0001d11e"},
    {"f": -0.0, "i": -3, "text": "\uffee"},
    {"i": -3, "on": False},
    {"f": 0.0, "text": ""},
    {},
]


async def filled(db: Any) -> None:
    await db.create("items", dim=4, capacity=50, columns=COLUMNS)
    await db.add("items", vectors(len(ROWS)), range(len(ROWS)), ROWS)


async def test_rows_are_counted_by_the_values_of_every_type(db: Any) -> None:
    await filled(db)
    for by in COLUMNS:
        for limit in (None, 1, 2, 1000):
            found = await db.count("items", by=by, limit=limit)
            wanted, others = count_oracle.listed(ROWS, by, limit or 100)
            assert isinstance(found, Counts)
            assert list(found.by.items()) == wanted
            assert (found.version, found.count, found.others) == (1, len(ROWS), others)
    few = await db.count("items", {"i": {"$lt": 0}}, by="text")
    assert few.by == {"\uffee": 1, None: 1}
    assert await db.count("items", {"i": {"$lt": 0}}) == 2


async def test_a_count_that_cannot_be_raises_its_class(db: Any) -> None:
    await filled(db)
    with pytest.raises(errors.BadRequest, match="by: nope is not a declared column"):
        await db.count("items", by="nope")
    with pytest.raises(errors.BadRequest, match="limit"):
        await db.count("items", limit=5)
    with pytest.raises(errors.BadRequest, match="limit"):
        db.watch_count("items", limit=5)
    with pytest.raises(errors.NotFound):
        await db.count("nothing", by="f")
    assert await db.count("items") == len(ROWS)


async def test_counts_come_again_when_they_have_changed(db: Any) -> None:
    await filled(db)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        db.watch_count("items", filter={"on": False}, by="text", every_ms=100) as counts,
    ):
        assert await anext(counts) == Counts(1, 2, {"\U0001d11e": 1, None: 1}, 0)
        await db.delete("items", [0])  # which did not pass
        await db.add("items", vectors(1), [9], [{"on": False, "text": "a"}])
        assert await anext(counts) == Counts(3, 3, {"a": 1, "\U0001d11e": 1, None: 1}, 0)
        await db.drop("items")
        assert [one async for one in counts] == []


async def test_without_a_column_all_of_them_are_others(db: Any) -> None:
    await filled(db)
    async with asyncio.timeout(PATIENCE_SECONDS), db.watch_count("items", every_ms=100) as counts:
        assert await anext(counts) == Counts(1, 6, {}, 6)
        await db.delete("items", [0, 1])
        assert await anext(counts) == Counts(2, 4, {}, 4)
