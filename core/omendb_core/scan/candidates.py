"""Rows that may be among the best of their query, while a scan goes on, and the final cut.

Invariant: every row seen so far that belongs to the answer is among the candidates, and each
query's ``threshold`` is at most the k-th best score of the rows seen so far. Rows are offered
newest first, so at equal scores the rows seen before win.

Knows scores and their bounds; a ring only to score and order what is left.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, I64, Bool1, Metric
from ..rows.ring import Ring
from ..scoring import score

#: Candidates beyond the k of each query that are kept with mere bounds. More than these are scored,
#: and cut to the k best: data that no bound can tell apart takes time then, but no memory.
_UNDECIDED: Final = 1 << 16
#: So many rows are scored in less time (15 us) than it takes to sort some out by their bounds.
_FEW: Final = 100

#: Columns whose maximum stands for them in ``near_kth_largest``: 64 queries of 8192 columns
#: take 0.1 ms so, a partition 0.35 ms, and up to 2 ms if the copy for it is fresh memory.
_GROUP: Final = 16


class BoundedPairs(NamedTuple):
    """Rows of queries, all (m,): ``lower`` ≤ score ≤ ``upper``."""

    queries: I64
    slots: I64
    lower: F32
    upper: F32

    def of(self, which: I64) -> BoundedPairs:
        """Return the pairs at ``which``."""
        return BoundedPairs(
            self.queries[which], self.slots[which], self.lower[which], self.upper[which]
        )


class Candidates:
    """The candidates of ``queries`` float32 (q, dim), with ``k`` and ``min_scores`` of each."""

    def __init__(self, ring: Ring, metric: Metric, queries: F32, k: I64, min_scores: F32) -> None:
        self._ring = ring
        self._metric: Metric = metric
        self._queries = queries
        self.k = k
        self._wanted = int(k.sum())
        self._min_scores = min_scores
        self._parts: list[BoundedPairs] = []
        self._count = 0
        self._tighten_at = self._next_limit(0)
        #: float32 (q,): the k-th best lower bound of the rows seen, or -inf.
        self.threshold: F32 = np.full(len(queries), -np.inf, np.float32)

    @property
    def floors(self) -> F32:
        """Scores below these (q,) cannot be in the answer."""
        return np.maximum(self.threshold, self._min_scores)

    def add(self, pairs: BoundedPairs) -> None:
        """Take further rows; now and then raise the thresholds by all of them."""
        if len(pairs.queries):
            self._parts.append(pairs)
            self._count += len(pairs.queries)
            if self._count > self._tighten_at:
                self._tighten()

    def raise_threshold(self, which: I64, threshold: F32) -> None:
        """Queries ``which`` (distinct) have k rows that score at least ``threshold``."""
        self.threshold[which] = np.maximum(self.threshold[which], threshold)

    def answer(self) -> tuple[I64, I64, F32]:
        """Return counts (q,) int64, and flat slots and scores in the order of ``scan.TopK``."""
        if self._count > _FEW:
            self._tighten()
        pairs = self._best(self._joined())
        return np.bincount(pairs.queries, minlength=len(self.k)), pairs.slots, pairs.lower

    def _next_limit(self, kept: int) -> int:
        # Doubling, so that the effort stays in proportion to the candidates offered.
        return 2 * max(kept, self._wanted) + 256

    def _joined(self) -> BoundedPairs:
        if not self._parts:
            none, no_scores = np.empty(0, np.int64), np.empty(0, np.float32)
            return BoundedPairs(none, none, no_scores, no_scores)
        return BoundedPairs(
            np.concatenate([part.queries for part in self._parts]),
            np.concatenate([part.slots for part in self._parts]),
            np.concatenate([part.lower for part in self._parts]),
            np.concatenate([part.upper for part in self._parts]),
        )

    def _tighten(self) -> None:
        pairs = self._joined()
        self._learn(pairs)
        pairs = pairs.of(np.flatnonzero(pairs.upper >= self.floors[pairs.queries]))
        if len(pairs.queries) > 2 * self._wanted + _UNDECIDED:
            pairs = self._best(pairs)
            self._learn(pairs)
        self._parts = [pairs]
        self._count = len(pairs.queries)
        self._tighten_at = self._next_limit(self._count)

    def _learn(self, pairs: BoundedPairs) -> None:
        """Raise the thresholds to the k-th largest lower bound of each query."""
        keys = _descending(pairs.queries, pairs.lower)
        keys.sort()
        counts = np.bincount(pairs.queries, minlength=len(self.k))
        enough = np.flatnonzero(counts >= self.k)
        last = (np.cumsum(counts) - counts + self.k - 1)[enough]
        self.raise_threshold(enough, _value(keys[last]))

    def _best(self, pairs: BoundedPairs) -> BoundedPairs:
        """Score ``pairs``; the k best of each query in order, with equal bounds."""
        scores = self._scores(pairs)
        fits = np.flatnonzero(scores >= self._min_scores[pairs.queries])
        queries, slots, scores = pairs.queries[fits], pairs.slots[fits], scores[fits]
        newest_first = np.iinfo(np.uint64).max - self._ring.seqs(slots)
        order = np.lexsort((newest_first, _descending(queries, scores)))
        queries = queries[order]
        counts = np.bincount(queries, minlength=len(self.k))
        places = np.arange(len(order)) - (np.cumsum(counts) - counts)[queries]
        best = np.flatnonzero(places < self.k[queries])
        order = order[best]
        return BoundedPairs(queries[best], slots[order], scores[order], scores[order])

    def _scores(self, pairs: BoundedPairs) -> F32:
        return score.score_chosen(
            self._metric, self._ring.vectors, pairs.slots, self._queries, pairs.queries
        )


def kth_largest(values: F32, k: I64) -> F32:
    """Return the ``k[i]``-th largest of ``values[i]`` (h, n), or -inf where k is above n; (h,)."""
    count = values.shape[1]
    places = np.maximum(count - k, 0)
    if (places == places[0]).all():
        # numpy partitions with SIMD for one place only; a full sort is faster than several.
        ordered = np.partition(values, places[0], axis=1)
    else:
        ordered = np.sort(values, axis=1)
    found: F32 = ordered[np.arange(len(values)), places]
    found[k > count] = -np.inf
    return found


def near_kth_largest(values: F32, k: I64) -> F32:
    """Return lower bounds (h,), mostly equal or close, of ``kth_largest``, in less time and memory.

    The k-th largest of the maxima of disjoint groups: k groups hold k values at least as large.
    """
    groups = values.shape[1] // _GROUP
    if groups < _GROUP * k.max():
        return kth_largest(values, k)
    # Strided groups, so that the maxima are taken of whole runs of columns at once.
    grouped = values[:, : groups * _GROUP].reshape(len(values), _GROUP, groups)
    return kth_largest(grouped.max(axis=1), k)


def newest_of_ties(lower: F32, upper: F32, threshold: F32, k: I64) -> Bool1:
    """Which columns may be among the k best, where ties would let too many through; (h, n).

    ``lower``, ``upper`` (h, n) have columns in seq order; ``threshold`` is ``kth_largest`` of
    ``lower``. A column at the threshold is out if newer ones that surely are at it fill the places
    that the surely better ones leave.
    """
    at = threshold[:, None]
    places = k - np.count_nonzero(lower > at, axis=1)
    surely_tied = lower == at
    newer = np.cumsum(surely_tied[:, ::-1], axis=1)[:, ::-1] - surely_tied
    maybe: Bool1 = (upper > at) | ((upper == at) & (newer < places[:, None]))
    return maybe


def _descending(queries: I64, values: F32) -> I64:
    """Keys that sort by query, then by value from large to small; -0 counts as below 0."""
    bits = values.view(np.int32)
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys: I64 = (queries << 32) + (0x7FFFFFFF - ordered.astype(np.int64))
    return keys


def _value(keys: I64) -> F32:
    """Return the values of ``_descending`` keys."""
    ordered = (0x7FFFFFFF - (keys & 0xFFFFFFFF)).astype(np.int32)
    return (ordered ^ ((ordered >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)
