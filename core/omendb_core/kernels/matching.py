"""New rows against standing queries, in numpy: the scan with its roles swapped.

One matrix product finds pairs that may reach their query's floor, ``score_pairs`` decides. Knows
vectors and floors; nothing of lists, subscriptions or windows.

Why no pair is missed: a float32 product of d terms, summed in any order, errs by less than
γ ‖x‖‖q‖ with γ = d u / (1 - d u), u = 2⁻²⁴, and by 2⁻¹⁴⁹ for each term that underflows; the decided
score errs by another u ‖x‖‖q‖ (its one rounding). ``_slack`` is several times that, taken at the
largest norm of the chunk. ``l2`` is 2 x·q - ‖x‖² - ‖q‖², where ‖x‖² comes from the ring's norms:
rounded up by at most (d + 16) 2⁻²³ each, so by (d + 16) 2⁻²² squared; the scale of all errors is
‖x‖² + 2 ‖x‖‖q‖ + ‖q‖².
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from .. import score
from ..types import F32, F64, I64, Bool1, Metric

#: Products of one chunk: 4 MiB of float32, so that product, compare and search stay in cache.
CHUNK_PRODUCTS: Final = 1 << 20
#: Pairs decided in one go: bounds the copies of their vectors.
DECIDED_AT_ONCE: Final = 1 << 14


class Pairs(NamedTuple):
    """Pairs (row, query) by index, with their decided scores; all arrays (m,).

    ``crowded`` are the queries that more rows of one chunk may have reached than ``most``: no
    pair of theirs is here.
    """

    rows: I64
    queries: I64
    scores: F32
    crowded: I64


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
    floors = floors.copy()
    found: list[tuple[I64, I64]] = []
    crowded: list[I64] = []
    step = max(1, CHUNK_PRODUCTS // max(1, len(queries)))
    scratch = np.empty((min(step, len(rows)), len(queries)), np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        norms = row_norms[start : start + step]
        products = _products(metric, part, norms, queries, scratch[: len(part)])
        hits = products >= _thresholds(metric, norms, query_norms, floors, rows.shape[1])
        if not hits.any():
            continue
        busy = _crowded(hits, most)
        if len(busy):
            crowded.append(busy)
            floors[busy] = np.inf
            hits[:, busy] = False
        hit_rows, hit_queries = np.divmod(np.flatnonzero(hits), len(queries))
        found.append((hit_rows + start, hit_queries))
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
    scores = np.empty(len(row), np.float32)
    for start in range(0, len(row), DECIDED_AT_ONCE):
        block = slice(start, start + DECIDED_AT_ONCE)
        scores[block] = score.score_pairs(metric, rows[row[block]], queries[query[block]])
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


def _crowded(hits: Bool1, most: I64) -> I64:
    # Counting by query costs as much as the product: only where it can matter.
    if np.count_nonzero(hits) <= int(most.min()):
        return np.empty(0, np.int64)
    return np.flatnonzero(hits.sum(axis=0) > most)


def _thresholds(metric: Metric, row_norms: F32, query_norms: F64, floors: F32, dim: int) -> F32:
    """What the product must reach, float32 (q,), rounded down."""
    wanted = floors.astype(np.float64)
    if metric == "l2":
        wanted += query_norms * query_norms
    wanted -= _slack(metric, float(row_norms.max()), query_norms, dim)
    with np.errstate(over="ignore"):
        rounded = wanted.astype(np.float32)
    lowered: F32 = np.nextafter(rounded, np.float32(-np.inf))
    # The step down from +inf is a number again, which a product could reach.
    lowered[np.isposinf(floors)] = np.inf
    return lowered


def _slack(metric: Metric, row_norm: float, query_norms: F64, dim: int) -> F64:
    scale = row_norm * query_norms
    if metric == "l2":
        scale = row_norm * row_norm + 2 * scale + query_norms * query_norms
    slack: F64 = (dim + 16) * 2.0**-21 * scale + dim * 2.0**-147
    return slack
