"""What a caller passes goes in as what it is, whatever library it comes from; by every kind of
client."""

from __future__ import annotations

import array
import collections
import gc
import types
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow
import pytest

from tests.client.common.places import opened
from tests.client.common.strange import MISSING, Exchanged, Number, Tensor, Text, Word, made, step

ROWS = [[1.0, 2.0], [3.0, 4.5]]


@pytest.mark.parametrize("given", [
    ROWS, tuple(map(tuple, ROWS)), [np.array(one) for one in ROWS], [array.array("f",
    one) for one in ROWS],
    np.array(ROWS), np.array(ROWS, np.float16), np.array(ROWS, np.longdouble), np.array(ROWS,
    ">f4"),
    np.array(ROWS, ">f8"), np.asfortranarray(ROWS), np.array(ROWS)[::-1][::-1], np.array(ROWS,
    object),
    np.array([[*one, 9, 9] for one in ROWS])[:, :2], np.array(ROWS)[:, ::-1][:, ::-1],
    np.ma.masked_array(ROWS), np.ma.masked_array(ROWS, mask=[[0, 0], [0, 0]]),
    memoryview(np.array(ROWS)),
    Tensor(ROWS), [Tensor(one) for one in ROWS], Exchanged(ROWS), [Exchanged(one) for one in ROWS],
    [[Number.THREE - 2, 2], [Number.THREE, 4.5]], [[np.float32(1), 2], [np.int8(3),
    np.float64(4.5)]],
    [list(np.array(one)) for one in ROWS], [[np.array(1), Tensor(2)], [3, np.longdouble(4.5)]],
    pyarrow.array(ROWS).to_numpy(zero_copy_only=False), [pyarrow.array(one) for one in ROWS],
    pyarrow.array(ROWS),
])  # fmt: skip
async def test_every_array_of_numbers_goes_in(kind: str, given: Any) -> None:
    async with opened(kind) as place, place.connect() as db:
        await made(db)
        await db.add("items", given, ids=[1, 2])
        rows = await db.get("items", [1, 2], include=["vector"])
        assert [row.vector.tolist() for row in rows] == ROWS
        found = await db.search("items", given)
        assert [one.ids.tolist() for one in found] == [[2, 1], [2, 1]]
        await db.add("items", given, ids=[1, 2], producer="p", batch=1)


@pytest.mark.parametrize("given", [
    [7, 2**64 - 1], (7, 2**64 - 1), np.array([7, 2**64 - 1], np.uint64), [np.uint8(7),
    np.uint64(2**64 - 1)],
    np.array([7, 2**64 - 1], ">u8"), np.array([7, 0, 2**64 - 1, 0], np.uint64)[::2],
    np.array([7, 2**64 - 1], object), array.array("Q", [7, 2**64 - 1]),
    pyarrow.array([7, 2**64 - 1], pyarrow.uint64()), Tensor(np.array([7, 2**64 - 1], np.uint64)),
    np.ma.masked_array(np.array([7, 2**64 - 1], np.uint64)), [Number.THREE + 4, 2**64 - 1],
    memoryview(np.array([7, 2**64 - 1], np.uint64)),
])  # fmt: skip
async def test_every_list_of_integers_is_one_of_ids(db: Any, given: Any) -> None:
    await made(db)
    await db.add("items", ROWS, ids=given)
    await db.update("items", given, [{"n": 1}, {"n": 2}])
    rows = await db.get("items", given, include=["metadata"])
    assert [(row.id, row.metadata) for row in rows] == [(7, {"n": 1}), (2**64 - 1, {"n": 2})]
    assert type(rows[0].id) is int
    assert await db.delete("items", given) == 2


@pytest.mark.parametrize("given", [
    ["a", "ü\u2028"], ("a", "ü\u2028"), np.array(["a", "ü\u2028"]), np.array(["a", "ü\u2028"],
    object),
    [Text("a"), "ü\u2028"], [Word.A, "ü\u2028"], [np.str_("a"), np.str_("ü\u2028")],
    pyarrow.array(["a", "ü\u2028"]),
])  # fmt: skip
async def test_every_list_of_texts_is_one_of_ids(db: Any, given: Any) -> None:
    await made(db)
    await db.add("names", ROWS, ids=given)
    rows = await db.get("names", given)
    assert [(row.id, type(row.id)) for row in rows] == [("a", str), ("ü\u2028", str)]
    assert (await db.search("names", like=next(iter(rows)).id)).ids == ["ü\u2028"]
    assert await db.delete("names", given) == 2


async def test_scalars_of_other_libraries_stand_wherever_a_number_may(db: Any) -> None:
    await db.create(
        Text("items"), dim=np.int32(2), capacity=np.uint64(100), metric="dot", ttl=np.float32(60),
        ids=np.str_("u64"), columns=types.MappingProxyType({Text("n"): "i64", "f": np.str_("f64")}),
    )  # fmt: skip
    metadata = [
        types.MappingProxyType({"n": np.int64(5), "f": np.float32(0.5)}),
        {"n": Number.THREE},
    ]
    await db.add("items", ROWS, ids=[1, 2], metadata=metadata)
    rows = await db.get("items", [np.uint8(1), Number.THREE - 1], include=("metadata",))
    assert [row.metadata for row in rows] == [{"n": 5, "f": 0.5}, {"n": 3}]
    for k in (1, np.int64(1), np.array(1), Number.THREE - 2, Tensor(1)):
        found = await db.search("items", [1, 0], k, last=np.int16(2), min_score=np.float16(2))
        assert found.ids.tolist() == [2]
        assert len(await db.search("items", like=np.int64(1), k=k)) == 1
    assert len(await db.search("items", [1, 0], k=2, min_score=np.array(-5))) == 2
    for five in (5, np.int8(5), np.array(5), 5.0, np.float64(5), np.array([5, 6]), (5, 7)):
        document = {"n": {"$in": five} if np.ndim(five) else {"$gte": five}}
        assert await db.count("items", types.MappingProxyType(document)) == 1
    async with db.live("items", (1, 0), np.int64(1), every_ms=np.int32(0)) as live:
        assert (await anext(live)).ids.tolist() == [2]
    await db.add("items", ROWS, ids=range(2), producer=np.str_("p"), batch=np.uint8(1))


async def test_metadata_comes_back_as_it_went_in(db: Any) -> None:
    await made(db)
    point = collections.namedtuple("Point", "x y")
    given = [
        {"a": 2**53 + 1, "z": 2**64 - 1, "c": -(2**63), "d": 1e308, "e": -0.0, "y": 5e-324,
        "g": True},
        {"t": "\0", "u": "\u2028 null ü 😀", "": None, "nested": {"x": [1, [2.5, None,
        {"y": "z"}]]}},
        None,
        {"p": point(1, 2), "q": (1, 2), "r": np.arange(3), "k": Text("s"), "w": Word.A,
        "m": np.True_,
         "i": Number.THREE, "d": np.float64(0.1), "o": np.array([1, "a"], object), "z": MISSING},
    ]  # fmt: skip
    await db.add("items", np.ones((4, 2)), ids=range(4), metadata=given)
    rows = await db.get("items", range(4), include=["metadata"])
    assert [row.metadata for row in rows] == [
        given[0],
        given[1],
        {},
        {"p": [1, 2], "q": [1, 2], "r": [0, 1, 2], "k": "s", "w": "a", "m": True, "i": 3, "d": 0.1,
         "o": [1, "a"], "z": None},
    ]  # fmt: skip
    assert type(rows[0].metadata["z"]) is int


async def test_columns_take_what_other_libraries_have_and_masks_are_null(db: Any) -> None:
    await made(db)
    given: dict[str, list[Any]] = {
        "n": [[1, None], (np.int8(1), None), np.ma.masked_array([1, 9], mask=[0, 1]), [1, MISSING],
              [Number.THREE - 2, np.ma.masked], np.array([1, None], object),
              pyarrow.array([1, None]).to_pylist()],
        "f": [[1.5, None], np.array([1.5, np.nan]), np.ma.masked_array([1.5, 1e300], mask=[0, 1]),
              [np.float32(1.5), MISSING], np.array([1.5, np.nan], ">f4"), Tensor([1.5, np.nan])],
        "s": [["a", None], [Word.A, None], np.ma.masked_array(["a", "b"], mask=[0, 1]),
              np.array(["a", None], object), [np.str_("a"), MISSING], pyarrow.array(["a", None])],
        "b": [[True, None], [np.True_, None], np.ma.masked_array([True, True], mask=[0, 1])],
    }  # fmt: skip
    first = {"n": 1, "f": 1.5, "s": "a", "b": True}
    for name, variants in given.items():
        for values in variants:
            await db.add("items", ROWS, ids=[1, 2], columns={Text(name): values})
            rows = await db.get("items", [1, 2], include=["metadata"])
            assert [row.metadata for row in rows] == [{name: first[name]}, {}], values


async def test_an_array_is_never_written_to_nor_kept(db: Any) -> None:
    await made(db)
    rows, ids = np.array(ROWS, np.float32), np.array([1, 2], np.uint64)
    column = np.array([0.5, 1.5])
    for one in (rows, ids, column):
        one.setflags(write=False)
    before = rows.tobytes(), ids.tobytes(), column.tobytes()
    await db.add("items", rows, ids, columns={"f": column})
    await db.search("items", rows)
    live = db.live("items", rows[0])
    await step(live)
    feed = db.match("items", rows[0], 0)
    await step(feed)
    assert (rows.tobytes(), ids.tobytes(), column.tobytes()) == before
    for one in (rows, ids, column):
        assert not any(isinstance(at, np.ndarray) for at in gc.get_referrers(one))
    await live.close()
    await feed.close()


async def test_columns_and_rows_of_data_frames_go_in_nulls_and_all(db: Any) -> None:
    await made(db)
    null = {"n": [2**53 - 1, None], "s": ["a", None], "f": [1.5, None], "b": [True, None]}
    arrow = pyarrow.table(null)
    types_ = {"n": "Int64", "s": "string", "f": "Float64", "b": "boolean"}
    frames = [
        {name: arrow[name] for name in null},
        {name: arrow[name].combine_chunks() for name in null},
        {name: pl.Series(name, values) for name, values in null.items()},
        {name: pd.Series(values, dtype=types_[name]) for name, values in null.items()},
        {name: pd.Series(values, dtype=object) for name, values in null.items()},
    ]
    first = {name: values[0] for name, values in null.items()}
    for columns in frames:
        await db.add("items", pd.DataFrame(ROWS), pd.Index([1, 2]), columns=columns)
        rows = await db.get("items", pl.Series([1, 2]), include=["metadata"])
        assert [row.metadata for row in rows] == [first, {}], columns
    frame = pd.DataFrame({"v": ROWS, "n": pd.array([5, None], "Int64")})
    records = frame[["n"]].to_dict("records")
    await db.add("items", frame["v"], frame.index, metadata=records)
    rows = await db.get("items", [0, 1], include=["metadata", "vector"])
    assert [(row.vector.tolist(), row.metadata) for row in rows] == [
        (ROWS[0], {"n": 5}),
        (ROWS[1], {"n": None}),
    ]
    assert len(await db.search("items", pl.DataFrame(ROWS, orient="row"))) == 2
