"""Rows that are apart: none is near one that was taken before, as ``spread`` has it (PROTOCOL 5).

Knows vectors, and which rows were taken. In C each row is held against those taken, one by one
(``native/selection.c``); in numpy some rows at once against all of them, and then each other. Where
many were taken, and many are to be looked at, the kernel that matches standing queries finds those
that are near: what was taken is the queries.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from .. import native
from ..model.types import F32, I64, Bool1
from ..rows.shadow import Shadow
from ..scan.interface import UNBOUNDED, Subscribed
from ..scoring import score
from ..state import WindowState
from .grouped import Grouped
from .shape import Spread

#: Rows that are held against each other at once: more make pairs of rows that one of them would
#: have spared, fewer make more calls (k = 10 of 384 dimensions: 16 and 64 took a third longer).
_ROWS: Final = 32
#: Where hardly any is far from those taken there are no such pairs, and blocks grow up to this (one
#: row taken, then none of 100,000 x 64: 50 ms instead of 120).
_MOST_ROWS: Final = 4096
#: Elements multiplied in a piece: a millisecond.
_PIECE_ELEMENTS: Final = 8 << 20
#: With so many taken the kernel finds those that are near: 648 of 100,000 x 128 are taken in 120 ms
#: instead of 190, 500 of at most five of a group in 25 instead of 60.
_MANY: Final = 64
#: So many of those taken at once: a row that is near all of them is scored with as many.
_TOGETHER: Final = 128
#: Elements of a piece then, and rows at most: 2 ms.
_MATCHED_ELEMENTS: Final = 32 << 20
_MOST_MATCHED: Final = 2048


class Apart:
    """``slots``, at most ``most``, of rows that no other of them scores ``max_similarity`` with."""

    def __init__(
        self, state: WindowState, spread: Spread, most: int, grouped: Grouped | None
    ) -> None:
        self._state = state
        self._limit = np.float32(spread.max_similarity)
        self._grouped = grouped
        self._taken = np.zeros(most, np.int64)
        self._held = 0
        self._at_once = _ROWS
        self._queries: list[_Queries] = []

    def take(self, slots: I64) -> tuple[I64, int]:
        """Places of the rows that are taken of some that come next, and how many were read."""
        if native.is_used:
            return self._take_in_c(slots)
        return self._take(slots)

    def _take_in_c(self, slots: I64) -> tuple[I64, int]:
        if self._held < _MANY:
            slots = slots[: self._rows_at_once()]
            return self._apart_in_c(slots, 0), len(slots)
        each = self._state.definition.dim * self._held
        slots = slots[: max(1, min(self._at_once, _MATCHED_ELEMENTS // each))]
        far = np.arange(len(slots))
        if self._grouped is not None:
            far = np.flatnonzero(self._grouped.has_room(slots))
        far = far[~self._is_near(slots[far])]
        # What is left is held against each other.
        most = math.isqrt(2 * _PIECE_ELEMENTS // self._state.definition.dim) + 1
        self._at_once = min(2 * self._at_once, _MOST_MATCHED) if len(far) < most // 2 else most
        read = len(slots)
        if len(far) > most:
            read, far = int(far[most]), far[:most]
        return far[self._apart_in_c(slots[far], self._held)], read

    def _rows_at_once(self) -> int:
        """So many that each is held against all that may be taken until then within a piece."""
        pairs = _PIECE_ELEMENTS // self._state.definition.dim
        rows = (math.isqrt(self._held**2 + 4 * pairs) - self._held) // 2
        return max(1, rows, pairs // len(self._taken))

    def _apart_in_c(self, slots: I64, known: int) -> I64:
        """Places of the rows that are taken; all are far from the ``known`` first ones before."""
        groups = None if self._grouped is None else self._grouped.codes(slots)
        places = np.empty(len(self._taken) - self._held, np.int64)
        found = native.compiled.take_apart(
            native.lanes,
            self._state.definition.metric == "l2",
            self._state.ring.vectors,
            native.readable(slots),
            groups,
            float(self._limit),
            self._taken,
            self._held,
            known,
            places,
        )
        self._held += found
        places = places[:found]
        if self._grouped is not None:
            self._grouped.note(slots[places])
        return places

    def _take(self, slots: I64) -> tuple[I64, int]:
        each = self._state.definition.dim * (self._held + _ROWS)
        slots = slots[: max(1, min(self._at_once, _PIECE_ELEMENTS // each))]
        far = np.arange(len(slots))
        if self._grouped is not None:
            far = np.flatnonzero(self._grouped.has_room(slots))
        far = far[~self._is_near(slots[far])]
        is_few = len(far) <= _ROWS // 4
        self._at_once = min(2 * self._at_once, _MOST_ROWS) if is_few else _ROWS
        read = len(slots)
        if len(far) > _ROWS:
            read, far = int(far[_ROWS]), far[:_ROWS]
        places = far[self._apart(slots[far])]
        self._taken[self._held : self._held + len(places)] = slots[places]
        self._held += len(places)
        return places, read

    def _apart(self, slots: I64) -> list[int]:
        """Places of those of a few rows, far from all that were taken, that are apart."""
        near = self._likeness(slots) >= self._limit
        open_still = np.ones(len(slots), np.bool_)
        places: list[int] = []
        for place in range(len(slots)):
            if len(places) == len(self._taken) - self._held:
                break
            if not open_still[place]:
                continue
            if self._grouped is not None and not len(
                self._grouped.take(slots[place : place + 1], 1)
            ):
                continue
            places.append(place)
            open_still &= ~near[place]
        return places

    def _is_near(self, slots: I64) -> Bool1:
        """Which rows score at least the limit with one that was taken."""
        if not self._held or not len(slots):
            return np.zeros(len(slots), np.bool_)
        if self._held >= _MANY:
            return self._is_near_many(slots)
        metric, vectors = self._state.definition.metric, self._state.ring.vectors
        taken = self._taken[: self._held]
        scores = score.score_chosen(
            metric,
            vectors,
            np.repeat(slots, len(taken)),
            vectors[taken],
            np.tile(np.arange(len(taken)), len(slots)),
        )
        is_near: Bool1 = np.any(scores.reshape(len(slots), -1) >= self._limit, axis=1)
        return is_near

    def _is_near_many(self, slots: I64) -> Bool1:
        """By some of those taken after the other: who is near one need not be held to the rest."""
        state, near = self._state, np.zeros(len(slots), np.bool_)
        for number, first in enumerate(range(0, self._held, _TOGETHER)):
            taken = self._taken[first : min(first + _TOGETHER, self._held)]
            if number == len(self._queries):
                self._queries.append(_Queries(state, min(_TOGETHER, len(self._taken) - first)))
            left = np.flatnonzero(~near)
            pairs = state.scan.pairs_above(
                state.definition.metric,
                state.ring.vectors[slots[left]],
                state.ring.norms[slots[left]],
                self._queries[number].of(state, taken),
                np.full(len(taken), self._limit),
                np.full(len(taken), UNBOUNDED),
            )
            near[left[pairs.rows]] = True
        return near

    def _likeness(self, slots: I64) -> F32:
        """Scores float32 (n, n) of rows with each other, above the diagonal; -inf elsewhere."""
        count = len(slots)
        rows, others = np.triu_indices(count, 1)
        found = np.full((count, count), -np.inf, np.float32)
        vectors = self._state.ring.vectors
        found[rows, others] = score.score_chosen(
            self._state.definition.metric,
            vectors,
            slots[others],
            vectors[slots],
            rows.astype(np.int64),
        )
        return found


class _Queries:
    """Rows of a ring as standing queries, of which there are more and more."""

    def __init__(self, state: WindowState, most: int) -> None:
        dim = state.definition.dim
        self._vectors = np.empty((most, dim), np.float32)
        self._norms = np.empty(most)
        self._shadow: Shadow | None = None
        self._count = 0
        if state.ring.shadow is not None:
            self._shadow = Shadow(most, dim, state.definition.metric)
            self._shadow.centre = state.ring.shadow.centre.copy()

    def of(self, state: WindowState, slots: I64) -> Subscribed:
        """Those in ``slots``, the first of which it has."""
        new = slice(self._count, len(slots))
        if self._count < len(slots):
            rows = state.ring.vectors[slots[new]]
            self._vectors[new], self._norms[new] = rows, score.norms(rows)
            if self._shadow is not None:
                self._shadow.write(new.start, rows)
            self._count = len(slots)
        return Subscribed(self._vectors[: new.stop], self._norms[: new.stop], self._shadow)
