"""Dumps: one version, to the bit, and load(dump(x)) is x."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws.client import Client
from omendb_ws.files.chunks import FileError
from omendb_ws.transfer.dumping import Ended, Picture
from tests.patience import PATIENCE_SECONDS
from tests.transfer.places import client, dump, load, rows

COLUMNS: dict[str, Any] = {"price": "f64", "stock": "i64", "sold": "bool", "kind": "str"}
METADATA: list[dict[str, Any]] = [
    {"price": 1.5, "stock": 2**53 - 1, "sold": True, "kind": "ü\n", "tags": ["a", {"b": None}]},
    {},
    {"price": None, "kind": None, "note": None},
    {"price": 0.1, "stock": -1, "sold": False, "kind": ""},
    {"metadata": {"id": 1}, "vector": [1], "id": "x", "other": 1e-300},
]


async def fill(db: Client, ids: Any, *, metric: Any = "l2", metadata: bool = True) -> None:
    """A window in which rows were evicted, replaced and deleted."""
    await db.create("items", dim=5, capacity=40, metric=metric, ids=ids, columns=COLUMNS)
    bits = np.random.default_rng(4).integers(0, 2**32, (400, 5), dtype=np.uint32)
    vectors = bits.view(np.float32)
    vectors = vectors[np.isfinite(vectors).all(1) & (np.abs(vectors) < 1e17).all(1)][:60]
    assert len(vectors) == 60
    kinds: dict[str, Any] = {
        "u64": [2**64 - 1 - one for one in range(60)],
        "str": [f"row {one}" for one in range(60)],
        "auto": None,
    }
    given = kinds[ids]
    notes = [METADATA[one % 5] for one in range(60)] if metadata else None
    await db.add("items", vectors, given, notes)
    gone = [41, 47, 60] if given is None else [given[one] for one in (40, 46, 59)]
    await db.delete("items", gone)
    if given is not None:
        await db.add("items", vectors[:2] * 2, [given[50], given[3]], notes and notes[:2])


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow"])
@pytest.mark.parametrize("ids", ["u64", "str", "auto"])
@pytest.mark.parametrize("metric", ["l2", "dot"])
async def test_what_was_dumped_and_loaded_is_the_same(
    tmp_path: Path, ids: Any, metric: Any, suffix: str
) -> None:
    path = tmp_path / f"rows.{suffix}"
    async with client() as db:
        await fill(db, ids, metric=metric)
        before = await rows(db)
        picture = await dump(db, path)
        assert (picture.rows, picture.missing, picture.share) == (len(before), 0, 1)
        await db.drop("items")
        await db.create("items", dim=5, capacity=99, metric=metric, ids=ids, columns=COLUMNS)
        await load(db, path)
        after = await rows(db)
    if ids == "auto":  # the window numbers them anew
        before = [(at, *row[1:]) for at, row in enumerate(before, 1)]
    assert [row[:2] for row in after] == [row[:2] for row in before]
    for (*_, now), (*_, then) in zip(after, before, strict=True):
        assert now == then


@pytest.mark.parametrize("ids", ["u64", "str"])
async def test_arrays_hold_the_vectors_and_another_one_the_ids(tmp_path: Path, ids: Any) -> None:
    path, ids_path = tmp_path / "rows.npy", tmp_path / "ids.npy"
    async with client() as db:
        await fill(db, ids, metadata=False)
        before = await rows(db)
        await dump(db, path, ids=ids_path)
        assert np.load(path).shape == (len(before), 5)
        assert np.load(ids_path).tolist() == [one for one, *_ in before]
        await db.drop("items")
        await db.create("items", dim=5, capacity=99, metric="l2", ids=ids)
        await load(db, path, ids=ids_path)
        assert await rows(db) == before


async def test_vectors_alone_go_to_fvecs_and_whole_small_numbers_to_bvecs(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).integers(0, 256, (20, 3)).astype(np.float32)
    async with client() as db:
        await db.create("items", dim=3, capacity=30, metric="l2")
        await db.add("items", vectors, range(20))
        before = await rows(db)
        for suffix in ("fvecs", "bvecs"):
            path = tmp_path / f"rows.{suffix}"
            await dump(db, path)
            await db.drop("items")
            await db.create("items", dim=3, capacity=30, metric="l2")
            await load(db, path)
            assert await rows(db) == before
        for value in (0.5, -1.0, 256.0):
            await db.add("items", [[value, 0, 0]], [99])
            with pytest.raises(FileError, match="0 to 255"):
                await dump(db, tmp_path / "rows.bvecs")


@pytest.mark.parametrize("suffix", ["jsonl", "npy", "fvecs", "parquet", "arrow"])
async def test_an_empty_collection_is_an_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    async with client() as db:
        await db.create("items", dim=3, capacity=30)
        assert (await dump(db, path)).rows == 0
        assert (await load(db, path)).rows == 0


async def test_a_picture_ends_at_its_version_whatever_is_added_meanwhile() -> None:
    async with client() as db:
        await db.create("items", dim=1, capacity=100_000)
        await db.add("items", np.ones((30_000, 1)), range(30_000))
        picture = Picture(db, await db.describe("items"))
        seen: list[int] = []
        async for part in picture:
            seen.extend(part.ids)
            await db.add("items", np.ones((1000, 1)), range(100_000, 101_000))
        assert seen == list(range(30_000))
        assert picture.missing == 0


async def test_rows_that_leave_meanwhile_are_counted() -> None:
    async with client() as db:
        await db.create("items", dim=256, capacity=3000)
        await db.add("items", np.ones((3000, 256)), range(3000))
        picture = Picture(db, await db.describe("items"))
        seen = 0
        async for part in picture:
            if not seen:
                await db.delete("items", [2998, 2999])
                await db.add("items", np.ones((2000, 256)), range(5000, 7000))
            seen += len(part.vectors)
        assert picture.rows == seen
        assert picture.missing == 3000 - seen
        assert picture.missing > 0


async def test_a_picture_whose_last_rows_are_gone_ends() -> None:
    async with client() as db:
        await db.create("items", dim=1, capacity=100)
        await db.add("items", np.ones((10, 1)), range(10))
        described = await db.describe("items")
        await db.delete("items", [8, 9])
        picture = Picture(db, described)
        async with asyncio.timeout(PATIENCE_SECONDS):
            seen = [one async for part in picture for one in part.ids]
        assert seen == list(range(8))
        assert picture.missing == 2


async def test_a_collection_that_is_dropped_or_made_anew_is_said_so() -> None:
    async with client() as db:
        await db.create("items", dim=1, capacity=100)
        await db.add("items", np.ones((10, 1)), range(10))
        described = await db.describe("items")
        await db.drop("items")
        await db.create("items", dim=1, capacity=100)
        with pytest.raises(Ended, match="began anew"):
            [part async for part in Picture(db, described)]
