"""What a batch brings as metadata, made into typed columns and checked (PROTOCOL sections 4, 7).

Two sources: metadata objects of JSON rows (``from_metadata``) and typed arrays of a binary frame
(``check_columns``); ``merge`` joins them. Pure functions of a batch and the declared columns; every
refusal is BadMetadata and names the column, and the row where one is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

import numpy as np

from ..model.errors import BadMetadata
from ..model.types import (
    MAX_SAFE_INTEGER,
    NULL_BOOLEAN,
    NULL_CODE,
    NULL_INTEGER,
    Bool1,
    Column,
    ColumnType,
    StrColumn,
)

_EXPECTED: Final[dict[ColumnType, str]] = {
    "f64": "a finite number",
    "i64": "an integer within ±(2**53 - 1)",
    "bool": "true or false",
    "str": "a string of Unicode text",
}


def from_metadata(
    metadata: Sequence[Mapping[str, Any] | None], columns: Mapping[str, ColumnType]
) -> dict[str, Column]:
    """Typed columns (n,) of the declared keys in n metadata objects (None: an empty one).

    A column that no row has a value for is left out. Other keys are passed over. Raises BadMetadata
    with ``row`` for a value of another type than the column's, or what is no object.
    """
    # The types first: to ask an abstract class takes as long as all else that is done here.
    if not set(map(type, metadata)) <= _OBJECTS:
        for row, entry in enumerate(metadata):
            if entry is not None and not isinstance(entry, Mapping):
                raise BadMetadata("metadata: must be an object", row=row)
    made: dict[str, Column] = {}
    for name, type_ in columns.items():
        values = [None if entry is None else entry.get(name) for entry in metadata]
        kinds = set(map(type, values))
        if kinds - _NOTHING:
            column = _typed_at_once(type_, values, kinds)
            made[name] = _typed(name, type_, values) if column is None else column
    return made


def null_column(type_: ColumnType, count: int) -> Column:
    """A column of ``count`` nulls."""
    if type_ == "str":
        return StrColumn(np.full(count, NULL_CODE, np.uint32), ())
    _, null, dtype = _SCALARS[type_]
    column: Column = np.full(count, null, dtype)
    return column


def _typed_at_once(type_: ColumnType, values: list[Any], kinds: set[type]) -> Column | None:
    """What ``_typed`` makes of values of these types, a third as long; None if one is refused, or
    may be."""
    if not kinds <= _KINDS[type_]:
        return None
    if type_ == "str":
        return _texts_at_once(values)
    _, null, dtype = _SCALARS[type_]
    nulls = values.count(None) if _NONE in kinds else 0
    try:
        column = np.array([null if one is None else one for one in values] if nulls else values,
                          dtype)  # fmt: skip
    except OverflowError:
        return None
    if type_ == "f64":
        refused = ~np.isfinite(column)
    elif type_ == "i64":
        refused = (column > MAX_SAFE_INTEGER) | (column < -MAX_SAFE_INTEGER)
    else:
        return column
    return column if np.count_nonzero(refused) == nulls else None


def _texts_at_once(values: list[str | None]) -> StrColumn | None:
    codes: dict[str | None, int] = dict.fromkeys(values, NULL_CODE)
    texts = tuple(text for text in codes if text is not None)
    if not all(map(is_text, texts)):
        return None
    codes.update(zip(texts, range(len(texts)), strict=True))
    return StrColumn(np.fromiter(map(codes.__getitem__, values), np.uint32, len(values)), texts)


def _typed(name: str, type_: ColumnType, values: list[Any]) -> Column:
    if type_ == "str":
        return _texts(name, values)
    accepts, null, dtype = _SCALARS[type_]
    checked = []
    for row, value in enumerate(values):
        if value is None:
            checked.append(null)
        elif accepts(value):
            checked.append(value)
        else:
            raise _bad_value(name, type_, row)
    return np.array(checked, dtype)


def _texts(name: str, values: list[Any]) -> StrColumn:
    codes: dict[str, int] = {}
    coded = []
    for row, value in enumerate(values):
        if value is None:
            coded.append(NULL_CODE)
            continue
        if not isinstance(value, str):
            raise _bad_value(name, "str", row)
        code = codes.get(value)
        if code is None:
            if not is_text(value):
                raise _bad_value(name, "str", row)
            code = codes[value] = len(codes)
        coded.append(code)
    return StrColumn(np.array(coded, np.uint32), tuple(codes))


def _bad_value(name: str, type_: ColumnType, row: int) -> BadMetadata:
    return BadMetadata(f"metadata.{name}: must be {_EXPECTED[type_]} or null", row=row)


def is_finite_number(value: Any) -> bool:
    """Whether ``value`` is an int or float (no bool) that is finite as float64."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return isfinite(value)
    except OverflowError:  # an int beyond every float64
        return False


def is_safe_integer(value: Any) -> bool:
    """Whether ``value`` is an int (no bool, no 3.0) within ±(2**53 - 1)."""
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER
    )


def is_boolean(value: Any) -> bool:
    """Whether ``value`` is true or false."""
    return isinstance(value, bool)


def is_text(value: str) -> bool:
    """Whether ``value`` can be UTF-8: it has no lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_SCALARS: Final[dict[str, tuple[Any, float | int, type[np.generic]]]] = {
    "f64": (is_finite_number, float("nan"), np.float64),
    "i64": (is_safe_integer, NULL_INTEGER, np.int64),
    "bool": (is_boolean, NULL_BOOLEAN, np.uint8),
}

_NONE: Final = type(None)
_NOTHING: Final = {_NONE}
_OBJECTS: Final = {dict, _NONE}
#: Types whose values a column takes, but for some numbers and texts; not their subclasses.
_KINDS: Final[dict[ColumnType, set[type]]] = {
    "f64": {float, int, _NONE},
    "i64": {int, _NONE},
    "bool": {bool, _NONE},
    "str": {str, _NONE},
}


def check_columns(
    batch: Mapping[str, Column], columns: Mapping[str, ColumnType], count: int
) -> None:
    """Check the columns of a binary frame of ``count`` rows against the declared ones.

    Raises BadMetadata: an undeclared name, another dtype or length, and with ``row`` an ``i64``
    beyond ±(2**53 - 1), a ``bool`` byte above 1, an infinite ``f64``, a code without a text.
    """
    for name, column in batch.items():
        if name not in columns:
            raise BadMetadata(f"columns.{name}: not a declared column")
        type_ = columns[name]
        array = column.codes if isinstance(column, StrColumn) else column
        dtype = np.dtype(np.uint32) if type_ == "str" else np.dtype(_SCALARS[type_][2])
        if isinstance(column, StrColumn) != (type_ == "str") or array.dtype != dtype:
            raise BadMetadata(f"columns.{name}: must be of type {type_}")
        if array.shape != (count,):
            raise BadMetadata(f"columns.{name}: {len(array)} values for {count} rows")
        if isinstance(column, StrColumn):
            texts: tuple[Any, ...] = column.dictionary
            if not all(isinstance(text, str) and is_text(text) for text in texts):
                raise BadMetadata(f"columns.{name}: a dictionary holds strings of Unicode text")
        wrong = _wrong(type_, column)
        if wrong.any():
            raise BadMetadata(
                f"columns.{name}: must be {_IN_FRAMES[type_]}", row=int(wrong.argmax())
            )


_IN_FRAMES: Final[dict[ColumnType, str]] = {
    "f64": "a finite number, or NaN for null",
    "i64": "an integer within ±(2**53 - 1); null goes in metadata",
    "bool": "0 or 1; null goes in metadata",
    "str": "a code of its dictionary, or 2**32 - 1 for null",
}


def _wrong(type_: ColumnType, column: Column) -> Bool1:
    """Which values a frame may not hold."""
    wrong: Bool1
    if isinstance(column, StrColumn):
        wrong = (column.codes >= len(column.dictionary)) & (column.codes != NULL_CODE)
    elif type_ == "f64":
        wrong = np.isinf(column)
    elif type_ == "i64":
        wrong = (column > MAX_SAFE_INTEGER) | (column < -MAX_SAFE_INTEGER)
    else:
        wrong = column > 1
    return wrong


def merge(typed: Mapping[str, Column], frame: Mapping[str, Column]) -> dict[str, Column]:
    """Columns out of metadata and columns of the frame together; a name may be in one only."""
    for name in frame:
        if name in typed:
            raise BadMetadata(f"metadata.{name}: stands both in metadata and in columns")
    return {**typed, **frame}
