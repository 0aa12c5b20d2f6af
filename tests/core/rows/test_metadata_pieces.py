"""Columns that are made of metadata in pieces are those that are made at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.errors import BadMetadata
from omendb_core.model.types import NULL_CODE, Column, ColumnType, StrColumn
from omendb_core.rows.metadata import from_metadata
from omendb_core.rows.metadata_pieces import columns_in_pieces

COLUMNS: dict[str, ColumnType] = {"price": "f64", "stock": "i64", "new": "bool", "kind": "str"}

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "price": st.none() | st.floats(-1e9, 1e9),
    "stock": st.none() | st.integers(-(2**53) + 1, 2**53 - 1),
    "new": st.none() | st.booleans(),
    "kind": st.none() | st.sampled_from(["a", "b", "ü", "", "long" * 9]),
}
ROWS = st.lists(st.none() | st.fixed_dictionaries({}, optional=VALUES | {"other": st.integers()}))


def through(metadata: list[Any], rows_at_once: int) -> dict[str, Column]:
    """All pieces, one behind the other."""
    steps = columns_in_pieces(metadata, COLUMNS, rows_at_once)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: dict[str, Column] = end.value
            return made


def plain(column: Column) -> list[Any]:
    if isinstance(column, StrColumn):
        texts = column.dictionary
        assert len(set(texts)) == len(texts)
        return [None if code == NULL_CODE else texts[code] for code in column.codes.tolist()]
    return [None if value != value else value for value in column.tolist()]


@given(ROWS, st.integers(1, 9))
def test_they_are_those_that_are_made_at_once(metadata: list[Any], rows_at_once: int) -> None:
    made, whole = through(metadata, rows_at_once), from_metadata(metadata, COLUMNS)
    assert made.keys() == whole.keys()
    for name, column in made.items():
        assert plain(column) == plain(whole[name])
        if not isinstance(column, StrColumn):
            assert column.dtype == whole[name].dtype  # type: ignore[union-attr]


@pytest.mark.parametrize("row", [0, 4, 5, 13])
@pytest.mark.parametrize("wrong", [{"stock": 0.5}, {"kind": 3}, {"price": float("inf")}, 7])
def test_a_fault_names_its_row_among_all(wrong: Any, row: int) -> None:
    metadata: list[Any] = [{"stock": 1, "kind": "a"} for _ in range(14)]
    metadata[row] = wrong
    with pytest.raises(BadMetadata) as caught:
        through(metadata, 5)
    assert caught.value.row == row


def test_there_is_a_step_for_each_piece() -> None:
    assert len(list(columns_in_pieces([{"stock": 1}] * 11, COLUMNS, 5))) == 3
    assert np.array_equal(through([{"stock": 1}] * 11, 5)["stock"], np.ones(11))  # type: ignore[arg-type]
