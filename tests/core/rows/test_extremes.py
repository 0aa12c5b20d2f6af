"""The greatest and least number of every 64 slots, and nulls, through writes of columns."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from omendb_core.model.types import NULL_INTEGER, ColumnType
from omendb_core.rows.columns import Columns
from omendb_core.rows.extremes import Extremes

COLUMNS: dict[str, ColumnType] = {"time": "f64", "second": "i64", "kind": "str", "new": "bool"}


def numbers_of(columns: Columns, name: str, words: int) -> list[list[float | None]]:
    """Of each word, as far as it was written; None: null."""
    found = []
    for word in range(words):
        values = columns.values(name, slice(64 * word, min(64 * word + 64, columns.used))).tolist()
        found.append([x if x == x and x != NULL_INTEGER else None for x in values])
    return found


def assert_told(extremes: Extremes, columns: Columns, name: str, first: int, stop: int) -> None:
    numbers = numbers_of(columns, name, stop)[first:]
    there = [[x for x in word if x is not None] for word in numbers]
    greatest = extremes.greatest(name, first, stop)
    least = extremes.least(name, first, stop)
    has_null = extremes.has_null(name, first, stop)
    assert greatest.tolist() == [max(word, default=-np.inf) for word in there]
    assert least.tolist() == [min(word, default=np.inf) for word in there]
    assert has_null.tolist() == [None in word for word in numbers]


@pytest.mark.parametrize("capacity", [1, 64, 100, 1000, 1024])
def test_it_follows_every_write(capacity: int) -> None:
    random = Random(capacity)
    columns = Columns(COLUMNS, capacity)
    extremes = Extremes(columns)
    words = -(-capacity // 64)
    for step in range(60):
        count = random.choice([1, 2, min(70, capacity), capacity if random.random() < 0.1 else 1])
        if step < 5:
            count = min(count, 3)
        count = min(count, capacity)
        first = random.randrange(min(columns.used + 1, capacity))  # as a ring is written
        slots = (np.arange(first, first + count) % capacity).astype(np.int64)
        rng = np.random.default_rng(step)
        columns.clear(slots[slots < columns.used])
        columns.write(
            slots,
            {
                "time": rng.choice([np.nan, -1e300, 0.5, 1e9, -3.0], count),
                "second": rng.choice([NULL_INTEGER, 2**53 - 1, -(2**53), -5, 0], count),
            },
        )
        if random.random() < 0.6:
            for name in ("time", "second"):
                first = random.randrange(words)
                assert_told(extremes, columns, name, first, random.randint(first, words))
                if random.random() < 0.5:
                    assert_told(extremes, columns, name, 0, words)
            extremes.check(slots)


def test_rows_that_left_may_be_the_extremes_until_their_slots_are_written() -> None:
    columns = Columns({"time": "f64"}, 100)
    extremes = Extremes(columns)
    slots = np.arange(100)
    columns.write(slots, {"time": np.arange(100.0)})
    assert extremes.greatest("time").tolist() == [63, 99]
    assert extremes.least("time").tolist() == [0, 64]
    columns.clear(np.array([63, 64]))
    assert extremes.greatest("time").tolist() == [63, 99]
    assert extremes.least("time").tolist() == [0, 64]
    extremes.check(slots[:63])
    columns.write(np.array([63, 64]), {"time": np.array([5.0, np.nan])})
    assert extremes.greatest("time").tolist() == [62, 99]
    assert extremes.least("time").tolist() == [0, 65]
    assert extremes.has_null("time").tolist() == [False, True]


def test_a_row_beyond_what_is_said_is_found() -> None:
    columns = Columns({"time": "f64"}, 100)
    extremes = Extremes(columns)
    columns.write(np.arange(100), {"time": np.arange(100.0)})
    assert extremes.greatest("time", 1, 2).tolist() == [99]
    columns.values("time", slice(0, 100))[70] = 1000  # unnoticed
    with pytest.raises(AssertionError, match="beyond the greatest"):
        extremes.check(np.arange(100))


def test_its_bytes_are_those_of_numeric_columns() -> None:
    assert Extremes.bytes_for(COLUMNS, 6400) == 2 * 20 * 100
    assert Extremes.bytes_for({}, 6400) == 0
    extremes = Extremes(Columns(COLUMNS, 64))
    assert [extremes.knows(name) for name in COLUMNS] == [True, True, False, False]
