"""Rows that may be among the first by a ``rank`` expression, and the scores of what is left.

Each search keeps rows with what their values are at most, and a threshold: as many rows as are
asked for have values that are no less.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, F64, I64, Bool1
from ..ranking import orders
from ..ranking.shape import Rank
from ..scoring import score
from ..state import WindowState
from .deep import Rows

#: Rows kept with mere limits for each that is asked for, and beside these.
_KEPT_FOR_ONE: Final = 16
_KEPT: Final = 1024
#: Rows scored for each that is asked for, to raise the threshold.
_TRIED_FOR_ONE: Final = 2
#: The highest limit of so many rows stands for them where the highest ones are looked for.
_GROUP_ROWS: Final = 64
#: With so many times more kept after that, the bounds tell too little: every row is to be scored.
_PATIENCE: Final = 4
#: One of so many scores tells where they lie.
_SAMPLED: Final = 16
#: Rows of several queries that are scored together.
_SCORED_ROWS: Final = 1 << 13


class Asked(NamedTuple):
    """Of one call: rows that score at least ``floor`` with ``vectors`` (q, dim), by ``order``."""

    state: WindowState
    order: Rank
    at: float | None
    vectors: F32
    floor: np.float32


class Best:
    """Rows that may be among the first ``depth`` of one query.

    Rows of a value below ``threshold`` are not; it is reached by as many rows as are asked for.
    """

    def __init__(self, asked: Asked, query: int, depth: int) -> None:
        self._asked = asked
        self.query = query
        self.depth = depth
        self.threshold = -np.inf
        self.gave_up = False
        #: Half of the rows score about this at most, and all of them that; of those offered first.
        self.usual_score = self.best_score = np.nan
        self.most = _KEPT + _KEPT_FOR_ONE * depth
        self._slots: list[I64] = []
        self._limits: list[F64] = []
        self._kept = 0
        self._asks_blocks = self._knows_without_scores = True
        self._sample: F32 = np.empty(0, np.float32)

    @property
    def can_ask_blocks(self) -> bool:
        """Whether it is known what a row of a block has to score, and that tells rows apart."""
        is_known = self.threshold > -np.inf and np.isfinite(self.best_score)
        return self._asks_blocks and bool(is_known) and not self.gave_up

    @can_ask_blocks.setter
    def can_ask_blocks(self, value: bool) -> None:
        self._asks_blocks = value

    @property
    def is_known_without_scores(self) -> bool:
        """Whether what is known of rows without a score may leave most of them out."""
        return self._knows_without_scores and self.threshold > -np.inf and not self.gave_up

    @is_known_without_scores.setter
    def is_known_without_scores(self, value: bool) -> None:
        self._knows_without_scores = value

    def offer(self, start: int, limits: F64, most: F32, bits: Bool1) -> None:
        """Keep rows of a block that may be among the first.

        By the limits of their values (n,) or (), and of their scores, ``most`` (n,); ``bits`` (n,)
        says which count.
        """
        if np.isnan(self.best_score):
            self._sample = np.sort(most[::_SAMPLED])
            self.usual_score = float(self._sample[len(self._sample) // 2])
            self.best_score = float(most.max())
        # NaN, which is null, reaches nothing.
        reached = np.broadcast_to(limits >= self.threshold, most.shape) & bits
        if self._asked.floor > -np.inf:
            reached &= most >= self._asked.floor
        places = np.flatnonzero(reached)
        if len(places):
            self.take(places + start, np.broadcast_to(limits, most.shape)[places])

    def share_above(self, floors: F32) -> float:
        """Of all rows, about what share may score the floor of its block, as the first ones did."""
        below = np.searchsorted(self._sample, floors)
        return 1 - float(below.mean()) / len(self._sample)

    def take(self, slots: I64, limits: F64) -> None:
        """Keep rows with the limits of their values, or these."""
        self._slots.append(slots)
        self._limits.append(limits)
        self._kept += len(slots)

    @property
    def is_due(self) -> bool:
        """Whether the threshold is to be raised: too many rows are kept, or it is not known."""
        is_known = self.threshold > -np.inf
        return self._kept > self.most or (not is_known and self._kept >= self.depth)

    def likeliest(self) -> I64:
        """Slots of the rows that tell most, once they are scored."""
        slots, limits = np.concatenate(self._slots), np.concatenate(self._limits)
        return slots[_highest(limits, _TRIED_FOR_ONE * self.depth)]

    def learn(self, ranks: F64) -> None:
        """There are rows of such ranks, other ones than those known."""
        if len(ranks) >= self.depth:
            least = np.partition(ranks, len(ranks) - self.depth)[len(ranks) - self.depth]
            self.threshold = max(self.threshold, float(least))

    def drop_hopeless(self) -> None:
        """Drop the rows below the threshold; if too many are left, give up."""
        slots = np.concatenate([np.empty(0, np.int64), *self._slots])
        limits = np.concatenate([np.empty(0), *self._limits])
        reached = limits >= self.threshold
        self._slots, self._limits = [slots[reached]], [limits[reached]]
        self._kept = len(self._slots[0])
        if self._kept > _PATIENCE * self.most:
            self.gave_up = True
            self._slots, self._limits, self._kept = [], [], 0

    def left(self) -> I64 | None:
        """Slots of the rows that are to be scored; None if there are too many."""
        self.drop_hopeless()
        return None if self.gave_up else self._slots[0]


class Pairs(NamedTuple):
    """Rows of queries that score enough and have a rank, all (m,)."""

    queries: I64
    slots: I64
    scores: F32
    ranks: F64


def scored(asked: Asked, slots: I64, queries: I64) -> Pairs:
    """The pairs of ``slots`` and ``queries`` (m,), scored and ranked."""
    state = asked.state
    scores = score.score_chosen(
        state.definition.metric, state.ring.vectors, slots, asked.vectors, queries
    )
    ranks = orders.ranks(asked.order, state, slots, scores, asked.at)
    fits = np.flatnonzero((scores >= asked.floor) & ~np.isnan(ranks))
    return Pairs(queries[fits], slots[fits], scores[fits], ranks[fits])


def raise_thresholds(asked: Asked, searches: list[Best]) -> None:
    """By scoring the likeliest rows of those that are due."""
    due = [search for search in searches if search.is_due]
    if not due:
        return
    tried = [search.likeliest() for search in due]
    queries = np.repeat([search.query for search in due], [len(slots) for slots in tried])
    pairs = scored(asked, np.concatenate(tried), queries)
    for search in due:
        search.learn(pairs.ranks[pairs.queries == search.query])
        search.drop_hopeless()


def take_scored(
    asked: Asked, searches: list[Best], found: list[I64 | None]
) -> Generator[None, None, None]:
    """Have searches keep rows by their ranks; None: there are none for it."""
    for some, pairs in _together(asked, searches, found):
        for search in some:
            own = pairs.queries == search.query
            search.learn(pairs.ranks[own])
            own &= pairs.ranks >= search.threshold
            search.take(pairs.slots[own], pairs.ranks[own])
        yield


def answers(asked: Asked, searches: list[Best]) -> Generator[None, None, list[Rows | None]]:
    """The first rows of each search; None if too many may be."""
    raise_thresholds(asked, searches)
    yield
    left = [None if search.gave_up else search.left() for search in searches]
    yield
    found: list[Rows | None] = [None] * len(searches)
    places = {search.query: place for place, search in enumerate(searches)}
    for some, pairs in _together(asked, searches, left):
        for search in some:
            own = np.flatnonzero(pairs.queries == search.query)
            slots, scores, ranks = pairs.slots[own], pairs.scores[own], pairs.ranks[own]
            best = orders.in_order(asked.order, ranks, scores, asked.state.ring.seqs(slots))
            best = best[: search.depth]
            found[places[search.query]] = Rows(slots[best], scores[best], ranks[best])
        yield
    return found


def _together(
    asked: Asked, searches: list[Best], found: list[I64 | None]
) -> Iterator[tuple[list[Best], Pairs]]:
    """Rows that were found for searches, scored for several of them at once."""
    some: list[tuple[Best, I64]] = []
    count = 0
    for search, slots in zip(searches, found, strict=True):
        if slots is not None:
            some.append((search, slots))
            count += len(slots)
        if count > _SCORED_ROWS:
            yield _scored_together(asked, some)
            some, count = [], 0
    if some:
        yield _scored_together(asked, some)


def _scored_together(asked: Asked, some: list[tuple[Best, I64]]) -> tuple[list[Best], Pairs]:
    queries = np.repeat([search.query for search, _ in some], [len(slots) for _, slots in some])
    pairs = scored(asked, np.concatenate([slots for _, slots in some]), queries)
    return [search for search, _ in some], pairs


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
