"""Of each value of a column at most so many rows: what ``group`` lets through (PROTOCOL section 5).

Knows the window's columns, and how many rows of each value were taken. Plain loops over a dict: a
row takes 0.1 us, which sorting the values of a block takes as well, and a search looks at twenty.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..model.types import I64, Bool1
from ..rows.columns import Columns
from .shape import Group


class Grouped:
    """How many rows of each value were taken."""

    def __init__(self, columns: Columns, group: Group) -> None:
        self._columns = columns
        self._group = group
        self._counts: dict[Any, int] = {}

    def take(self, slots: I64, most: int) -> I64:
        """Places of the first ``most`` rows whose group has room, and note that they are taken."""
        counts, size, places = self._counts, self._group.size, list[int]()
        for place, value in enumerate(self._values(slots)):
            count = counts.get(value, 0)
            if count < size:
                counts[value] = count + 1
                places.append(place)
                if len(places) == most:
                    break
        return np.array(places, np.int64)

    def has_room(self, slots: I64) -> Bool1:
        """Which rows are of groups that have room now."""
        counts, size = self._counts, self._group.size
        return np.array([counts.get(value, 0) < size for value in self._values(slots)], np.bool_)

    def codes(self, slots: I64) -> tuple[I64, I64, int]:
        """Each row's group by number, how many rows of each were taken, and how many may be."""
        places: dict[Any, int] = {}
        codes = [places.setdefault(value, len(places)) for value in self._values(slots)]
        counts = [self._counts.get(value, 0) for value in places]
        return np.array(codes, np.int64), np.array(counts, np.int64), self._group.size

    def note(self, slots: I64) -> None:
        """The rows in ``slots`` were taken."""
        for value in self._values(slots):
            self._counts[value] = self._counts.get(value, 0) + 1

    def _values(self, slots: I64) -> list[Any]:
        """Each row's; nulls are one value."""
        values = self._columns.values(self._group.column, slots)
        if values.dtype == np.float64:
            values[np.isnan(values)] = np.inf  # no value of a column is infinite
        found: list[Any] = values.tolist()
        return found
