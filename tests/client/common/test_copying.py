"""``snapshot`` and ``restore``: whole collections out, and in again under another name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from omendb_ws.errors import BadRequest, Exists, NotFound, Quota

KINDS_OF_IDS = ["auto", "u64", "str"]
COLUMNS = {"price": "f64", "kind": "str", "stock": "i64", "new": "bool"}


async def filled(db: Any, ids: str, name: str = "items", rows: int = 300) -> None:
    random = np.random.default_rng(7)
    await db.create(name, dim=8, capacity=200, ids=ids, columns=COLUMNS, metric="cosine")
    keys: Any = [f"ïd-{key}" for key in range(rows)]
    if ids == "u64":
        keys = np.arange(rows, dtype=np.uint64) * np.uint64(2**50)
    vectors = random.standard_normal((rows, 8)).astype(np.float32)
    metadata = [
        {"price": key / 2, "kind": "ab"[key % 2], "other": [key]} if key % 3 else {}
        for key in range(rows)
    ]
    await db.add(
        name, vectors[:100], None if ids == "auto" else keys[:100], metadata[:100],
        producer="p", batch=1,
    )  # fmt: skip
    await db.add(name, vectors[100:], None if ids == "auto" else keys[100:], metadata[100:])
    live: Any = np.arange(250, 260) if ids == "auto" else keys[250:260]
    await db.delete(name, live)


async def copied(db: Any, name: str) -> bytes:
    begun = await db.snapshot(name)
    found = b""
    while piece := await db.snapshot_next(begun.number):
        found += piece
    return found


async def put(db: Any, name: str, data: bytes, step: int = 10_000) -> Any:
    number = await db.restore(name)
    made = None
    for start in range(0, len(data), step):
        assert made is None
        made = await db.restore_next(number, data[start : start + step])
    return made


async def everything(db: Any, name: str) -> Any:
    """All rows of a collection, and what a search says."""
    random = np.random.default_rng(3)
    queries = random.standard_normal((4, 8)).astype(np.float32)
    answers = await db.search(name, queries, 200, include=["metadata", "vector"])
    return [
        (row.id, row.seq, row.score, row.metadata, row.vector.tobytes())
        for answer in answers
        for row in answer
    ]


@pytest.mark.parametrize("ids", KINDS_OF_IDS)
async def test_a_copy_under_another_name_answers_as_the_original_does(db: Any, ids: str) -> None:
    await filled(db, ids)
    data = await copied(db, "items")
    made = await put(db, "copy", data)
    there = await db.describe("items")
    assert made == await db.describe("copy")
    for field in ("version", "first_seq", "last_seq", "rows", "columns", "capacity", "ids", "ttl"):
        assert getattr(made, field) == getattr(there, field), field
    assert made.epoch != there.epoch
    assert await everything(db, "copy") == await everything(db, "items")
    rows: Any = np.ones((1, 8), np.float32)
    key = None if ids == "auto" else (["x"] if ids == "str" else [2**60])
    again = await db.add("copy", rows, key, producer="p", batch=1)
    assert again.duplicate
    assert (again.first_seq, again.last_seq) == (1, 100)
    assert (await db.add("copy", rows, key)).last_seq == there.last_seq + 1


async def test_an_empty_collection_is_copied_too(db: Any) -> None:
    await db.create("items", dim=3, capacity=5, metric="l2", ttl=60)
    made = await put(db, "copy", await copied(db, "items"), step=64)
    assert (made.rows, made.ttl, made.metric, made.version) == (0, 60.0, "l2", 0)


async def test_a_snapshot_is_of_the_version_at_which_it_began(db: Any) -> None:
    await filled(db, "u64")
    before = await everything(db, "items")
    begun = await db.snapshot("items")
    data = await db.snapshot_next(begun.number)
    keys = np.arange(5000, 5300, dtype=np.uint64)
    await db.add("items", np.ones((300, 8), np.float32), keys)  # all that was there has left
    while piece := await db.snapshot_next(begun.number):
        data += piece
    made = await put(db, "copy", data)
    assert made.version == begun.description.version
    assert made.rows == begun.description.rows
    assert await everything(db, "copy") == before


async def test_what_is_cut_off_or_altered_makes_nothing(db: Any) -> None:
    await filled(db, "str")
    data = await copied(db, "items")
    random = np.random.default_rng(5)
    for place in [0, 9, 20, 70, len(data) - 1, *random.integers(0, len(data), 12).tolist()]:
        altered = bytearray(data)
        altered[place] ^= 1 << int(random.integers(8))
        with pytest.raises(BadRequest, match="snapshot: ") as refused:
            await put(db, "copy", bytes(altered), step=len(data))
        assert "\n" not in str(refused.value)
        with pytest.raises(NotFound):
            await db.describe("copy")
    number = await db.restore("copy")
    assert await db.restore_next(number, data[:-1]) is None
    await db.restore_end(number)
    with pytest.raises(NotFound):
        await db.restore_next(number, data[-1:])
    with pytest.raises(BadRequest, match="behind its end"):
        await put(db, "copy", data + b"12345678", step=len(data) + 8)
    assert [one.collection for one in await db.list()] == ["items"]
    assert (await put(db, "copy", data)).rows == 190


async def test_names_that_are_taken_and_numbers_that_are_not_there_are_refused(db: Any) -> None:
    await filled(db, "u64")
    with pytest.raises(Exists):
        await db.restore("items")
    with pytest.raises(NotFound):
        await db.snapshot("none")
    with pytest.raises(NotFound):
        await db.snapshot_next(99)
    with pytest.raises(NotFound):
        await db.restore_next(99, b"12")
    with pytest.raises(NotFound):
        await db.restore_end(99)
    with pytest.raises(BadRequest):
        await db.restore_next(99, b"")
    first = await db.snapshot("items")
    second = await db.snapshot("items")
    with pytest.raises(NotFound):
        await db.snapshot_next(first.number)
    await db.snapshot_end(second.number)
    with pytest.raises(NotFound):
        await db.snapshot_next(second.number)
    numbers = [await db.restore(f"a{name}") for name in range(4)]
    with pytest.raises(Quota):
        await db.restore("a4")
    for number in numbers:
        await db.restore_end(number)
    await db.drop("items")
