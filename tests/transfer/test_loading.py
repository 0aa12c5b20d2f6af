"""Loads into a real server: all of it, once, from where it was, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws.errors import NotFound
from omendb_ws.files.arrays import open_npy
from omendb_ws.files.chunks import FileError
from omendb_ws.transfer.loading import Load, Options, Progress, RowRefused, known_batches, plan_of
from tests.patience import PATIENCE_SECONDS
from tests.transfer.places import client, load, rows


def array(count: int = 100, dim: int = 4) -> Any:
    return np.random.default_rng(2).normal(size=(count, dim)).astype(np.float32)


def saved(tmp_path: Path, vectors: Any, name: str = "rows.npy") -> Path:
    path = tmp_path / name
    np.save(path, vectors)
    return path


async def test_a_file_goes_in_with_row_numbers_as_ids_and_to_the_bit(tmp_path: Path) -> None:
    vectors = array()
    path = saved(tmp_path, vectors)
    async with client() as db:
        await db.create("items", dim=4, capacity=100, metric="l2")
        progress = await load(db, path, batch_rows=7)
        assert (progress.rows, progress.earlier_rows, progress.bad_rows) == (100, 0, 0)
        assert progress.share == 1
        assert await rows(db) == [(at, one.tobytes(), {}) for at, one in enumerate(vectors)]


@pytest.mark.parametrize("at", [1, 3, 6])
async def test_a_second_run_goes_on_where_the_first_one_ended(tmp_path: Path, at: int) -> None:
    path = saved(tmp_path, array())

    def stop(load: Load, progress: Progress) -> None:
        if progress.rows >= 7 * at:
            load.stop()

    async with client() as db:
        await db.create("items", dim=4, capacity=1000)
        first = await load(db, path, batch_rows=7, told=stop)
        assert 7 * at <= first.rows < 100
        there = await db.describe("items")
        assert there.last_seq == first.rows
        second = await load(db, path, batch_rows=7)
        assert (second.earlier_rows, second.rows) == (first.rows, 100 - first.rows)
        assert (await db.describe("items")).last_seq == 100
        third = await load(db, path, batch_rows=7)
        assert (third.earlier_rows, third.rows) == (100, 0)
        assert third.share == 1
        assert (await db.describe("items")).last_seq == 100


async def test_a_file_that_is_cut_short_meanwhile_ends_the_load_with_what_is_in(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path, array(5000, 16))
    async with client() as db:
        await db.create("items", dim=16, capacity=10_000)
        with pytest.raises(FileError, match="truncated in row "):
            await load(db, path, batch_rows=100, told=lambda *_: os.truncate(path, 4096))
        there = await db.describe("items")
        assert 100 <= there.rows < 5000
        assert there.rows % 100 == 0


async def test_two_loads_of_one_file_at_once_add_it_once(tmp_path: Path) -> None:
    path = saved(tmp_path, array(2000))
    async with client() as db:
        await db.create("items", dim=4, capacity=10_000)
        await asyncio.gather(*[load(db, path, batch_rows=7) for _ in range(2)])
        there = await db.describe("items")
        assert (there.last_seq, there.rows) == (2000, 2000)


async def test_another_producer_loads_the_file_again(tmp_path: Path) -> None:
    path = saved(tmp_path, array())
    async with client() as db:
        await db.create("items", dim=4, capacity=1000)
        for producer in ("a", "b"):
            assert (await load(db, path, producer=producer)).rows == 100
        there = await db.describe("items")
        assert (there.last_seq, there.rows) == (200, 100)


async def test_what_was_acknowledged_is_what_is_in_when_a_bad_row_ends_it(tmp_path: Path) -> None:
    vectors = array()
    vectors[57, 2] = np.nan
    path = saved(tmp_path, vectors)
    last: list[Progress] = []
    async with client() as db:
        await db.create("items", dim=4, capacity=1000)
        with pytest.raises(RowRefused, match=r"rows\.npy: row 57: a value is NaN"):
            await load(db, path, batch_rows=7, told=lambda _, now: last.append(now))
        assert last[-1].rows == 57
        assert (await db.describe("items")).last_seq == 57
        # Skipping them is another way to read the file, and so another load.
        progress = await load(db, path, batch_rows=7, skip_bad=True, producer="other")
        assert (progress.rows, progress.bad_rows) == (99, 1)
        assert [one.number for one in progress.bad] == [57]
        assert [one for one, *_ in await rows(db)] == [*range(57), *range(58, 100)]


async def test_every_kind_of_bad_row_is_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = [{"id": one, "vector": [one + 1, 1], "n": one, "text": "x"} for one in range(30)]
    lines = [json.dumps(one) for one in good]
    lines[3] = "{"
    lines[5] = json.dumps({**good[5], "vector": [1, 2, 3]})
    lines[8] = json.dumps({**good[8], "vector": [0, 0]})
    lines[11] = json.dumps({**good[11], "n": "eleven"})
    lines[12] = json.dumps({**good[12], "text": "x" * 5000})
    lines[20] = json.dumps({**good[20], "vector": [1e39, 0]})
    lines[29] = json.dumps({**good[29], "id": -1})
    path.write_text("\n".join(lines))
    wrong = [3, 5, 8, 11, 12, 20, 29]
    async with client() as db:
        await db.create("items", dim=2, capacity=100, columns={"n": "i64"})
        progress = await load(db, path, skip_bad=True, batch_rows=4)
        assert [one.number - 1 for one in progress.bad] == wrong  # lines count from 1
        assert (progress.rows, progress.bad_rows) == (23, 7)
        found = await rows(db)
        assert [one for one, *_ in found] == [one for one in range(30) if one not in wrong]
        assert found[0][2] == {"n": 0, "text": "x"}
        assert await db.count("items", {"n": {"$lt": 10}}) == 7


async def test_a_later_row_of_an_id_replaces_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"id": {one % 3}, "vector": [{one}, 1]}}\n' for one in range(10)))
    async with client() as db:
        await db.create("items", dim=2, capacity=100, metric="dot")
        assert (await load(db, path)).rows == 10
        assert [(one, np.frombuffer(bits, np.float32)[0]) for one, bits, _ in await rows(db)] == [
            (1, 7.0), (2, 8.0), (0, 9.0),
        ]  # fmt: skip


async def test_a_row_that_only_the_server_refuses_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"id": "{one}", "vector": [1]}}\n' for one in "abc"))
    async with client() as db:
        await db.create("items", dim=1, capacity=100, ids="u64")
        with pytest.raises(RowRefused, match="line 1: id: must be a whole number"):
            await load(db, path)
        await db.drop("items")
        with pytest.raises(NotFound):
            await load(db, path)


async def test_a_collection_made_anew_takes_the_file_again(tmp_path: Path) -> None:
    path = saved(tmp_path, array())
    async with client() as db:
        for _ in range(2):
            await db.create("items", dim=4, capacity=1000)
            assert (await load(db, path)).rows == 100
            await db.drop("items")


async def test_known_batches_are_asked_for_without_a_trace() -> None:
    async with client() as db:
        kinds: list[tuple[Any, Any]] = [("u64", [1]), ("str", ["a"]), ("auto", None)]
        for kind, ids in kinds:
            made = await db.create(kind, dim=2, capacity=10, ids=kind)
            assert await known_batches(db, made, "p") == 0
            for number in (1, 2):
                await db.add(kind, [[1, 2]], ids, producer="p", batch=number)
                assert await known_batches(db, made, "p") == number
                assert await known_batches(db, made, "q") == 0
            there = await db.describe(kind)
            assert (there.version, there.last_seq) == (2, 2)


async def test_a_pipe_that_says_nothing_holds_nothing_up() -> None:
    read_end, write_end = os.pipe()
    file = os.fdopen(read_end, "rb")
    data = bytearray()
    vectors = array(10)
    np.lib.format.write_array_header_1_0(  # a header for 1,000 rows, of which ten come
        Collect(data), {"descr": "<f4", "fortran_order": False, "shape": (1000, 4)}
    )
    os.write(write_end, bytes(data) + vectors.tobytes())
    async with client() as db:
        made = await db.create("items", dim=4, capacity=100)
        options = Options("p", await plan_of(db, made, batch_rows=5))
        load = Load(db, open_npy(file, "pipe"), made, options, reads_ahead=True)
        seen = asyncio.Event()

        def told(progress: Progress) -> None:
            if progress.rows == 10:
                seen.set()

        running = asyncio.ensure_future(load.run(told))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await seen.wait()
            load.stop()
            await running
        assert load.progress.rows == 10
    os.close(write_end)
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(1)
    file.close()


class Collect:
    """A file that numpy writes a header to."""

    def __init__(self, data: bytearray) -> None:
        self._data = data

    def write(self, part: bytes) -> None:
        self._data += part


async def test_a_pipe_that_breaks_off_is_said_after_what_came(tmp_path: Path) -> None:
    path = saved(tmp_path, array(20))
    whole = path.read_bytes()
    read_end, write_end = os.pipe()
    os.write(write_end, whole[:-7])
    os.close(write_end)
    async with client() as db:
        made = await db.create("items", dim=4, capacity=100)
        with os.fdopen(read_end, "rb") as file:
            options = Options("p", await plan_of(db, made, batch_rows=5))
            load = Load(db, open_npy(file, "pipe"), made, options, reads_ahead=True)
            with pytest.raises(FileError, match="truncated in row 19"):
                await load.run(lambda _: None)
        assert load.progress.rows == 15
        assert (await db.describe("items")).last_seq == 15
