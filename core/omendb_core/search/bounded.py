"""The first rows by a ``rank`` expression, of which few are scored.

The scan tells between what all scores lie, the expression what its value is at most (``limits``).
Blocks of rows are gone through newest first; rows that may reach the best value so far, as deep as
is asked for, are kept. Where too many are kept those with the highest limits are scored, which
raises that value: twice in a search as a rule. What is left in the end, some hundred rows, is
scored.

Exact, as the limits are: a row that is left out has a value below those of as many rows as are
asked for. Reads the window's state, which must not change between two pieces.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

import numpy as np

from ..filters.masks import Lists
from ..model.types import F32, F64, I64, U64, Bool1
from ..ranking import costs, orders
from ..ranking.evaluation import Rows as Block
from ..ranking.limits import Limits, Scored
from ..ranking.shape import Rank
from ..rows.ring import unpack
from ..scoring import score
from ..state import WindowState
from .deep import Rows

#: Rows whose limits are computed at once: a block takes 60 us beside its arrays. Of an expression
#: that takes long so many that a piece of work takes no longer than this.
_BLOCK_ROWS: Final = 1 << 15
_LEAST_BLOCK_ROWS: Final = 1 << 10
_BLOCK_NS: Final = 2e6
#: Of fewer rows every one is scored in less time.
_LEAST_ROWS: Final = 4096
#: Queries that are bounded together: what they share of a block's rows is read once.
_QUERIES: Final = 6
#: Rows kept with mere limits for each that is asked for, and beside these.
_KEPT_FOR_ONE: Final = 16
_KEPT: Final = 1024
#: Rows scored for each that is asked for, to raise the threshold.
_TRIED_FOR_ONE: Final = 2
#: The highest limit of so many rows stands for them where the highest ones are looked for.
_GROUP_ROWS: Final = 64
#: With so many times more kept after that, the bounds tell too little: every row is to be scored.
_PATIENCE: Final = 4


def first(
    state: WindowState,
    order: Rank,
    at: float | None,
    vectors: F32,
    depth: int,
    floor: np.float32,
    mask: U64,
) -> Generator[None, None, list[Rows | None]]:
    """The first ``depth`` rows for each of ``vectors`` (q, dim); None: it takes scoring them all.

    Rows are those of ``mask`` (words) that score at least ``floor``.
    """
    rows = int(np.bitwise_count(mask).sum())
    if rows < max(_LEAST_ROWS, _KEPT_FOR_ONE * depth):
        return [None] * len(vectors)
    searches = [_Best(state, order, at, vector[None], depth, floor) for vector in vectors]
    blocks = _Blocks(state, order, at)
    for start, stop in blocks:
        bits = unpack(mask[start >> 6 : -(-stop // 64)], stop - start)
        if not bits.any():
            continue
        some = None if bits.all() else bits
        for one in range(0, len(searches), _QUERIES):
            together = slice(one, one + _QUERIES)
            yield from blocks.offer(searches[together], vectors[together], start, stop, some)
    found: list[Rows | None] = []
    for search in searches:
        found.append(search.answer())
        yield
    return found


class _Blocks:
    """Blocks of slots that were written, from the newest row's on; and what is offered of them."""

    def __init__(self, state: WindowState, order: Rank, at: float | None) -> None:
        self._state = state
        self._order = order
        self._at = at
        self._scored = Scored(order.expression.root)
        self._lists = Lists()
        rows = int(_BLOCK_NS / (2 * costs.ns_a_row(order.expression)))
        self._rows = min(max(rows & -64, _LEAST_BLOCK_ROWS), _BLOCK_ROWS)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        used, rows = self._state.ring.used, self._rows
        newest = (self._state.ring.last_seq - 1) % self._state.ring.capacity // rows
        count = -(-used // rows)
        for step in range(count):
            start = (newest - step) % count * rows
            yield start, min(start + rows, used)

    def offer(
        self, searches: list[_Best], vectors: F32, start: int, stop: int, bits: Bool1 | None
    ) -> Generator[None, None, None]:
        """Offer the rows of a block, those of ``bits`` (None: all), to some searches."""
        state, here = self._state, slice(start, stop)
        ages = None
        if self._order.expression.uses_age and self._at is not None:
            ages = self._at - orders.accepted(state, here)
        limits = Limits(Block(state.columns, here, ages, self._lists), self._scored)
        lower, upper = state.scan.score_bounds(
            state.ring, state.definition.metric, vectors, start, -(-stop // 64) * 64
        )
        for search, least, most in zip(
            searches, lower[:, : stop - start], upper[:, : stop - start], strict=True
        ):
            if not search.gave_up:
                search.offer(start, limits.most(least, most), most, bits)
            yield


class _Best:
    """Rows that may be among the first ``depth`` of one query.

    Rows of a value below ``threshold`` are not; it is reached by as many rows as are asked for.
    """

    def __init__(
        self,
        state: WindowState,
        order: Rank,
        at: float | None,
        vector: F32,
        depth: int,
        floor: np.float32,
    ) -> None:
        self._state = state
        self._order = order
        self._at = at
        self._vector = vector
        self._depth = depth
        self.floor = floor
        self.threshold = -np.inf
        self.gave_up = False
        self._most = _KEPT + _KEPT_FOR_ONE * depth
        self._slots: list[I64] = []
        self._limits: list[F64] = []
        self._kept = 0

    def offer(self, start: int, limits: F64, most: F32, bits: Bool1 | None) -> None:
        """Keep rows of a block that may be among the first.

        By the limits of their values (n,) or (), and of their scores, ``most`` (n,).
        """
        # NaN, which is null, reaches nothing.
        reached = np.broadcast_to(limits >= self.threshold, most.shape)
        if self.floor > -np.inf:
            reached = reached & (most >= self.floor)
        if bits is not None:
            reached = reached & bits
        places = np.flatnonzero(reached)
        if len(places):
            self._slots.append(places + start)
            self._limits.append(np.broadcast_to(limits, most.shape)[places])
            self._kept += len(places)
            if self._kept > self._most:
                self._raise_threshold()

    def answer(self) -> Rows | None:
        """The first rows; None if too many may be."""
        if self._kept > _TRIED_FOR_ONE * self._depth:
            self._raise_threshold()
        if self.gave_up:
            return None
        slots, scores, ranks = self._scored(np.concatenate([np.empty(0, np.int64), *self._slots]))
        best = orders.in_order(self._order, ranks, scores, self._state.ring.seqs(slots))
        best = best[: self._depth]
        return Rows(slots[best], scores[best], ranks[best])

    def _raise_threshold(self) -> None:
        slots, limits = np.concatenate(self._slots), np.concatenate(self._limits)
        ranks = self._scored(slots[_highest(limits, _TRIED_FOR_ONE * self._depth)])[2]
        if len(ranks) >= self._depth:
            least = np.partition(ranks, len(ranks) - self._depth)[len(ranks) - self._depth]
            self.threshold = max(self.threshold, float(least))
        reached = limits >= self.threshold
        self._slots, self._limits = [slots[reached]], [limits[reached]]
        self._kept = int(np.count_nonzero(reached))
        if self._kept > _PATIENCE * self._most:
            self.gave_up = True
            self._slots, self._limits, self._kept = [], [], 0

    def _scored(self, slots: I64) -> tuple[I64, F32, F64]:
        """Rows that score enough and have a rank."""
        state = self._state
        scores = score.score_chosen(
            state.definition.metric,
            state.ring.vectors,
            slots,
            self._vector,
            np.zeros(len(slots), np.int64),
        )
        ranks = orders.ranks(self._order, state, slots, scores, self._at)
        fits = np.flatnonzero((scores >= self.floor) & ~np.isnan(ranks))
        return slots[fits], scores[fits], ranks[fits]


def _highest(limits: F64, count: int) -> I64:
    """Places of ``count`` of the highest; where there are many the highest of a group each."""
    groups = len(limits) // _GROUP_ROWS
    if groups <= count:
        count = min(count, len(limits))
        return np.argpartition(limits, len(limits) - count)[len(limits) - count :]
    grouped = limits[: groups * _GROUP_ROWS].reshape(groups, _GROUP_ROWS)
    highest: I64 = grouped.argmax(axis=1) + np.arange(groups) * _GROUP_ROWS
    best = np.argpartition(limits[highest], groups - count)[groups - count :]
    return highest[best]
