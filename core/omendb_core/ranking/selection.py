"""The selection of k rows out of an order: which are taken, and which skipped (PROTOCOL section 5).

A ``Selector`` reads rows in order and decides on each by what it has taken already. Whoever uses
it gives it the first rows, and further ones until it ``is_done`` or there are no more: so a
selection is exact over the whole window, however deep it reads. Knows the window's state (values of
the column that groups, vectors, the metric); nothing of how rows were found or ordered.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..model.types import F32, F64, I64, Bool1
from ..scoring import score
from ..state import WindowState
from .shape import Group, Mmr, Shape, Spread

#: Rows that are held against each other at once: more make pairs of rows that one of them would
#: have spared, fewer make more calls (k = 10 of 384 dimensions: 16 and 64 took a third longer).
_SPREAD_ROWS: Final = 32
#: Where hardly any is far from those taken there are no such pairs, and blocks grow up to this (one
#: row taken, then none of 100,000 x 64: 50 ms instead of 120).
_MOST_SPREAD_ROWS: Final = 4096
#: Elements multiplied, and rows grouped, in a piece.
_PIECE_ELEMENTS: Final = 4 << 20
_GROUPED_ROWS: Final = 8 << 10
_NONE: Final = np.empty(0, np.int64)


class Selector:
    """One selection. ``taken`` are places among all rows read, in the order of taking."""

    def __init__(self, state: WindowState, shape: Shape, k: int) -> None:
        self._state = state
        self._mmr = shape.mmr
        self._wanted = k
        self._most = k if shape.mmr is None else shape.mmr.candidates
        self._grouped = None if shape.group is None else _Grouped(state, shape.group)
        self._spread = shape.spread
        self._at_once = _SPREAD_ROWS
        self._read = 0
        self._places: list[I64] = []
        self._slots: I64 = _NONE
        self._scores: list[F32] = []

    @property
    def is_done(self) -> bool:
        """Whether further rows would change nothing."""
        return len(self._slots) == self._most

    def read(self, slots: I64, scores: F32) -> None:
        """Look at further rows, in order."""
        for _ in self.read_in_pieces(slots, scores):
            pass

    def read_in_pieces(self, slots: I64, scores: F32) -> Generator[None, None, None]:
        """The same, in pieces of a millisecond or so; yields after each."""
        start = 0
        while start < len(slots) and not self.is_done:
            stop = start + self._rows_at_once()
            places, read = self._take(slots[start:stop])
            self._places.append(places + (self._read + start))
            self._slots = np.concatenate([self._slots, slots[start:stop][places]])
            self._scores.append(scores[start:stop][places])
            start += read
            yield
        self._read += len(slots)

    def taken(self) -> I64:
        """Places of the rows taken, int64 (≤ k,)."""
        if not self._places:
            return _NONE
        places = np.concatenate(self._places)
        if self._mmr is None:
            return places
        scores = np.concatenate(self._scores)
        return places[_most_marginal(self._state, self._mmr, self._wanted, self._slots, scores)]

    def taken_in_pieces(self) -> Generator[None, None, tuple[I64, F32]]:
        """Slots and scores of the rows taken, in pieces of a millisecond or so."""
        slots = self._slots
        scores = np.concatenate(self._scores) if self._scores else np.empty(0, np.float32)
        if self._mmr is None:
            return slots, scores
        places = yield from _marginal(self._state, self._mmr, self._wanted, slots, scores)
        return slots[places], scores[places]

    def _rows_at_once(self) -> int:
        if self._spread is None:
            return _GROUPED_ROWS
        each = self._state.definition.dim * (len(self._slots) + _SPREAD_ROWS)
        return max(1, min(self._at_once, _PIECE_ELEMENTS // each))

    def _take(self, slots: I64) -> tuple[I64, int]:
        """Places of the rows of a block that are taken, and how many of it were read."""
        most = self._most - len(self._slots)
        if self._spread is not None:
            return self._take_apart(self._spread, slots, most)
        if self._grouped is None:
            return np.arange(min(most, len(slots))), len(slots)
        return self._grouped.take(slots, most), len(slots)

    def _take_apart(self, spread: Spread, slots: I64, most: int) -> tuple[I64, int]:
        """Rows of a block that are far enough from all that were taken, and from each other."""
        state, limit = self._state, np.float32(spread.max_similarity)
        far = np.arange(len(slots))
        if self._grouped is not None:
            far = np.flatnonzero(self._grouped.has_room(slots))
        far = far[~_is_near(state, slots[far], self._slots, limit)]
        is_few = len(far) <= _SPREAD_ROWS // 4
        self._at_once = min(2 * self._at_once, _MOST_SPREAD_ROWS) if is_few else _SPREAD_ROWS
        read = len(slots)
        if len(far) > _SPREAD_ROWS:
            read, far = int(far[_SPREAD_ROWS]), far[:_SPREAD_ROWS]
        near = _likeness(state, slots[far]) >= limit
        open_still = np.ones(len(far), np.bool_)
        places: list[int] = []
        for place in range(len(far)):
            if not open_still[place]:
                continue
            if self._grouped is not None and not len(
                self._grouped.take(slots[far[place : place + 1]], 1)
            ):
                continue
            places.append(place)
            if len(places) == most:
                break
            open_still &= ~near[place]
        return far[places], read


class _Grouped:
    """How many rows of each value were taken."""

    def __init__(self, state: WindowState, group: Group) -> None:
        self._state = state
        self._group = group
        self._counts: dict[Any, int] = {}

    def take(self, slots: I64, most: int) -> I64:
        """Places of the first ``most`` rows whose group has room, and note that they are taken."""
        codes, values = self._codes(slots)
        before = np.array([self._counts.get(value, 0) for value in values], np.int64)
        places = np.flatnonzero(_ordinal(codes) + before[codes] < self._group.size)[:most]
        for code, count in enumerate(np.bincount(codes[places], minlength=len(values)).tolist()):
            if count:
                self._counts[values[code]] = int(before[code]) + count
        return places

    def has_room(self, slots: I64) -> Bool1:
        """Which rows are of groups that have room now."""
        codes, values = self._codes(slots)
        counts = [self._counts.get(value, 0) < self._group.size for value in values]
        return np.array(counts, np.bool_)[codes]

    def _codes(self, slots: I64) -> tuple[I64, list[Any]]:
        """Each row's group as a place in the list of distinct values; nulls are one value."""
        columns = self._state.columns
        values: NDArray[Any] = columns.values(self._group.column, slots)
        if values.dtype == np.float64:
            values = np.where(np.isnan(values), np.inf, values)  # no value of a column is infinite
        distinct, codes = np.unique(values, return_inverse=True)
        return codes.reshape(-1), distinct.tolist()


def _ordinal(codes: I64) -> I64:
    """How many of the same code stand before each."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    found = np.empty(len(codes), np.int64)
    found[order] = np.arange(len(codes)) - np.repeat(np.cumsum(counts) - counts, counts)
    return found


def _is_near(state: WindowState, slots: I64, taken: I64, limit: np.float32) -> Bool1:
    """Which rows score at least ``limit`` with one that was taken."""
    if not len(taken) or not len(slots):
        return np.zeros(len(slots), np.bool_)
    near: Bool1 = np.any(_scores(state, slots, taken) >= limit, axis=1)
    return near


def _likeness(state: WindowState, slots: I64) -> F32:
    """Scores float32 (n, n) of rows with each other, above the diagonal; -inf elsewhere."""
    count = len(slots)
    rows, others = np.triu_indices(count, 1)
    found = np.full((count, count), -np.inf, np.float32)
    vectors = state.ring.vectors
    found[rows, others] = score.score_chosen(
        state.definition.metric, vectors, slots[others], vectors[slots], rows.astype(np.int64)
    )
    return found


def _scores(state: WindowState, slots: I64, others: I64) -> F32:
    """Scores float32 (n, m) of stored rows with other stored rows."""
    vectors = state.ring.vectors
    flat = score.score_chosen(
        state.definition.metric,
        vectors,
        np.repeat(slots, len(others)),
        vectors[others],
        np.tile(np.arange(len(others)), len(slots)),
    )
    return flat.reshape(len(slots), len(others))


def _most_marginal(state: WindowState, mmr: Mmr, k: int, slots: I64, scores: F32) -> I64:
    """Places of the k rows that are taken one by one, each the best of those left."""
    steps = _marginal(state, mmr, k, slots, scores)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            places: I64 = end.value
            return places


def _marginal(
    state: WindowState, mmr: Mmr, k: int, slots: I64, scores: F32
) -> Generator[None, None, I64]:
    """The same; yields after each."""
    rows, every = state.ring.vectors[slots], np.arange(len(slots))
    metric, askers = state.definition.metric, np.zeros(len(slots), np.int64)
    relevance = mmr.relevance * scores.astype(np.float64)
    weight = 1.0 - mmr.relevance
    redundancy: F64 = np.full(len(slots), -np.inf)
    marginal = relevance.copy()
    places: list[int] = []
    for _ in range(min(k, len(slots))):
        best = int(marginal.argmax())  # the first of equal ones
        places.append(best)
        likeness = score.score_chosen(metric, rows, every, rows[best : best + 1], askers)
        np.maximum(redundancy, likeness, out=redundancy)
        marginal = relevance - weight * redundancy
        marginal[places] = -np.inf
        yield
    return np.array(places, np.int64)
