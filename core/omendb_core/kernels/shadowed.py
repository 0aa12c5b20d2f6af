"""The scan over the int8 shadow, in C; one kernel for each instruction set, all to the same bits.

Where the shadow cannot tell rows apart (ties by the thousand, magnitudes beyond 2**±30, one
coordinate that drowns the others) it is given up early, and every row is scored instead.
"""

from __future__ import annotations

import numpy as np

from .. import native
from ..ring import Ring
from ..types import F32, I64, U64, Metric
from .reference import ReferenceScan
from .scan import TopK


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
        written, _ = native.compiled.top_k(
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
        return TopK(counts, slots[:written], scores[:written])
