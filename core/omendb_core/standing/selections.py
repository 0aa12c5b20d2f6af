"""Which rows of their lists live queries with a selection take.

The same answers as ``ranking.selection.Selector`` gives: where there is only a ``group``, of many
lists at once (1 µs a list and up, where a Selector takes 50); where there is a ``spread``, which
takes a millisecond for a deep list, read again only if new rows make a difference. Knows lists,
shapes and the window's state; nothing of floors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..model.types import F32, I64, U64, Bool1
from ..ranking.selection import Selector
from ..ranking.shape import Shape
from ..state import WindowState
from .lists import Keys, Lists
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
        #: The window's last seq when a query with a ``spread`` was last answered out of its list.
        self._seen: dict[int, int] = {}

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
                chosen[place, self._spread(lists, int(owners[place]), shape, base)] = True
        for column, places in grouped.items():
            own = np.array(places)
            sizes = [_size(shapes[place]) for place in places]
            chosen[own] = self._grouped(
                lists, rows[own], column, np.array(sizes), self._table.k[owners[own]], base
            )
        return Chosen(chosen, np.count_nonzero(chosen, axis=1))

    def forget(self, handles: I64) -> None:
        """The lists of these queries were made anew."""
        for handle in handles.tolist():
            self._seen.pop(handle, None)

    def forget_all(self) -> None:
        """Rows that were there before may stand elsewhere, or be in lists that they were not in."""
        self._seen.clear()

    def _spread(self, lists: Lists, owner: int, shape: Shape, base: int) -> I64:
        """Places of the entries that are taken."""
        row = int(self._table.places[owner])
        first = lists.width - int(lists.counts[row])
        keys = lists.keys[row, first:]
        seqs = lists.kind.offsets_of(keys) + np.uint64(base)
        seen, self._seen[owner] = self._seen.get(owner), self._state.last_seq
        if seen is not None:
            before = self._taken_still(lists, row, keys)
            if before is not None:
                both = self._may_change(owner, seqs, before, seen)
                scores = lists.kind.scores_of(keys[both])
                if np.array_equal(both[self._taken(owner, shape, scores, seqs[both])], before):
                    return first + before
        return first + self._taken(owner, shape, lists.kind.scores_of(keys), seqs)

    def _taken_still(self, lists: Lists, row: int, keys: Keys) -> I64 | None:
        """Places in ``keys`` of what the list answered last; None if some of it has left."""
        answered = lists.published[row]
        answered = answered[answered != lists.kind.no_row]
        places = np.searchsorted(keys, answered)
        if not len(places) or places[-1] >= len(keys) or (keys[places] != answered).any():
            return None
        found: I64 = places
        return found

    def _may_change(self, owner: int, seqs: U64, before: I64, seen: int) -> I64:
        """Places of the rows that were taken, and of those that came after ``seen`` and may be.

        A row is taken or skipped by what was taken before it. So if of these rows the same are
        taken as before, they are of all rows.
        """
        came = np.flatnonzero(seqs > seen)
        if len(before) == self._table.k[owner]:
            came = came[came > before[0]]  # nothing is taken behind the last
        return np.union1d(before, came)

    def _taken(self, owner: int, shape: Shape, scores: F32, seqs: U64) -> I64:
        """Places, ascending, of what is taken of rows that come in order, the best one last."""
        selector = Selector(self._state, shape, int(self._table.k[owner]))
        selector.read(self._state.ring.slots(seqs[::-1]), scores[::-1])
        places: I64 = len(seqs) - 1 - selector.places()[::-1]
        return places

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
