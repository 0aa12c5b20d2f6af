"""Ranks of rows under the orders of many live queries at once, and which scores may matter.

The ranks are those of ``ranking.orders``, to the bit; under ``decay`` all half-lives together.

**The reach of a decayed list.** Its floor has a rank R, new rows are matched by scores. Let T be
the largest fl(t / h) of the rows of a call. A row of score s ranks fl(L(s) + fl(t / h)), at most
fl(L(s) + T), where L is the project's log2, and it is not above the floor if that is below R. Every
rounding is off by 2**-53 of its result, L by 2**-45 (|log2 s| ≤ 150), R - T by 2**-53 (|R| + |T|):
all of it is less than ``_SLACK`` + ``_ROUNDING`` (|R| + |T|). So no row below 2**(R - T) less that
slack is above the floor. With a floor that has no rank, any row with one is above it, and rows
without one by their scores. Under ``rank`` the bounds of the expression tell (``ranking.bounds``),
where queries and rows are so many that ranking all takes longer than that.

Knows the window's state, and shapes; nothing of lists.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..model.types import F32, F64, I64, Bool1
from ..ranking import bounds, orders
from ..ranking.shape import Decay, Rank
from ..state import WindowState
from .ordered_keys import NO_ROW, scores_of
from .shapes import Shapes

_SLACK: Final = 2.0**-40
_ROUNDING: Final = 2.0**-50
#: Between these, powers of two are made by numpy, whose errors are far below this factor.
_LEAST_EXPONENT: Final = -126.0
_MOST_EXPONENT: Final = 128.0
_LESS: Final = 1.0 - 2.0**-20
_LEAST_SCORE: Final = np.float32(2.0**-149)
#: Pairs of a rank's queries with rows: 25 ns each to be scored and ranked. Bounds take 0.2 ms.
_LEAST_PAIRS: Final = 1 << 13


class Orders:
    """The orders of one window's live queries."""

    def __init__(self, state: WindowState, shapes: Shapes) -> None:
        self._state = state
        self._shapes = shapes

    def decay(self, handles: I64) -> Bool1:
        """Which of these queries, all with an order, decay."""
        decays: Bool1 = ~np.isnan(self._shapes.half_lives[handles])
        return decays

    def have_places(self, handles: I64, ranks: F64) -> Bool1:
        """Which rows have a place in the order: under ``rank`` those of null have none."""
        return ~np.isnan(ranks) | self.decay(handles)

    def ranks(self, handles: I64, slots: I64, scores: F32) -> F64:
        """Ranks float64 (n,), NaN for null, of rows for queries that have an order."""
        found = np.empty(len(handles))
        numbers = self._shapes.orders[handles]
        by_number = np.argsort(numbers, kind="stable")
        ends = np.flatnonzero(np.diff(numbers[by_number])) + 1
        for own in np.split(by_number, ends) if len(handles) else ():
            order = self._shapes.distinct[int(numbers[own[0]])]
            if isinstance(order, Decay):
                times = orders.times(order, self._state, slots[own])
                half_lives = self._shapes.half_lives[handles[own]]
                found[own] = orders.decayed(scores[own], times, half_lives)
            else:
                found[own] = orders.ranks(order, self._state, slots[own], scores[own])
        return found

    def reach(self, least: F32, slots: I64) -> F32:
        """The scores from which rows in ``slots`` may enter lists, float32 by handle.

        ``least`` are those of the queries whatever their floors: +inf where none may enter.
        """
        shapes, used = self._shapes, len(least)
        numbers = shapes.orders[:used]
        reach = least
        for number, order in shapes.distinct.items():
            is_rank = isinstance(order, Rank)
            if is_rank and shapes.uses_of(number) * len(slots) < _LEAST_PAIRS:
                continue
            own = np.flatnonzero((numbers == number) & (least < np.inf))
            if not len(own):
                continue
            if reach is least:
                reach = least.copy()
            if isinstance(order, Rank):
                found = self._ranked(order, own, float(least[own].min()), slots)
            else:
                found = self._decayed(own, orders.times(order, self._state, slots))
            reach[own] = np.maximum(least[own], found)
        return reach

    def _ranked(self, rank: Rank, handles: I64, least: float, slots: I64) -> F32:
        floors, state = self._shapes.floors[handles].real, self._state
        return bounds.reach(
            rank.expression, floors, state.columns, slots, state.definition.metric, least
        )

    def _decayed(self, handles: I64, times: F64) -> F32:
        floors, half_lives = self._shapes.floors[handles], self._shapes.half_lives[handles]
        is_timed = bool((~np.isnan(times)).any())
        with np.errstate(all="ignore"):
            latest = np.nanmax(times) / half_lives if is_timed else np.full(len(floors), -np.inf)
            slack = _SLACK + _ROUNDING * (np.abs(floors.real) + np.abs(latest))
            exponents = floors.real - latest - slack
            reach = (np.exp2(exponents) * _LESS).astype(np.float32)
        reach[exponents < _LEAST_EXPONENT] = _LEAST_SCORE
        reach[~(exponents < _MOST_EXPONENT)] = np.inf
        unranked = np.flatnonzero(np.isneginf(floors.real))
        by_score = scores_of(floors[unranked])
        by_score[floors[unranked] == NO_ROW] = -np.inf
        reach[unranked] = np.minimum(by_score, _LEAST_SCORE) if is_timed else by_score
        return reach
