"""Lists of many numbers, laid out in tables, against Python's sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.filters import value_sets
from omendb_core.filters.value_sets import BYTES_A_VALUE, ValueSet
from omendb_core.model.types import NULL_INTEGER

from tests.examples import examples

integers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.integers(-50, 50),
    st.integers(0, 20).map(lambda n: 1 << n),
)
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9).map(float)
).map(lambda number: number + 0.0)


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(
    st.one_of(
        st.tuples(st.just("i8"), st.sets(integers, min_size=1, max_size=60), st.lists(integers)),
        st.tuples(st.just("f8"), st.sets(numbers, min_size=1, max_size=60), st.lists(numbers)),
    )
)
def test_a_set_has_what_is_in_the_list_and_nothing_else(given_: Any) -> None:
    dtype, listed, others = given_
    found = ValueSet(sorted(listed), np.dtype(dtype))
    values = [*listed, *others, *[-value for value in listed]]
    expected = [value in listed for value in values]
    assert found.has(np.array(values, dtype)).tolist() == expected


@pytest.mark.parametrize("count", [1, 9, 1024])
def test_nulls_and_zeros_of_either_sign(count: int) -> None:
    floats = ValueSet([float(n) for n in range(count)], np.dtype(np.float64))
    assert floats.has(np.array([np.nan, -0.0, 0.0, -np.nan])).tolist() == [False, True, True, False]
    integers = ValueSet(list(range(count)), np.dtype(np.int64))
    assert integers.has(np.array([NULL_INTEGER, 0])).tolist() == [False, True]


def test_no_values_are_in_none() -> None:
    assert ValueSet([1, 2, 3], np.dtype(np.int64)).has(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize("count", [9, 10, 100, 1024])
def test_tables_take_no_more_than_is_said(count: int) -> None:
    random = np.random.default_rng(count)
    for values in (random.random(count), np.arange(count) * 1.0, 1.0 / (1 + np.arange(count))):
        tables = ValueSet(values.tolist(), values.dtype)._tables
        assert sum(one._entries.nbytes for one in tables) <= BYTES_A_VALUE * count


def test_values_that_were_chosen_to_find_no_place_are_found_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = np.arange(1, 60_000, dtype=np.uint64)
    hashes = (some * value_sets._FACTORS[0]) >> np.uint64(64 - 7)
    listed = some[hashes == hashes[0]][:60].astype(np.int64).tolist()
    monkeypatch.setattr(value_sets, "_FACTORS", value_sets._FACTORS[:1] * 4)
    found = ValueSet(listed, np.dtype(np.int64))
    assert len(found._left) > 50
    values = np.array([*listed, *[number + 1 for number in listed], 0, -1], np.int64)
    wanted = set(listed)
    assert found.has(values).tolist() == [int(value) in wanted for value in values]
