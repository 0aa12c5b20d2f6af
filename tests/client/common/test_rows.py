"""Rows, by every kind of client."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from omendb_core.model.types import StrColumn

from omendb_ws import errors
from omendb_ws.client.answers import Row
from tests.client.common.places import Place, vectors
from tests.patience import PATIENCE_SECONDS


async def test_rows_can_be_added_got_updated_counted_and_deleted(db: Any) -> None:
    await db.create("items", dim=4, capacity=100, metric="dot", columns={"n": "i64"})
    rows = vectors(3)
    added = await db.add("items", rows, ids=[7, 8, 2**64 - 1], metadata=[{"n": 1}, None, {"x": 2}])
    assert (added.version, added.first_seq, added.last_seq, added.rows) == (1, 1, 3, 3)
    assert not added.duplicate
    got = await db.get("items", [2**64 - 1, 5, 7], include=["metadata", "vector"])
    assert got[1] is None
    last, first = got[0], got[2]
    assert isinstance(last, Row)
    assert isinstance(first, Row)
    assert (last.id, last.seq, last.metadata) == (2**64 - 1, 3, {"x": 2})
    assert (first.id, first.seq, first.metadata) == (7, 1, {"n": 1})
    assert first.vector is not None
    assert first.vector.dtype == np.float32
    np.testing.assert_array_equal(first.vector, rows[0])
    assert await db.update("items", [8], [{"n": 5}]) == 2
    assert await db.count("items", {"n": {"$gte": 1}}) == 2
    assert await db.delete("items", np.array([7, 8, 9], np.uint64)) == 2
    assert await db.count("items") == 1


async def test_ids_may_be_strings_or_the_servers(db: Any) -> None:
    await db.create("names", dim=4, capacity=10, ids="str")
    await db.add("names", vectors(2), ids=["a", "ü€𝄞"])
    [row] = await db.get("names", ["ü€𝄞"])
    assert isinstance(row, Row)
    assert (row.id, row.seq) == ("ü€𝄞", 2)
    assert (await db.search("names", [1, 0, 0, 0], k=2)).ids.sort() is None
    await db.create("auto", dim=4, capacity=10, ids="auto")
    await db.add("auto", vectors(3))
    answer = await db.search("auto", [1, 0, 0, 0], k=3)
    assert sorted(answer.ids.tolist()) == [1, 2, 3]


async def test_columns_of_every_type_arrive_nulls_too(db: Any) -> None:
    types = {"f": "f64", "i": "i64", "b": "bool", "s": "str", "t": "str"}
    await db.create("items", dim=4, capacity=10, columns=types)  # type: ignore[arg-type]
    await db.add(
        "items",
        vectors(3),
        ids=[1, 2, 3],
        metadata=[{"more": [1]}, None, None],
        columns={
            "f": np.array([0.5, np.nan, -1]),
            "i": [1, None, 2**53 - 1],
            "b": [True, False, None],
            "s": ["x", None, "y"],
            "t": StrColumn(np.array([1, 1, 2**32 - 1], np.uint32), ("unused", "z")),
        },
    )
    got = await db.get("items", [1, 2, 3], include=["metadata"])
    assert [row and row.metadata for row in got] == [
        {"more": [1], "f": 0.5, "i": 1, "b": True, "s": "x", "t": "z"},
        {"b": False, "t": "z"},
        {"f": -1.0, "i": 2**53 - 1, "s": "y"},
    ]
    assert await db.count("items", {"i": {"$exists": False}}) == 1
    assert await db.count("items", {"s": "y"}) == 1


async def test_a_large_add_is_split_and_its_rows_are_in_order(db: Any) -> None:
    await db.create("items", dim=64, capacity=20_000, metric="dot", ids="u64")
    rows = vectors(10_000, dim=64)
    added = await db.add("items", rows, ids=np.arange(10_000))
    assert (added.first_seq, added.last_seq, added.rows) == (1, 10_000, 10_000)
    assert added.version > 10
    for at in (0, 4_999, 9_999):
        [row] = await db.get("items", [at], include=["vector"])
        assert isinstance(row, Row)
        assert row.seq == at + 1
        np.testing.assert_array_equal(row.vector, rows[at])


async def test_adds_larger_than_the_window_go_in_as_frames_that_fit(db: Any) -> None:
    await db.create("items", dim=4, capacity=7, metric="dot")
    added = await db.add("items", vectors(100), ids=range(100))
    assert (added.rows, added.last_seq) == (100, 100)
    assert (await db.describe("items")).first_seq == 94


async def test_a_named_batch_goes_in_once_from_any_client(place: Place, shared: Any) -> None:
    await shared.create("items", dim=4, capacity=100)
    rows = vectors(6)
    named = {"producer": "file", "columns": None}
    first = await shared.add("items", rows[:3], range(3), batch=1, **named)
    second = await shared.add("items", rows[3:], range(3, 6), batch=2, **named)
    assert (first.first_seq, first.last_seq, first.rows, first.duplicate) == (1, 3, 3, False)
    assert (second.first_seq, second.last_seq) == (4, 6)
    async with place.connect() as another:
        again = await another.add("items", rows[3:], range(3, 6), producer="file", batch=2)
        assert (again.first_seq, again.rows, again.duplicate) == (4, 3, True)
        with pytest.raises(errors.OutOfOrder) as caught:
            await another.add("items", rows[:1], [9], producer="file", batch=9)
        assert caught.value.details["expected"] == 3
    assert (await shared.describe("items")).last_seq == 6


@pytest.mark.parametrize("half", [{"producer": "file"}, {"batch": 1}])
async def test_half_a_name_of_a_batch_is_refused(db: Any, half: dict[str, Any]) -> None:
    await db.create("items", dim=4, capacity=100)
    with pytest.raises(errors.BadRequest, match="go together"):
        await db.add("items", vectors(1), [1], **half)
    assert (await db.describe("items")).version == 0


async def test_a_row_refused_by_the_server_is_named_as_the_caller_counts(db: Any) -> None:
    await db.create("items", dim=64, capacity=20_000, metric="cosine")
    rows = vectors(5_000, dim=64)
    rows[4_321] = 0
    with pytest.raises(errors.ZeroNorm) as caught:
        await db.add("items", rows, ids=range(5_000))
    assert caught.value.row == 4_321
    rows_in = caught.value.details["rows_added"]
    assert 0 < int(rows_in) <= 4_321
    assert await db.count("items") == rows_in
    rows[4_321] = 1
    await db.add("items", rows, ids=range(5_000))
    assert await db.count("items") == 5_000


@pytest.mark.parametrize(
    ("fields", "error", "row"),
    [
        ({"vectors": [[1, 2, 3]]}, errors.DimMismatch, 0),
        ({"vectors": [[1, 2, 3, 4], [1, 2, 3]]}, errors.DimMismatch, 1),
        ({"vectors": [[1, 2, 3, "4"]]}, errors.BadVector, None),
        ({"vectors": [[True] * 4]}, errors.BadVector, None),
        ({"vectors": [1, 2, 3, 4]}, errors.BadVector, None),
        ({"vectors": []}, errors.BadRequest, None),
        ({"vectors": [[1, 2, 3, 4], [1, 2, 3, np.nan]]}, errors.NonFinite, 1),
        ({"vectors": [[1, 2, 3, 1e39]]}, errors.NonFinite, 0),
        ({"vectors": [[1, 2, 3, 2.0**62], [3e18, 3e18, 3e18, 3e18]]}, errors.NonFinite, 1),
        ({"ids": None}, errors.BadId, None),
        ({"ids": [1]}, errors.BadId, None),
        ({"ids": [1, -1]}, errors.BadId, 1),
        ({"ids": [1, 2**64]}, errors.BadId, 1),
        ({"ids": [1, 1.5]}, errors.BadId, 1),
        ({"ids": [True, 2]}, errors.BadId, 0),
        ({"ids": ["1", 2]}, errors.BadId, 1),
        ({"ids": np.array([1.0, 2.0])}, errors.BadId, 0),
        ({"ids": [3, 3]}, errors.DuplicateId, 1),
        ({"metadata": [{}]}, errors.BadMetadata, None),
        ({"metadata": [{}, 5]}, errors.BadMetadata, 1),
        ({"metadata": [{}, {"n": "x"}]}, errors.BadMetadata, 1),
        ({"metadata": [{}, {"big": "x" * 5000}]}, errors.OmenError, 1),
        ({"metadata": [{}, {"n": object()}]}, errors.OmenError, None),
        ({"columns": {"m": [1, 2]}}, errors.BadMetadata, None),
        ({"columns": {"n": [1]}}, errors.BadMetadata, None),
        ({"columns": {"n": [1, 2.5]}}, errors.BadMetadata, None),
        ({"columns": {"n": np.array([1, 2**53])}}, errors.BadMetadata, 1),
        ({"columns": {"n": [1, 2]}, "metadata": [{"n": 1}, None]}, errors.BadMetadata, 0),
    ],
)
async def test_rows_that_cannot_be_raise_their_class_and_change_nothing(
    db: Any, fields: dict[str, Any], error: type[errors.OmenError], row: int | None
) -> None:
    made = await db.create("items", dim=4, capacity=10, columns={"n": "i64"})
    whole = {"vectors": vectors(2), "ids": [1, 2], **fields}
    if "vectors" in fields:
        whole["ids"] = list(range(len(fields["vectors"])))
    with pytest.raises(error) as caught:
        await db.add("items", **whole)
    assert row is None or caught.value.row == row
    assert await db.describe("items") == made
    await db.add("items", vectors(2), ids=[1, 2])


async def test_an_empty_collection_name_or_a_missing_one_is_refused(db: Any) -> None:
    with pytest.raises(errors.NotFound):
        await db.add("nothing", vectors(1), ids=[1])
    with pytest.raises(errors.BadName):
        await db.add("", vectors(1), ids=[1])
    with pytest.raises(errors.NotFound):
        await db.search("nothing", [1, 2, 3, 4])


async def test_a_collection_made_anew_takes_rows_of_its_new_kind(db: Any) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(1), ids=[1])
    async with asyncio.timeout(PATIENCE_SECONDS):
        await db.drop("items")
        await db.create("items", dim=2, capacity=10, ids="str")
        await db.add("items", [[1, 2]], ids=["a"])
        assert (await db.search("items", [1, 2])).ids == ["a"]


async def test_a_collection_made_anew_by_another_client_is_noticed(
    place: Place, shared: Any
) -> None:
    await shared.create("items", dim=4, capacity=10)
    await shared.add("items", vectors(1), ids=[1])
    await shared.search("items", [1, 2, 3, 4])
    async with place.connect() as other:
        await other.drop("items")
        await other.create("items", dim=2, capacity=10, ids="str")
    added = await shared.add("items", [[1, 2], [3, 4]], ids=["a", "b"])
    assert added.last_seq == 2
    assert (await shared.search("items", [3, 4], k=1)).ids == ["b"]
