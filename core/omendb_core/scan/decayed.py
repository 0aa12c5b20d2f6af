"""The order of decay: rows with a rank as numpy finds them, and those without behind them.

Under decay rows with a rank come first, by log2(score) + t / half-life. A kernel finds the best of
these; where there are fewer than wanted it has found all, and the rest is a plain scan without
them. Under ``l2`` no score is above 0, so no row has a rank.

In numpy: a product bounds each row's score (``bounds``), and so its rank; the rows whose upper
bound reaches the k-th best lower one are scored.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

import numpy as np

from ..model.types import F32, F64, I64, NULL_INTEGER, U64, Metric
from ..rows.ring import Ring, unpack
from ..scoring import score
from ..scoring.functions import log2
from .bounds import Bounds
from .interface import RankedTopK, Times, TopK

#: Rows whose scores are estimated at once: 4 MiB of 128 dimensions.
_CHUNK_ROWS: Final = 1 << 13
#: Queries for which rows without a rank are looked for at once: each has a mask of its own.
_UNRANKED_QUERIES: Final = 32
#: More than numpy's log2, and rounding after it, are off by for float32 numbers.
_LOG2_SLACK: Final = 2.0**-40


class Question(NamedTuple):
    """What is asked, as ``interface.Scan.top_k`` takes it."""

    queries: F32
    k: I64
    min_scores: F32
    masks: U64
    mask_of: I64

    def of(self, which: I64) -> Question:
        """The queries at ``which``."""
        return Question(
            self.queries[which],
            self.k[which],
            self.min_scores[which],
            self.masks,
            self.mask_of[which],
        )


class Plain(Protocol):
    """What finds rows by score."""

    def top_k(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
    ) -> TopK:
        """See ``interface.Scan.top_k``."""
        ...


def unranked(top: TopK) -> RankedTopK:
    """Rows none of which has a rank."""
    return RankedTopK(*top, np.full(len(top.slots), np.nan))


def with_unranked(
    plain: Plain, ring: Ring, metric: Metric, question: Question, times: Times, ranked: RankedTopK
) -> RankedTopK:
    """``ranked``, the best rows with a rank, and behind them those without one."""
    if len(ranked.slots) == question.k.sum():
        return ranked
    rows = np.bitwise_count(question.masks).sum(axis=1, dtype=np.int64)[question.mask_of]
    counts = ranked.counts.astype(np.int64)
    is_short = counts < np.minimum(question.k, rows)
    if times.never_fall:
        is_short &= ~(question.min_scores > 0)
    short = np.flatnonzero(is_short)
    if not len(short):
        return ranked
    ends = np.cumsum(counts)
    parts = [ranked]
    owners = [np.repeat(np.arange(len(counts)), counts)]
    for start in range(0, len(short), _UNRANKED_QUERIES):
        some = short[start : start + _UNRANKED_QUERIES]
        masks = question.masks[question.mask_of[some]]
        for mask, query in zip(masks, some.tolist(), strict=True):
            _clear(mask, ranked.slots[ends[query] - counts[query] : ends[query]])
        rest = question.of(some)._replace(
            k=question.k[some] - counts[some], masks=masks, mask_of=np.arange(len(some))
        )
        found = unranked(plain.top_k(ring, metric, *rest))
        parts.append(found)
        owners.append(np.repeat(some, found.counts))
    return _joined(len(counts), owners, parts)


def top_ranked(
    ring: Ring, metric: Metric, question: Question, times: Times, half_lives: F64
) -> RankedTopK:
    """The best rows that have a rank, in numpy."""
    found = []
    for query, (mask, half_life) in enumerate(
        zip(question.mask_of.tolist(), half_lives.tolist(), strict=True)
    ):
        slots = np.flatnonzero(unpack(question.masks[mask], ring.used))
        with np.errstate(all="ignore"):
            biases = _seconds(times, slots) / half_life
        has_bias = np.isfinite(biases)
        asked = question.of(np.array([query]))
        found.append(_best(ring, metric, asked, slots[has_bias], biases[has_bias]))
    owners = [np.full(len(one.slots), query) for query, one in enumerate(found)]
    return _joined(len(found), owners, found)


def _best(ring: Ring, metric: Metric, asked: Question, slots: I64, biases: F64) -> RankedTopK:
    """Of one query."""
    k, least = int(asked.k[0]), asked.min_scores[0]
    lower, upper = _score_bounds(ring, metric, asked.queries, slots)
    near = np.flatnonzero((upper > 0) & (upper >= least))
    slots, biases, lower, upper = slots[near], biases[near], lower[near], upper[near]
    if len(slots) > k:
        with np.errstate(all="ignore"):
            surest = np.log2(lower.astype(np.float64)) - _LOG2_SLACK + biases
            surest[~((lower > 0) & (lower >= least))] = -np.inf
            threshold = np.partition(surest, len(slots) - k)[len(slots) - k]
            near = np.flatnonzero(
                np.log2(upper.astype(np.float64)) + _LOG2_SLACK + biases >= threshold
            )
        slots, biases = slots[near], biases[near]
    scores = score.score_chosen(
        metric, ring.vectors, slots, asked.queries, np.zeros(len(slots), np.int64)
    )
    fits = np.flatnonzero((scores > 0) & (scores >= least))
    slots, scores = slots[fits], scores[fits]
    ranks = log2(scores.astype(np.float64)) + biases[fits]
    order = np.lexsort((ring.seqs(slots), ranks))[::-1][:k]
    counts = np.array([len(order)], np.uint32)
    return RankedTopK(counts, slots[order], scores[order], ranks[order])


def _score_bounds(ring: Ring, metric: Metric, query: F32, slots: I64) -> tuple[F32, F32]:
    """Lower and upper bounds (n,) of the scores of one query (1, dim)."""
    bounds, first = Bounds(metric, query), np.zeros(1, np.int64)
    lower, upper = np.empty(len(slots), np.float32), np.empty(len(slots), np.float32)
    for start in range(0, len(slots), _CHUNK_ROWS):
        here = slice(start, start + _CHUNK_ROWS)
        some = slots[here]
        norms = ring.norms[some]
        estimates = np.empty((1, len(some)), np.float32)
        bounds.estimate(ring.vectors[some], norms, estimates)
        lower[here], upper[here] = (side[0] for side in bounds.around(first, estimates, norms))
    return lower, upper


def _seconds(times: Times, slots: I64) -> F64:
    if times.integers is None:
        assert times.numbers is not None
        return times.numbers[slots] / times.per_second
    integers = times.integers[slots]
    seconds: F64 = integers / times.per_second
    seconds[integers == NULL_INTEGER] = np.nan
    return seconds


def _clear(mask: U64, slots: I64) -> None:
    bits = np.uint64(1) << (slots & 63).astype(np.uint64)
    np.bitwise_and.at(mask, slots >> 6, ~bits)


def _joined(queries: int, owners: list[I64], parts: list[RankedTopK]) -> RankedTopK:
    """Parts of which some rows of each query stand in several, in this order."""
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return RankedTopK(
        np.bincount(owner, minlength=queries).astype(np.uint32),
        np.concatenate([part.slots for part in parts])[order],
        np.concatenate([part.scores for part in parts])[order],
        np.concatenate([part.ranks for part in parts])[order],
    )
