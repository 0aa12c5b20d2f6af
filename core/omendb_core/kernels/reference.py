"""The reference scan, in numpy."""

from __future__ import annotations

import numpy as np

from .. import score
from ..ring import Ring, unpack
from ..types import F32, I64, U64, Metric
from .scan import TopK


class ReferenceScan:
    """Scores every row of the mask."""

    name = "reference"

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
        counts = np.zeros(len(queries), np.uint32)
        slots: list[I64] = []
        scores: list[F32] = []
        for i, query in enumerate(queries):
            found = np.flatnonzero(unpack(masks[mask_of[i]], ring.capacity))
            asked = np.broadcast_to(query, (len(found), ring.dim))
            decided = score.score_pairs(metric, ring.vectors[found], asked)
            order = score.ranking(decided, ring.seqs(found))
            order = order[decided[order] >= min_scores[i]][: int(k[i])]
            counts[i] = len(order)
            slots.append(found[order])
            scores.append(decided[order])
        if not slots:
            return TopK(counts, np.empty(0, np.int64), np.empty(0, np.float32))
        return TopK(counts, np.concatenate(slots), np.concatenate(scores))
