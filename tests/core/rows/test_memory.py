"""Arrays that become longer: what is there stays, and beyond a megabyte it is not copied."""

from __future__ import annotations

import mmap

import numpy as np
import pytest
from omendb_core.model.types import Definition
from omendb_core.rows import memory
from omendb_core.rows.memory import GrowingArray, Untouched
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window


def refuse(nbytes: int) -> mmap.mmap:
    raise OSError(f"no {nbytes} bytes of addresses")


@pytest.mark.parametrize("may_reserve", [True, False])
@pytest.mark.parametrize("none", [0, 7])
def test_what_is_there_stays_and_what_is_new_is_none(
    monkeypatch: pytest.MonkeyPatch, may_reserve: bool, none: int
) -> None:
    if not may_reserve:
        monkeypatch.setattr(memory, "own_mapping", refuse)
    growing = GrowingArray((256,), np.int64, none)
    expected = np.empty((0, 256), np.int64)
    for rows in (0, 1, 16, 17, 500, 511, 512, 513, 3000, 3001, 8200):
        array = growing.fit(rows)
        assert (array[len(expected) :] == none).all()
        assert np.array_equal(array[: len(expected)], expected)
        assert not array.ctypes.data % memory.ALIGNMENT_BYTES or rows == 0
        array[len(expected) :] = np.arange(len(expected), rows)[:, None]
        expected = array.copy()
    assert array.shape == (8200, 256)


def test_from_a_megabyte_on_it_grows_where_it_is() -> None:
    growing = GrowingArray((256,), np.int64)
    small = growing.fit(511)
    large = growing.fit(512)
    assert not np.shares_memory(small, large)
    for rows in (513, 5000, 100_000):
        larger = growing.fit(rows)
        assert larger.ctypes.data == large.ctypes.data


def test_a_system_without_large_pages_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mapping(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError("Invalid argument")

    monkeypatch.setattr(memory, "own_mapping", lambda nbytes: Mapping(-1, nbytes))
    growing = GrowingArray((256,), np.int64)
    for rows in (600, 5000, 5001):
        assert growing.fit(rows).shape == (rows, 256)


def test_where_addresses_have_a_limit_none_are_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(memory, "own_mapping", asked.append)
    monkeypatch.setattr(memory, "_address_limit", lambda: 1 << 40)
    GrowingArray((256,), np.int64).fit(5000)
    assert not asked


def test_a_growing_array_doubles_where_it_must_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a hundred steps copied a hundred times as much."""
    monkeypatch.setattr(memory, "own_mapping", refuse)
    growing = GrowingArray((256,), np.int64)
    places = {growing.fit(rows).ctypes.data for rows in range(600, 6000, 10)}
    assert len(places) <= 5


def test_standing_queries_are_not_copied_as_they_become_more() -> None:
    """10,000 of k 100 and 768 dimensions: 80 ms in one piece as their arrays doubled."""
    dim, k, at_once = 256, 50, 512
    standing = Window(Definition(dim, 100, "dot")).standing
    vectors = np.random.default_rng(3).standard_normal((at_once, dim)).astype(np.float32)
    handles: list[int] = []
    places = set()
    for _ in range(10):
        handles += standing.add([StandingQuery(k)] * at_once, vectors).tolist()
        (lists,) = (lists for lists, _ in standing.lists._lists)
        if len(handles) > 2 * at_once:
            places.add((standing.table.vectors.ctypes.data, lists.keys.ctypes.data))
    assert len(places) == 1
    assert np.array_equal(standing.table.vectors[: len(handles)], np.tile(vectors, (10, 1)))
    assert standing.nbytes <= 1.25 * len(handles) * standing.bytes_for(k)
    standing.remove(handles)
    assert standing.nbytes == 0


def test_memory_that_rows_may_need_anywhere_is_touched_some_at_a_time_and_stays() -> None:
    array = np.zeros((3 << 20) + 17, np.uint32)
    array[::1000] = 7
    expected, untouched, times = array.copy(), Untouched(array), 0
    while untouched:
        untouched.touch_some()
        times += 1
    assert times == -(-array.nbytes // (2 << 20))
    assert np.array_equal(array, expected)
    assert not Untouched(np.zeros(1000, np.uint64)), "a few pages are not worth it"
    assert not Untouched(np.empty(0, np.uint8))
