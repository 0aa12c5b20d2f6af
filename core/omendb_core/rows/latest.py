"""The greatest number of every 64 slots of a column: a scan under ``decay`` reads these instead.

Kept up with the writes of the columns, as masks are. Invariant (``check``): no live row has a
greater number than is said; rows that left may be what was greatest, until their slots are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.types import F64, I64, NULL_INTEGER, ColumnType
from .columns import Columns
from .ring import words_for

_ROWS: Final = 64


class _Kept(NamedTuple):
    """``total``: writes of the columns that are in it."""

    numbers: F64
    total: int


class Latest:
    """Of the ``f64`` and ``i64`` columns of one window that were asked for."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._kept: dict[str, _Kept] = {}

    @staticmethod
    def bytes_for(columns: Mapping[str, ColumnType], capacity: int) -> int:
        """Bytes that it may take for columns of these types."""
        numeric = sum(type_ in ("f64", "i64") for type_ in columns.values())
        return 8 * numeric * words_for(capacity)

    def of(self, column: str) -> F64:
        """float64 (words,), by mask words; -inf: none has a number. Not to be written to."""
        columns = self._columns
        kept = self._kept.get(column)
        written = None if kept is None else columns.writes.since(kept.total)
        if kept is None or written is None:
            words = np.arange(words_for(columns.used))
            numbers = np.full(words_for(columns.capacity), -np.inf)
        else:
            words, numbers = np.unique(written >> 6), kept.numbers
        if len(words):
            numbers[words] = self._greatest(column, words)
        self._kept[column] = _Kept(numbers, columns.writes.total)
        return numbers

    def _greatest(self, column: str, words: I64) -> F64:
        values = self._columns.values(column, slice(0, self._columns.used))
        whole = len(values) // _ROWS
        found = np.empty(len(words))
        is_whole = words < whole
        rows = values[: whole * _ROWS].reshape(-1, _ROWS)
        found[is_whole] = _largest(rows if is_whole.sum() == whole else rows[words[is_whole]])
        if not is_whole.all():
            found[~is_whole] = _largest(values[None, whole * _ROWS :])
        return found

    def check(self, slots: I64) -> None:
        """Raise AssertionError if a live row, of those in ``slots``, has a greater number."""
        for column in self._kept:
            values = self._columns.values(column, slots)
            numbers = _largest(values[:, None]) if len(slots) else np.empty(0)
            assert (self.of(column)[slots >> 6] >= numbers).all(), "a row is later than its word"


def _largest(values: NDArray[Any]) -> F64:
    """The greatest of each row of ``values`` (n, m) that is not null, float64 (n,); -inf: none."""
    if values.dtype == np.int64:
        most = values.max(axis=1)
        return np.where(most == NULL_INTEGER, -np.inf, most.astype(np.float64))
    with np.errstate(invalid="ignore"):
        largest: F64 = np.fmax.reduce(values, axis=1)
    return np.where(np.isnan(largest), -np.inf, largest)
