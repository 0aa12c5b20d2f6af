"""Metadata of the rows of the pool, by the scenario's ``columns``. The same seed gives the same.

Knows numpy and the shapes of a frame's columns; the oracle gets the same values as plain Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from omendb_core.model.types import F64, I64, Bool1, StrColumn
from omendb_core.model.types import Column as Values

from .row_filter import passes
from .scenario import Column

#: A str column's code for null, as PROTOCOL section 7 says.
_NULL_CODE = 2**32 - 1


def values(columns: Mapping[str, Column], count: int, seed: int) -> dict[str, Values]:
    """Each column's values for ``count`` rows."""
    found = {}
    for number, (name, column) in enumerate(columns.items()):
        found[name] = _values(column, count, np.random.default_rng([seed, 5, number]))
    return found


def _values(column: Column, count: int, generator: np.random.Generator) -> Values:
    nulls = generator.random(count) < column.nulls
    if column.type == "str":
        codes = generator.integers(0, len(column.values), count).astype(np.uint32)
        return StrColumn(np.where(nulls, np.uint32(_NULL_CODE), codes), tuple(column.values))
    if column.type == "bool":
        return generator.integers(0, 2, count).astype(np.uint8)
    if column.type == "i64":
        integers: I64 = generator.integers(int(column.low), int(column.high), count, endpoint=True)
        return integers
    numbers: F64 = generator.uniform(column.low, column.high, count)
    numbers[nulls] = np.nan
    return numbers


def taken(columns: Mapping[str, Values], rows: I64 | slice) -> dict[str, Values]:
    """Some rows of every column."""
    return {
        name: StrColumn(one.codes[rows], one.dictionary)
        if isinstance(one, StrColumn)
        else one[rows]
        for name, one in columns.items()
    }


def passing(columns: Mapping[str, Values], document: Mapping[str, Any], count: int) -> Bool1:
    """Which of the ``count`` rows pass a filter."""
    found = plain(columns)
    rows = ({name: one[row] for name, one in found.items()} for row in range(count))
    return np.fromiter((passes(document, row) for row in rows), np.bool_, count)


def plain(columns: Mapping[str, Values]) -> dict[str, list[Any]]:
    """Each column as Python has it, None for null."""
    return {name: _plain(one) for name, one in columns.items()}


def _plain(column: Values) -> list[Any]:
    if isinstance(column, StrColumn):
        return [None if code == _NULL_CODE else column.dictionary[code] for code in column.codes]
    if column.dtype == np.uint8:
        return [bool(one) for one in column]
    return [None if one != one else one for one in column.tolist()]
