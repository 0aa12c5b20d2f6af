"""Ranks of rows under the orders of many live queries at once, and which scores may matter.

The ranks are those of ``ranking.orders``, to the bit; under ``decay`` all half-lives together.

**The reach of a decayed list.** Its floor has a rank R, new rows are matched by scores. Let T be
the largest fl(t / h) of the rows of a call. A row of score s ranks fl(L(s) + fl(t / h)), at most
fl(L(s) + T), where L is the project's log2, and it is not above the floor if that is below R. Every
rounding is off by 2**-53 of its result, L by 2**-45 (|log2 s| ≤ 150), R - T by 2**-53 (|R| + |T|):
all of it is less than ``_SLACK`` + ``_ROUNDING`` (|R| + |T|). So no row below 2**(R - T) less that
slack is above the floor. With a floor that has no rank, any row with one is above it, and rows
without one by their scores. Under ``rank`` the bounds of the expression tell (``ranking.bounds``),
where ranking all of its queries' rows takes longer than that.

Knows the window's state, and shapes; nothing of lists.
"""

from __future__ import annotations

from collections.abc import Generator
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
#: What it takes to score a row for a query and to compare its rank with the floor, the expression
#: aside: 35 ns where 10,000 pairs are ranked together, 80 in a million; and to rank the rows of one
#: expression beside those of others.
PAIR_NS: Final = 60.0
EXPRESSION_NS: Final = 25e3
#: Pairs that one call of the scan should find, so that it takes 3 ms.
PIECE_PAIRS: Final = 1 << 16
#: What it takes to bound one expression, of three to nine operators: 65 to 130 us.
_BOUNDS_NS: Final = 1e5
#: So much of that is done in one piece of work.
_PIECE_NS: Final = 2e6

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
        """The scores from which rows in ``slots`` may enter lists, float32 by handle, but for
        what bounds of expressions tell."""
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
        return reach

    def bounded_reach(self, table: Table, slots: I64) -> Generator[float, None, F32 | None]:
        """The scores from which rows in ``slots`` may enter lists by ``rank``, float32 by handle,
        by what expressions are at most; None: that tells nothing that is worth its time.

        Yields how much of a piece of work was done; queries may end in between.
        """
        raised: F32 | None = None
        batch = bounds.Batch(self._state.columns, slots)
        done_ns = 0.0
        for number, own in self._worth_bounding(len(slots)):
            order = self._shapes.distinct.get(number)
            if not isinstance(order, Rank):  # its queries ended meanwhile
                continue
            if raised is None:
                raised = np.full(len(table.reach), -np.inf, np.float32)
            floors, metric = self._shapes.floors[own].real, self._state.definition.metric
            least = float(table.reach[own].min(initial=np.inf))
            raised[own] = bounds.reach(order.expression, floors, batch, metric, least)
            done_ns += _BOUNDS_NS
            if done_ns >= _PIECE_NS:
                yield done_ns / _PIECE_NS
                done_ns = 0.0
        return raised

    def _worth_bounding(self, rows: int) -> list[tuple[int, I64]]:
        """The numbers of expressions that are bounded, and the handles of each."""
        shapes = self._shapes
        calls = 1 + rows * len(shapes.by_handle) // PIECE_PAIRS
        chosen = [
            number
            for number, order in shapes.distinct.items()
            if isinstance(order, Rank)
            and shapes.uses_of(number) * rows * (PAIR_NS + shapes.ns_of(number))
            + calls * EXPRESSION_NS
            > _BOUNDS_NS
        ]
        if not chosen:
            return []
        handles = np.argsort(shapes.orders, kind="stable")
        numbers = shapes.orders[handles]
        starts, stops = (np.searchsorted(numbers, chosen, side=side) for side in ("left", "right"))
        return [
            (number, handles[start:stop])
            for number, start, stop in zip(chosen, starts.tolist(), stops.tolist(), strict=True)
        ]

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
