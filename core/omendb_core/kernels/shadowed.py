"""The scan over the int8 shadow, in C; one kernel for each instruction set, all to the same bits.

What a query is asked of rows that the shadow cannot tell apart (ties by the thousand, magnitudes
beyond 2**±30, one coordinate that drowns the others), C gives up early, and the reference answers.
"""

from __future__ import annotations

import numpy as np

from .. import native
from ..ring import Ring
from ..types import F32, I64, U64, Metric
from .reference import ReferenceScan
from .scan import TopK

#: What C gives as the count of a query that it gave up.
_GIVEN_UP = 2**32 - 1


class ShadowedScan:
    """The scan in C with the kernel ``name``; any number of threads and rings may share one."""

    keeps_shadow = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._reference = ReferenceScan()

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
        """See ``scan.Scan.top_k``."""
        shadow = ring.shadow
        if shadow is None:
            return self._reference.top_k(ring, metric, queries, k, min_scores, masks, mask_of)
        most = np.minimum(k, max(1, ring.used))
        wanted = int(most.sum())
        counts = np.empty(len(queries), np.uint32)
        slots, scores = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
        total = native.compiled.top_k(
            self.name,
            native.lanes,
            shadow.codes,
            shadow.factors,
            shadow.centre,
            shadow.metric_code,
            ring.vectors,
            ring.last_seq,
            queries,
            most,
            min_scores,
            masks,
            mask_of,
            counts,
            slots,
            scores,
        )
        found = TopK(counts, slots[:total], scores[:total])
        given_up = counts == _GIVEN_UP
        if not given_up.any():
            return found
        counts[given_up] = 0
        hard = np.flatnonzero(given_up)
        rest = self._reference.top_k(
            ring, metric, queries[hard], k[hard], min_scores[hard], masks, mask_of[hard]
        )
        return _merged(found, hard, rest)


def _merged(found: TopK, which: I64, rest: TopK) -> TopK:
    """``found``, with the answers of queries ``which``, which it lacks, from ``rest``."""
    counts = found.counts.copy()
    counts[which] = rest.counts
    owners = np.concatenate(
        (np.repeat(np.arange(len(counts)), found.counts), np.repeat(which, rest.counts))
    )
    order = np.argsort(owners, kind="stable")
    slots = np.concatenate((found.slots, rest.slots))[order]
    return TopK(counts, slots, np.concatenate((found.scores, rest.scores))[order])
