"""The columns of an add as callers have them, made into the typed arrays of a binary frame.

None, a mask and what pandas calls missing are null. What is of another type than the collection
declares is refused with its column and row. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from omendb_core.model.errors import BadMetadata
from omendb_core.model.types import (
    NULL_BOOLEAN,
    NULL_CODE,
    NULL_INTEGER,
    Column,
    ColumnType,
    StrColumn,
)
from omendb_core.rows.metadata import check_columns, from_metadata

from .arguments import is_missing, kind, unwrapped
from .arrays import of_another_library
from .given import ColumnGiven
from .plain import Objects

#: Kinds of arrays that are taken as they are, and as what.
_TAKEN: Final[Mapping[ColumnType, tuple[str, type[np.generic]]]] = {
    "f64": ("fiu", np.float64),
    "i64": ("iu", np.int64),
    "bool": ("b", np.uint8),
}


def typed_columns(
    given: Mapping[str, ColumnGiven],
    declared: Mapping[str, ColumnType],
    count: int,
    metadata: Objects | None,
) -> tuple[dict[str, Column], Objects | None]:
    """Return typed columns, and the metadata with those that a binary column cannot hold.

    (An ``i64`` or ``bool`` with nulls goes in metadata: PROTOCOL section 7.)
    """
    made: dict[str, Column] = {}
    for name, values in given.items():
        if name not in declared:
            raise BadMetadata(f"columns.{name}: not a declared column")
        name = str.__str__(name)
        column, listed = _column(name, values, declared[name], count)
        if listed is not None and _has_unsendable_null(column):
            metadata = _folded(name, listed, metadata)
        else:
            made[name] = column
    check_columns(made, declared, count)
    return made, metadata


def _column(
    name: str, values: ColumnGiven, type_: ColumnType, count: int
) -> tuple[Column, list[Any] | None]:
    """A column, and its values as a list where that was needed."""
    if isinstance(values, StrColumn):
        return _coded(name, values), None
    array = values if isinstance(values, np.ndarray) else None
    if array is None and not isinstance(values, list | tuple):
        array = of_another_library(values)
    if array is None and (
        not isinstance(values, Sequence) or isinstance(values, str | bytes | bytearray | memoryview)
    ):
        raise BadMetadata(f"columns.{name}: must be a list of values, not {kind(values)}")
    if (array is not None and array.ndim != 1) or len(values if array is None else array) != count:
        shape = array.shape if array is not None and array.ndim != 1 else len(values)
        raise BadMetadata(f"columns.{name}: {shape} values for {count} rows")
    if array is not None and type_ in _TAKEN and not isinstance(array, np.ma.MaskedArray):
        kinds, dtype = _TAKEN[type_]
        if array.dtype.kind in kinds and array.dtype.kind + str(array.dtype.itemsize) != "u8":
            with np.errstate(over="ignore", invalid="ignore"):
                return np.ascontiguousarray(array, dtype), None
    listed = [_value(one) for one in _listed(values, array)]
    found = from_metadata([{name: value} for value in listed], {name: type_})
    return found.get(name, _all_null(type_, len(listed))), listed


def _listed(values: Any, array: Any) -> Any:
    """A column value by value, by its own library where it has one: as an array, integers with
    nulls become floats."""
    if array is None or isinstance(values, np.ndarray):
        return values if array is None else array.tolist()
    for name in ("to_pylist", "to_list"):
        own = getattr(values, name, None)
        if callable(own):
            return own()
    return array.tolist()


def _value(value: Any) -> Any:
    """``value`` as metadata has it; of another library what Python calls it, or None."""
    if type(value) in (int, float, str, bool):
        return value
    if is_missing(value):
        return None
    value = unwrapped(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value


def _coded(name: str, column: Any) -> StrColumn:
    """A column of codes of the right parts; what they hold is ``check_columns``'s to look at."""
    if not isinstance(column.codes, np.ndarray) or column.codes.ndim != 1:
        raise BadMetadata(f"columns.{name}: codes must be an array (n,)")
    if not isinstance(column.dictionary, tuple | list):
        raise BadMetadata(f"columns.{name}: a dictionary must be a tuple of strings")
    texts = [str.__str__(one) if isinstance(one, str) else one for one in column.dictionary]
    return StrColumn(column.codes, tuple(texts))


def _all_null(type_: ColumnType, count: int) -> Column:
    if type_ == "str":
        return StrColumn(np.full(count, NULL_CODE, np.uint32), ())
    nulls: dict[ColumnType, Column] = {
        "f64": np.full(count, np.nan),
        "i64": np.full(count, NULL_INTEGER, np.int64),
        "bool": np.full(count, NULL_BOOLEAN, np.uint8),
    }
    return nulls[type_]


def _has_unsendable_null(column: Column) -> bool:
    if isinstance(column, StrColumn) or column.dtype == np.float64:
        return False
    null = NULL_INTEGER if column.dtype == np.int64 else NULL_BOOLEAN
    return bool((column == null).any())


def _folded(name: str, listed: list[Any], metadata: Objects | None) -> Objects:
    """Return ``metadata`` with the non-null values under ``name``; the objects are copies."""
    rows: list[dict[str, Any] | None] = []
    for row, value in enumerate(listed):
        there = metadata[row] if metadata is not None else None
        if there is not None and name in there:
            raise BadMetadata(f"metadata.{name}: stands both in metadata and in columns", row=row)
        rows.append(there if value is None else {**(there or {}), name: value})
    return rows


def part_of(column: Column, start: int, stop: int) -> Column:
    """Rows ``start`` to ``stop`` of a column; a dictionary holds only what they use."""
    if not isinstance(column, StrColumn):
        return column[start:stop]
    codes = column.codes[start:stop]
    used, places = np.unique(codes, return_inverse=True)
    if len(used) and used[-1] == NULL_CODE:
        used = used[:-1]
        places = np.where(codes == NULL_CODE, NULL_CODE, places)
    dictionary = tuple(column.dictionary[code] for code in used.tolist())
    return StrColumn(places.astype(np.uint32), dictionary)
