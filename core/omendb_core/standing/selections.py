"""Which rows of their lists live queries with a selection take.

The same answers as ``ranking.selection.Selector`` gives; where there is only a ``group``, of many
lists at once (1 µs a list and up, where a Selector takes 50). Knows lists, shapes and the window's
state; nothing of floors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..model.types import F32, I64, Bool1
from ..ranking.selection import Selector
from ..ranking.shape import Shape
from ..state import WindowState
from .lists import Lists
from .table import Table


class Chosen(NamedTuple):
    """``entries`` bool (n, width) of lists that are in the answers; ``counts`` int64, how many."""

    entries: Bool1
    counts: I64


class Selections:
    """The selections of one window's live queries."""

    def __init__(self, state: WindowState, table: Table) -> None:
        self._state = state
        self._table = table

    def choose(self, lists: Lists, owners: I64, base: int) -> Chosen:
        """What each of ``owners``, whose lists these are, takes of its list."""
        rows = self._table.places[owners]
        chosen = np.zeros((len(owners), lists.width), np.bool_)
        shapes = [self._table.shapes.of(owner) for owner in owners.tolist()]
        grouped: dict[str, list[int]] = {}
        for place, shape in enumerate(shapes):
            if shape.group is not None and shape.spread is None:
                grouped.setdefault(shape.group.column, []).append(place)
            else:
                entries = lists.entries(int(rows[place]))
                slots = self._slots(lists, rows[place : place + 1], base)[0, entries]
                scores = lists.scores(int(rows[place]))
                k = int(self._table.k[owners[place]])
                chosen[place, entries[self._taken(shape, k, slots, scores)]] = True
        for column, places in grouped.items():
            own = np.array(places)
            sizes = [_size(shapes[place]) for place in places]
            chosen[own] = self._grouped(
                lists, rows[own], column, np.array(sizes), self._table.k[owners[own]], base
            )
        return Chosen(chosen, np.count_nonzero(chosen, axis=1))

    def _taken(self, shape: Shape, k: int, slots: I64, scores: F32) -> I64:
        selector = Selector(self._state, shape, k)
        selector.read(slots, scores)
        return selector.taken()

    def _grouped(
        self, lists: Lists, rows: I64, column: str, sizes: I64, k: I64, base: int
    ) -> Bool1:
        """At most ``sizes[i]`` rows of each value, best first, and at most ``k[i]``."""
        most = int(lists.counts[rows].max(initial=0))
        is_there = np.arange(most) < lists.counts[rows][:, None]
        # Best first, as the selection reads them.
        slots = self._slots(lists, rows, base)[:, ::-1][:, :most]
        values = self._state.columns.values(column, slots.ravel())
        if values.dtype == np.float64:
            # What is equal has equal bits: there is one null, and -0 is 0.
            values = np.where(np.isnan(values), np.inf, values + 0.0).view(np.int64)
        values = values.reshape(slots.shape)
        order = np.argsort(values, axis=1, kind="stable")
        values = np.take_along_axis(values, order, axis=1)
        begins = np.ones(values.shape, np.bool_)
        begins[:, 1:] = values[:, 1:] != values[:, :-1]
        places = np.arange(most)
        ordinals = places - np.maximum.accumulate(np.where(begins, places, 0), axis=1)
        taken = np.empty(values.shape, np.bool_)
        np.put_along_axis(taken, order, ordinals < sizes[:, None], axis=1)
        taken &= is_there
        taken &= np.cumsum(taken, axis=1) <= k[:, None]
        chosen = np.zeros((len(rows), lists.width), np.bool_)
        chosen[:, lists.width - most :] = taken[:, ::-1]
        return chosen

    def _slots(self, lists: Lists, rows: I64, base: int) -> I64:
        """Slots (n, width) of the rows in lists; any slot where there is none."""
        return self._state.ring.slots(np.maximum(lists.offsets(rows), 1) + np.uint64(base))


def _size(shape: Shape) -> int:
    assert shape.group is not None, "a selection without a group"
    return shape.group.size
