"""A scan of a wide ring, a part of its rows at a time: the answer of ``top_k``, in steps.

Parts go from the newest rows to the oldest. Each is asked for the rows that reach the k-th best
found so far, so the steps together take hardly longer than one scan would. Whoever asks decides
how many rows a step takes; the ring must not change in between. Knows rings and kernels.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..model.types import F32, I64, U64, Metric
from ..rows.ring import Ring
from .decayed import Question
from .interface import Scan, TopK

_WORD_ROWS: Final = 64
#: Elements from which on a ring is wide: sixteen vectors, which a tick of the server has at least,
#: take 10 ms over 1,500,000 x 128.
WIDE_ELEMENTS: Final = 192_000_000
#: Elements of a step for one vector: a millisecond or two.
STEP_ELEMENTS: Final = 1 << 25
#: So many vectors take as long as one, which waits for memory.
_ALIKE_VECTORS: Final = 8


def is_wide(ring: Ring) -> bool:
    """Whether one scan of a ring takes longer than others should wait."""
    return ring.rows * ring.dim >= WIDE_ELEMENTS


def step_rows(ring: Ring, vectors: int) -> int:
    """Rows of a step for so many vectors."""
    return STEP_ELEMENTS // (max(1, vectors // _ALIKE_VECTORS) * ring.dim)


class TopKInParts:
    """``scan.top_k`` of ``question``, by ``step`` until ``is_done``; then it is ``found``."""

    def __init__(self, scan: Scan, ring: Ring, metric: Metric, question: Question) -> None:
        self._scan, self._ring, self._metric = scan, ring, metric
        self._question = question
        self._floors = question.min_scores.copy()
        count = len(question.queries)
        self.found = TopK(
            np.zeros(count, np.uint32), np.empty(0, np.int64), np.empty(0, np.float32)
        )
        newest = (ring.last_seq - 1) % ring.capacity + 1 if ring.last_seq else 0
        #: Slots that are left, in the order of their seqs: those up to the newest, then those
        #: behind it, which are older.
        self._left = [
            (first, stop) for first, stop in ((newest, ring.used), (0, newest)) if first < stop
        ]

    @property
    def is_done(self) -> bool:
        """Whether all rows were looked at."""
        return not self._left

    def step(self, rows: int) -> None:
        """Look at ``rows`` more, in whole words, at least one."""
        first, stop = self._left.pop()
        start = max(first, (stop - 1) // _WORD_ROWS * _WORD_ROWS - rows + _WORD_ROWS)
        start = max(first, start // _WORD_ROWS * _WORD_ROWS)
        self._look(start, stop)
        if start > first:
            self._left.append((first, start))

    def _look(self, start: int, stop: int) -> None:
        """Look at the slots ``start … stop - 1``, which are in the order of their seqs."""
        ring, asked = self._ring, self._question
        first = start // _WORD_ROWS * _WORD_ROWS
        end = min(-(-stop // _WORD_ROWS) * _WORD_ROWS, ring.capacity)
        masks = asked.masks[:, first // _WORD_ROWS : -(-end // _WORD_ROWS)].copy()
        masks[:, 0] &= np.uint64(2**64 - 1 << start - first & 2**64 - 1)
        beyond = -stop % _WORD_ROWS
        masks[:, -1] &= np.uint64(2**64 - 1 >> beyond)
        more = self._scan.top_k(
            ring.part(first, end),
            self._metric,
            asked.queries,
            asked.k,
            self._floors,
            masks,
            asked.mask_of,
        )
        if len(more.slots):
            self._take(more._replace(slots=more.slots + first))

    def _take(self, more: TopK) -> None:
        """Put rows that were found to those found before."""
        k, found = self._question.k, self.found
        count = len(k)
        queries = np.concatenate([np.repeat(np.arange(count), one.counts) for one in (found, more)])
        slots = np.concatenate([found.slots, more.slots])
        scores = np.concatenate([found.scores, more.scores])
        seqs = self._ring.seqs(slots).view(np.int64)
        order = np.lexsort((-seqs, -scores, queries))
        counts = np.bincount(queries, minlength=count)
        starts = np.cumsum(counts) - counts
        kept = order[np.arange(len(order)) - np.repeat(starts, counts) < np.repeat(k, counts)]
        counts = np.minimum(counts, k)
        self.found = TopK(counts.astype(np.uint32), slots[kept], scores[kept])
        full = np.flatnonzero(counts == k)
        self._floors[full] = self.found.scores[np.cumsum(counts)[full] - 1]


def top_k_of(
    scan: Scan, ring: Ring, metric: Metric, queries: F32, k: I64, masks: U64
) -> TopKInParts:
    """Of all rows of ``masks`` uint64 (1, words), for each of ``queries`` the best ``k``."""
    count = len(queries)
    floors = np.full(count, -np.inf, np.float32)
    question = Question(queries, k, floors, masks, np.zeros(count, np.int64))
    return TopKInParts(scan, ring, metric, question)
