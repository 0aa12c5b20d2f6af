"""The greatest number of every 64 slots, through writes of columns."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from omendb_core.model.types import NULL_INTEGER, ColumnType
from omendb_core.rows.columns import Columns
from omendb_core.rows.latest import Latest

COLUMNS: dict[str, ColumnType] = {"time": "f64", "second": "i64", "kind": "str", "new": "bool"}


def greatest(columns: Columns, name: str, words: int) -> list[float]:
    found = []
    for word in range(words):
        values = columns.values(name, slice(64 * word, min(64 * word + 64, columns.used))).tolist()
        found.append(max((x for x in values if x == x and x != NULL_INTEGER), default=-np.inf))
    return found


@pytest.mark.parametrize("capacity", [1, 64, 100, 1000, 1024])
def test_it_follows_every_write(capacity: int) -> None:
    random = Random(capacity)
    columns = Columns(COLUMNS, capacity)
    latest = Latest(columns)
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
                "second": rng.choice([NULL_INTEGER, 2**53 - 1, -5, 0], count),
            },
        )
        if random.random() < 0.6:
            for name in ("time", "second"):
                found = latest.of(name)
                assert found.shape == (words,)
                assert found.tolist() == greatest(columns, name, words)
            latest.check(slots)


def test_rows_that_left_may_be_the_greatest_until_their_slots_are_written() -> None:
    columns = Columns({"time": "f64"}, 100)
    latest = Latest(columns)
    slots = np.arange(100)
    columns.write(slots, {"time": np.arange(100.0)})
    assert latest.of("time").tolist() == [63, 99]
    columns.clear(np.array([63]))
    assert latest.of("time").tolist() == [63, 99]
    latest.check(slots)
    columns.write(np.array([63]), {"time": np.array([5.0])})
    assert latest.of("time").tolist() == [62, 99]


def test_its_bytes_are_those_of_numeric_columns() -> None:
    assert Latest.bytes_for(COLUMNS, 6400) == 2 * 8 * 100
    assert Latest.bytes_for({}, 6400) == 0
