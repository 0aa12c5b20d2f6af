"""Data frames and Arrow tables go in as rows, and come out as such; by every kind of client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from omendb_ws import errors

ROWS = [[1.0, 2.0], [3.0, 4.5]]
FIELDS: dict[str, Any] = {
    "id": [7, 2**64 - 1], "vector": ROWS, "n": [5, None], "s": ["a", None], "b": [True, False],
}  # fmt: skip


def pandas_frame() -> pd.DataFrame:
    frame = pd.DataFrame({**FIELDS, "n": pd.array([5, None], "Int64")})
    return frame.astype({"id": "uint64"})


def table() -> pa.Table:
    return pa.table(
        {**FIELDS, "id": pa.array(FIELDS["id"], pa.uint64())},
    )


async def made(db: Any) -> None:
    await db.create("items", dim=2, capacity=100, metric="dot", columns={"n": "i64"})


async def test_every_kind_of_table_is_rows(db: Any) -> None:
    await made(db)
    given = {
        "pandas": pandas_frame(), "pandas, ids in its index": pandas_frame().set_index("id"),
        "pandas, some rows of it": pandas_frame()[pandas_frame()["s"] != "other"],
        "polars": pl.from_arrow(table()), "table": table(), "batch": table().to_batches()[0],
        "in parts": pa.concat_tables([table()[:1], table()[1:]]),
        "fixed": table().set_column(1, "vector", table()["vector"].cast(pa.list_(pa.float32(), 2))),
        "metadata": table().select(["id", "vector"]).append_column(
            "metadata", [['{"n":5,"s":"a","b":true}', '{"b":false}']]),
    }  # fmt: skip
    for name, frame in given.items():
        added = await db.add("items", frame)
        assert added.rows == 2, name
        rows = await db.get("items", [7, 2**64 - 1], include=["metadata", "vector"])
        assert [row.vector.tolist() for row in rows] == ROWS, name
        metadata = [row.metadata for row in rows]
        assert metadata == [{"n": 5, "s": "a", "b": True}, {"b": False}], name
        await db.delete("items", [7, 2**64 - 1])
    again = await db.add("items", table(), producer="p", batch=1)
    assert (again.rows, again.duplicate) == (2, False)


async def test_ids_may_stand_beside_a_table_that_has_none(db: Any) -> None:
    await made(db)
    frame = pandas_frame().drop(columns="id")
    await db.add("items", frame, ids=frame.index)
    assert sorted((await db.search("items", [1, 0])).ids.tolist()) == [0, 1]
    await db.create("auto", dim=2, capacity=10, ids="auto")
    await db.add("auto", frame)
    assert await db.count("auto") == 2


#: Fields that cannot be, what they raise, and with which row.
REFUSED: list[tuple[dict[str, Any], type[errors.OmenError], int | None]] = [
    ({"vector": [[1.0, 2.0], None]}, errors.BadVector, 1),
    ({"vector": [[1.0, 2.0], [1.0, None]]}, errors.BadVector, 1),
    ({"vector": [[1.0, 2.0], [1.0]]}, errors.DimMismatch, 1),
    ({"vector": [[1.0], [1.0]]}, errors.DimMismatch, 0),
    ({"vector": [[1.0, 2.0], [1.0, float("nan")]]}, errors.NonFinite, 1),
    ({"vector": [[], []]}, errors.BadRequest, None),
    ({"vector": ["ab", "cd"]}, errors.BadRequest, None),
    ({"id": [1, None]}, errors.BadId, 1),
    ({"id": [1, -1]}, errors.BadId, 1),
    ({"id": [1.0, 2.0]}, errors.BadRequest, None),
    ({"id": ["a", "b"]}, errors.BadId, None),
    ({"id": [3, 3]}, errors.DuplicateId, 1),
    ({"metadata": ["{}", "{"]}, errors.BadMetadata, 1),
    ({"metadata": ["{}", '{"s":1}']}, errors.BadMetadata, 1),
    ({"n": ["five", "six"]}, errors.BadMetadata, 0),
]


async def test_a_table_that_cannot_go_in_is_refused_with_its_row_and_nothing_changes(
    db: Any,
) -> None:
    await made(db)
    before = await db.describe("items")
    for fields, error, row in REFUSED:
        whole = {**FIELDS, "id": [1, 2], "s": ["x", "y"], **fields}
        with pytest.raises(error) as caught:
            await db.add("items", pa.table(whole))
        assert row is None or caught.value.row == row, fields
    for frame in (table()[:0], pandas_frame()[:0]):
        with pytest.raises(errors.BadRequest, match="at least one row"):
            await db.add("items", frame)
    for name in ("ids", "metadata", "columns"):
        with pytest.raises(errors.BadRequest, match=f"^{name}: "):
            await db.add("items", table(), **{name: [1, 2]})
    assert await db.describe("items") == before


async def test_what_was_found_goes_in_again_as_it_came_out(db: Any) -> None:
    await db.create("items", dim=2, capacity=10, metric="dot", ids="str")
    await db.add("items", ROWS, ids=["a", "b"], metadata=[{"n": 5, "t": [1, 2]}, {"x": {"y": 0.5}}])
    found = await db.search("items", [1, 0], include=["metadata", "vector"])
    whole = await db.get("items", ["a", "b"], include=["metadata", "vector"])
    for frame in (found.to_arrow().drop(["seq", "score"]), found.to_polars().drop("seq", "score"),
                  found.to_pandas().drop(columns=["seq", "score"])):  # fmt: skip
        await db.add("items", frame)
        again = await db.get("items", ["a", "b"], include=["metadata", "vector"])
        for row, before in zip(again, whole, strict=True):
            assert row.metadata == before.metadata, type(frame)
            np.testing.assert_array_equal(row.vector, before.vector)


async def test_lists_of_collections_are_shown_as_tables(db: Any) -> None:
    await made(db)
    listed = await db.list()
    assert listed == [await db.describe("items")]
    assert "<td>items</td>" in listed._repr_html_()
