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

from typing import Final, TypeAlias

import numpy as np

from ..model.types import F32, F64, I64, Bool1
from ..ranking import bounds, orders
from ..ranking.shape import Decay, Rank
from ..state import WindowState
from .ordered_keys import NO_ROW, scores_of
from .shapes import Shapes
from .table import Table

_SLACK: Final = 2.0**-40
_ROUNDING: Final = 2.0**-50
#: Between these, powers of two are made by numpy, whose errors are far below this factor.
_LEAST_EXPONENT: Final = -126.0
_MOST_EXPONENT: Final = 128.0
_LESS: Final = 1.0 - 2.0**-20
_LEAST_SCORE: Final = np.float32(2.0**-149)
#: Pairs of a rank's queries with rows: 25 ns each to be scored and ranked. Bounds take 0.2 ms.
_LEAST_PAIRS: Final = 1 << 13

#: The last time of some rows, by the number of a decay.
Latest: TypeAlias = tuple[tuple[int, float | None], ...]


class Orders:
    """The orders of one window's live queries."""

    def __init__(self, state: WindowState, shapes: Shapes) -> None:
        self._state = state
        self._shapes = shapes
        #: What ``reach`` was last: changes of the table, the times it was made for.
        self._kept: tuple[int, Latest, F32] | None = None

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

    def reach(self, table: Table, slots: I64) -> F32:
        """The scores from which rows in ``slots`` may enter lists, float32 by handle."""
        latest = tuple(
            (number, _latest(orders.times(order, self._state, slots)))
            for number, order in self._shapes.distinct.items()
            if isinstance(order, Decay)
        )
        reach = table.reach
        if latest:
            if self._kept is None or self._kept[:2] != (table.changes, latest):
                self._kept = table.changes, latest, self._reach(reach, latest)
            reach = self._kept[2]
        return self._with_ranks(reach, table.reach, slots)

    def _with_ranks(self, reach: F32, least: F32, slots: I64) -> F32:
        """``reach``, raised by what expressions are at most; as it was, if none says anything."""
        shapes, raised = self._shapes, reach
        for number, order in shapes.distinct.items():
            if not isinstance(order, Rank) or shapes.uses_of(number) * len(slots) < _LEAST_PAIRS:
                continue
            own = np.flatnonzero((shapes.orders == number) & (least < np.inf))
            if not len(own):
                continue
            if raised is reach:
                raised = reach.copy()
            found = self._ranked(order, own, float(least[own].min()), slots)
            raised[own] = np.maximum(least[own], found)
        return raised

    def _ranked(self, rank: Rank, handles: I64, least: float, slots: I64) -> F32:
        floors, state = self._shapes.floors[handles].real, self._state
        return bounds.reach(
            rank.expression, floors, state.columns, slots, state.definition.metric, least
        )

    def _reach(self, least: F32, latest: Latest) -> F32:
        """``least``: where there is no floor; +inf where no row may enter."""
        numbers = self._shapes.orders
        reach = least.copy()
        for number, time in latest:
            own = np.flatnonzero((numbers == number) & (least < np.inf))
            reach[own] = np.maximum(least[own], self._decayed(own, time))
        return reach

    def _decayed(self, handles: I64, latest: float | None) -> F32:
        """``latest``: the last time of the rows; None: none has one."""
        floors, half_lives = self._shapes.floors[handles], self._shapes.half_lives[handles]
        ranks = floors.real
        with np.errstate(all="ignore"):
            last = np.full(len(ranks), -np.inf) if latest is None else latest / half_lives
            slack = _SLACK + _ROUNDING * (np.abs(ranks) + np.abs(last))
            exponents = ranks - last - slack
            reach = (np.exp2(exponents) * _LESS).astype(np.float32)
        reach[exponents < _LEAST_EXPONENT] = _LEAST_SCORE
        reach[~(exponents < _MOST_EXPONENT)] = np.inf
        unranked = np.flatnonzero(ranks == -np.inf)
        if len(unranked):
            by_score = scores_of(floors[unranked])
            by_score[floors[unranked] == NO_ROW] = -np.inf
            reach[unranked] = by_score if latest is None else np.minimum(by_score, _LEAST_SCORE)
        return reach


def _latest(times: F64) -> float | None:
    """The last of ``times``, NaN being none."""
    latest = np.fmax.reduce(times, initial=-np.inf)
    return None if latest == -np.inf else float(latest)
