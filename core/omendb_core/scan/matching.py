"""New rows against standing queries: what matching is, and how numpy does it.

It is the scan with its roles swapped.

One matrix product finds pairs that may reach their query's floor, ``score_pairs`` decides. Knows
vectors and floors; nothing of lists, subscriptions or windows.

Why no pair is missed stands in ``bounds.py``: a pair below its query's cut, taken at the largest
norm of a chunk, is below its floor.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..model.types import F32, F64, I64, Metric
from ..scoring import score
from .bounds import Bounds
from .interface import Pairs

#: Products of one chunk: 4 MiB of float32, so that product, compare and search stay in cache.
CHUNK_PRODUCTS: Final = 1 << 20
#: Above this, hits of a chunk are counted by query before they are looked for: it takes as long as
#: the product, but what crowded queries hit need not be held.
MOST_SEARCHED: Final = 1 << 14


def pairs_above(
    metric: Metric,
    rows: F32,
    row_norms: F32,
    queries: F32,
    query_norms: F64,
    floors: F32,
    most: I64,
) -> Pairs:
    """All pairs whose score is at least the query's floor, by row, then query.

    ``rows`` float32 (n, dim) as stored, ``queries`` float32 (q, dim) as prepared, row norms as the
    ring keeps them, query norms exact; ``floors`` float32 (q,): -inf takes every row, +inf none;
    ``most`` int64 (q,).
    """
    bounds = Bounds(metric, queries, query_norms)
    found: list[tuple[I64, I64]] = []
    crowded: list[I64] = []
    step = max(1, CHUNK_PRODUCTS // max(1, len(queries)))
    scratch = np.empty((min(step, len(rows)), len(queries)), np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        norms = row_norms[start : start + step]
        products = _products(metric, part, norms, queries, scratch[: len(part)])
        hits = products >= bounds.cut(floors, float(norms.max()))
        count = np.count_nonzero(hits)
        if not count:
            continue
        if count > MOST_SEARCHED:
            busy = np.flatnonzero(hits.sum(axis=0) > most)
            hits[:, busy] = False
        hit_rows, hit_queries = np.divmod(np.flatnonzero(hits), len(queries))
        if count <= MOST_SEARCHED:
            asking, counts = np.unique(hit_queries, return_counts=True)
            busy = asking[counts > most[asking]]
        if len(busy):
            floors = floors if crowded else floors.copy()
            crowded.append(busy)
            floors[busy] = np.inf
        found.append((hit_rows + start, hit_queries))
    if not found:
        none = np.empty(0, np.int64)
        return Pairs(none, none, np.empty(0, np.float32), none)
    return _decided(metric, rows, queries, floors, found, crowded)


def _decided(
    metric: Metric,
    rows: F32,
    queries: F32,
    floors: F32,
    found: list[tuple[I64, I64]],
    crowded: list[I64],
) -> Pairs:
    none = np.empty(0, np.int64)
    row = np.concatenate([none, *(pair[0] for pair in found)])
    query = np.concatenate([none, *(pair[1] for pair in found)])
    open_still = floors[query] < np.inf
    row, query = row[open_still], query[open_still]
    scores = score.score_chosen(metric, rows, row, queries, query)
    keep = scores >= floors[query]
    return Pairs(row[keep], query[keep], scores[keep], np.concatenate([none, *crowded]))


def _products(metric: Metric, rows: F32, row_norms: F32, queries: F32, out: F32) -> F32:
    """x·q, or for ``l2`` 2 x·q - ‖x‖², float32 (n, q)."""
    if metric != "l2":
        np.matmul(rows, queries.T, out=out)
        return out
    np.matmul(rows * np.float32(2), queries.T, out=out)
    out -= (row_norms * row_norms)[:, None]
    return out
