"""Rows that are apart: none is near one that was taken before, as ``spread`` has it (PROTOCOL 5).

Knows vectors, and which rows were taken. In C each row is held against those taken, one by one
(``native/selection.c``); in numpy some rows at once against all of them, and then each other. Where
many were taken, and many are to be looked at, the kernel that matches standing queries finds those
that are near: what was taken is the queries.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .. import native
from ..model.types import F32, I64, Bool1
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
#: Elements multiplied in a piece.
_PIECE_ELEMENTS: Final = 4 << 20


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

    def take(self, slots: I64) -> tuple[I64, int]:
        """Places of the rows that are taken of some that come next, and how many were read."""
        if native.is_used:
            return self._take_in_c(slots)
        return self._take(slots)

    def _take_in_c(self, slots: I64) -> tuple[I64, int]:
        most = len(self._taken)
        each = self._state.definition.dim * most
        slots = slots[: max(1, _PIECE_ELEMENTS // each)]
        groups = None if self._grouped is None else self._grouped.codes(slots)
        places = np.empty(most - self._held, np.int64)
        found = native.compiled.take_apart(
            native.lanes,
            self._state.definition.metric == "l2",
            self._state.ring.vectors,
            native.readable(slots),
            groups,
            float(self._limit),
            self._taken,
            self._held,
            0,
            places,
        )
        self._held += found
        places = places[:found]
        if self._grouped is not None:
            self._grouped.note(slots[places])
        return places, len(slots)

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
        taken = self._taken[: self._held]
        if not len(taken) or not len(slots):
            return np.zeros(len(slots), np.bool_)
        vectors = self._state.ring.vectors
        scores = score.score_chosen(
            self._state.definition.metric,
            vectors,
            np.repeat(slots, len(taken)),
            vectors[taken],
            np.tile(np.arange(len(taken)), len(slots)),
        )
        near: Bool1 = np.any(scores.reshape(len(slots), len(taken)) >= self._limit, axis=1)
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
