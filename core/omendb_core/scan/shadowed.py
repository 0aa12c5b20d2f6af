"""The scan over the int8 shadow, in C; one kernel for each instruction set, all to the same bits.

Where the shadow cannot tell rows apart (ties by the thousand, magnitudes beyond 2**±30, one
coordinate that drowns the others) it is given up early, and every row is scored instead.
"""

from __future__ import annotations

import numpy as np

from .. import native
from ..model.types import F32, F64, I64, U32, U64, Metric
from ..rows.ring import Ring
from ..rows.shadow import Shadow
from .decayed import Question, unranked, with_unranked
from .interface import Pairs, RankedTopK, Subscribed, Times, TopK
from .reference import ReferenceScan

#: Threads share a query that reads more than this: it takes some 0.5 ms, and waking one 50 µs.
SHARED_BYTES = 16 << 20


class ShadowedScan:
    """The scan in C with the kernel ``name``; any number of threads and rings may share one.

    ``threads``: how many may share one query over a window that no cache holds.
    """

    keeps_shadow = True

    def __init__(self, name: str, threads: int = 1) -> None:
        self.name = name
        self._threads = threads
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
        """See ``interface.Scan.top_k``."""
        question = Question(queries, k, min_scores, masks, mask_of)
        if ring.shadow is None:
            return self._reference.top_k(ring, metric, *question)
        return TopK(*self._found(ring, question, None)[:3])

    def top_k_decayed(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
        times: Times,
        half_lives: F64,
    ) -> RankedTopK:
        """See ``interface.Scan.top_k_decayed``."""
        question = Question(queries, k, min_scores, masks, mask_of)
        decay = times, half_lives
        if ring.shadow is None:
            return self._reference.top_k_decayed(ring, metric, *question, *decay)
        if metric == "l2":
            return unranked(self.top_k(ring, metric, *question))
        ranked = RankedTopK(*self._found(ring, question, decay))
        return with_unranked(self, ring, metric, question, times, ranked)

    def score_bounds(
        self, ring: Ring, metric: Metric, queries: F32, first: int, stop: int
    ) -> tuple[F32, F32]:
        """See ``interface.Scan.score_bounds``."""
        shadow = ring.shadow
        if shadow is None:
            return self._reference.score_bounds(ring, metric, queries, first, stop)
        shape = len(queries), stop - first
        lower, upper = np.empty(shape, np.float32), np.empty(shape, np.float32)
        native.compiled.score_bounds(
            self.name,
            shadow.codes,
            shadow.factors,
            shadow.centre,
            ring.capacity,
            shadow.metric_code,
            queries,
            first,
            lower,
            upper,
        )
        return lower, upper

    def rows_reaching(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        first: int,
        block_rows: int,
        floors: F32,
        mask: U64,
        most: int,
    ) -> list[I64 | None]:
        """See ``interface.Scan.rows_reaching``."""
        shadow = ring.shadow
        if shadow is None:
            return self._reference.rows_reaching(
                ring, metric, queries, first, block_rows, floors, mask, most
            )
        counts, found = np.empty(len(queries), np.int64), np.empty((len(queries), most), np.int64)
        native.compiled.rows_reaching(
            self.name,
            shadow.codes,
            shadow.factors,
            shadow.centre,
            ring.capacity,
            shadow.metric_code,
            queries,
            first,
            block_rows,
            floors,
            mask,
            counts,
            found,
        )
        return [
            slots[:count] if count <= most else None
            for count, slots in zip(counts.tolist(), found, strict=True)
        ]

    def _found(
        self, ring: Ring, question: Question, decay: tuple[Times, F64] | None
    ) -> tuple[U32, I64, F32, F64]:
        """Counts, slots, scores, and under decay the ranks of the rows, which all have one."""
        shadow = ring.shadow
        assert shadow is not None
        queries, k, min_scores, masks, mask_of = question
        k = np.minimum(k, max(1, ring.used))
        wanted = sum(k.tolist())
        counts = np.empty(len(queries), np.uint32)
        slots, scores = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
        ranks = np.empty(0 if decay is None else wanted)
        written, _ = native.compiled.top_k(
            self.name,
            native.lanes,
            shadow.codes,
            shadow.factors,
            shadow.nibbles,
            shadow.centre,
            shadow.metric_code,
            ring.vectors,
            ring.last_seq,
            queries,
            k,
            min_scores,
            masks,
            mask_of,
            counts,
            slots,
            scores,
            None if decay is None else (*decay[0], decay[1], ranks),
            self._threads if is_long(shadow) else 1,
        )
        return counts, slots[:written], scores[:written], ranks[:written]

    def pairs_above(
        self,
        metric: Metric,
        rows: F32,
        row_norms: F32,
        queries: Subscribed,
        floors: F32,
        most: I64,
    ) -> Pairs:
        """See ``interface.Scan.pairs_above``."""
        if queries.shadow is None:
            return self._reference.pairs_above(metric, rows, row_norms, queries, floors, most)
        if not len(rows) or not len(queries.vectors):
            return _no_pairs()
        if metric != "dot" or row_norms.max() <= 2 * row_norms.min():
            return self._pairs_above(rows, queries, floors, most)
        # What is left out goes by the longest row of a call (``native/match.c``).
        lengths = np.frexp(row_norms)[1]
        parts = []
        for length in np.unique(lengths):
            which = np.flatnonzero(lengths == length)
            found = self._pairs_above(rows[which], queries, floors, most)
            parts.append(found._replace(rows=which[found.rows]))
        return _together(parts, most)

    def _pairs_above(self, rows: F32, queries: Subscribed, floors: F32, most: I64) -> Pairs:
        shadow = queries.shadow
        assert shadow is not None
        found = native.compiled.pairs_above(
            self.name,
            native.lanes,
            (shadow.codes, shadow.factors, shadow.centre, shadow.metric_code, shadow.capacity),
            queries.vectors,
            floors,
            most,
            rows,
        )
        row, query, scores, crowded = found
        return Pairs(
            np.frombuffer(row, np.int64),
            np.frombuffer(query, np.int64),
            np.frombuffer(scores, np.float32),
            np.frombuffer(crowded, np.int64),
        )


def is_long(shadow: Shadow | None) -> bool:
    """Whether a query of its ring is worth waking helpers for."""
    return (
        shadow is not None
        and shadow.nibbles is not None
        and shadow.nibbles[0].nbytes > SHARED_BYTES
    )


def _no_pairs() -> Pairs:
    none = np.empty(0, np.int64)
    return Pairs(none, none, np.empty(0, np.float32), none)


def _together(parts: list[Pairs], most: I64) -> Pairs:
    """Pairs of different rows, by row again, without those of queries that have more than most."""
    rows, queries, scores, crowded = (np.concatenate(column) for column in zip(*parts, strict=True))
    over = np.flatnonzero(np.bincount(queries, minlength=len(most)) > most)
    crowded = np.union1d(crowded, over)
    keep = np.flatnonzero(~np.isin(queries, crowded))
    order = keep[np.argsort(rows[keep], kind="stable")]
    return Pairs(rows[order], queries[order], scores[order], crowded)
