"""The greatest and the least number of every 64 slots of a column, and whether any is null.

A scan under ``decay`` reads these instead of the rows, and so do bounds of ``rank``. Kept up with
the writes of the columns, as masks are, for those words that were asked for. Invariant (``check``):
no live row has a number, or null, that is not said of its word; rows that left may be what is said,
until their slots are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.types import F64, I64, NULL_INTEGER, Bool1, ColumnType
from .columns import Columns
from .ring import words_for

_ROWS: Final = 64
_NUMERIC: Final = ("f64", "i64")

Kind = Literal["greatest", "least", "has_null"]


class _Kept:
    """Of one column, by mask words; ``fresh``: which of them are as after ``total`` writes."""

    def __init__(self, kind: Kind, capacity: int, total: int) -> None:
        words = words_for(capacity)
        self.values: NDArray[Any] = np.full(words, _KINDS[kind].of_none)
        self.fresh: Bool1 = np.zeros(words, np.bool_)
        self.total = total


class Extremes:
    """Of the ``f64`` and ``i64`` columns of one window that were asked for."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._kept: dict[tuple[Kind, str], _Kept] = {}

    @staticmethod
    def bytes_for(columns: Mapping[str, ColumnType], capacity: int) -> int:
        """Bytes that it may take for columns of these types."""
        numeric = sum(type_ in _NUMERIC for type_ in columns.values())
        return (8 + 1 + 8 + 1 + 1 + 1) * numeric * words_for(capacity)

    def knows(self, column: str) -> bool:
        """Whether it may be asked for this column."""
        return self._columns.types[column] in _NUMERIC

    def greatest(self, column: str, first: int = 0, stop: int | None = None) -> F64:
        """Of the words ``first … stop - 1``, float64; -inf: none has a number."""
        return self._of("greatest", column, first, stop)

    def least(self, column: str, first: int = 0, stop: int | None = None) -> F64:
        """As ``greatest``; +inf: none has a number."""
        return self._of("least", column, first, stop)

    def has_null(self, column: str, first: int = 0, stop: int | None = None) -> Bool1:
        """Whether any of the 64 is null."""
        return self._of("has_null", column, first, stop)

    def _of(self, kind: Kind, column: str, first: int, stop: int | None) -> NDArray[Any]:
        """Not to be written to."""
        columns = self._columns
        kept = self._kept.get((kind, column))
        if kept is None:
            kept = self._kept[kind, column] = _Kept(kind, columns.capacity, columns.writes.total)
        written = columns.writes.since(kept.total)
        kept.fresh[slice(None) if written is None else written >> 6] = False
        kept.total = columns.writes.total
        end = min(len(kept.values) if stop is None else stop, words_for(columns.used))
        words = np.flatnonzero(~kept.fresh[first:end]) + first
        if len(words):
            kept.values[words] = self._found(kind, column, words)
            kept.fresh[words] = True
        return kept.values[first:stop]

    def _found(self, kind: Kind, column: str, words: I64) -> NDArray[Any]:
        reduced = _KINDS[kind].reduced
        values = self._columns.values(column, slice(0, self._columns.used))
        whole = len(values) // _ROWS
        first, last = int(words[0]), int(words[-1]) + 1
        rows = values[: whole * _ROWS].reshape(-1, _ROWS)
        is_last = last > whole
        some = words[:-1] if is_last else words
        if len(some) == last - is_last - first:
            found = reduced(rows[first : last - is_last])
        else:
            found = reduced(rows[some])
        return np.append(found, reduced(values[None, whole * _ROWS :])) if is_last else found

    def check(self, slots: I64) -> None:
        """Raise AssertionError if a live row, of those in ``slots``, is beyond what is said."""
        for kind, column in self._kept:
            values = self._columns.values(column, slots)
            said = self._of(kind, column, 0, None)[slots >> 6]
            of_one = _KINDS[kind].reduced(values[:, None]) if len(slots) else said
            covers = _KINDS[kind].covers(said, of_one)
            assert covers.all(), f"a row is beyond the {kind} of its word"


def _greatest(values: NDArray[Any]) -> NDArray[Any]:
    """Of each row of ``values`` (n, m)."""
    if values.dtype == np.int64:
        most = values.max(axis=1)
        return np.where(most == NULL_INTEGER, -np.inf, most.astype(np.float64))
    return _or_none(np.fmax.reduce(values, axis=1), -np.inf)


def _least(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype == np.int64:
        # Less one, null is the greatest of all.
        least = (values.view(np.uint64) - np.uint64(1)).view(np.int64).min(axis=1)
        return np.where(least == _NULL_LESS_ONE, np.inf, (least + 1).astype(np.float64))
    return _or_none(np.fmin.reduce(values, axis=1), np.inf)


def _has_null(values: NDArray[Any]) -> NDArray[Any]:
    is_null = values == NULL_INTEGER if values.dtype == np.int64 else np.isnan(values)
    has_null: Bool1 = is_null.any(axis=1)
    return has_null


def _or_none(numbers: F64, of_none: float) -> F64:
    return np.where(np.isnan(numbers), of_none, numbers)


class _How(NamedTuple):
    """``covers``: whether what is said of a word covers what is true of a row."""

    reduced: Callable[[NDArray[Any]], NDArray[Any]]
    of_none: float | bool
    covers: Callable[[NDArray[Any], NDArray[Any]], Bool1]


_NULL_LESS_ONE: Final = np.iinfo(np.int64).max
_KINDS: Final[Mapping[Kind, _How]] = {
    "greatest": _How(_greatest, -np.inf, np.greater_equal),
    "least": _How(_least, np.inf, np.less_equal),
    "has_null": _How(_has_null, False, np.greater_equal),
}
