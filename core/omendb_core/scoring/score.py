"""The definition of a score, its order, normalisation and the limits on norms.

PROTOCOL section 3 is law here: products (for ``l2`` squared differences) are taken in float64,
summed in float64 in one fixed order, and rounded once to float32. Kernels only find candidates;
every score that is compared, ordered or sent comes from ``score_pairs``.

The order: eight lanes (lane j takes the elements i = j mod 8, ascending, zero-padded), folded
((0+4)+(2+6))+((1+5)+(3+7)). It is written out as elementwise additions of whole arrays, never as a
numpy reduction: those may sum pairwise or in another order, as shape and memory layout fall.

That is the definition, and what the tests hold everything to. The C extension, where there is one,
gives the same bits with a tenth of the work, on rows where they lie (``native/lanes_body.h``).

Knows nothing of rings or windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .. import native
from ..model.errors import NonFinite, ZeroNorm
from ..model.types import F32, F64, I64, U64, Metric

LANES: Final = 8
#: Norms outside of these are refused: above for any metric, below under ``cosine``.
MAX_NORM: Final = 2.0**62
MIN_COSINE_NORM: Final = 2.0**-62

#: Elements that one block of rows is scored in: 512 KiB of float64, about half of an L2 cache.
#: It also bounds the memory of any call, however many rows it is given.
_BLOCK_ELEMENTS: Final = 1 << 16
#: Below this sum of squares every element is below 2**50, so no norm is near MAX_NORM: float32
#: sums of squares never fall below any of their terms, in whatever order BLAS adds them.
_SURELY_FINITE: Final = 2.0**100


def lane_sum(products: F64) -> F64:
    """Sum each row of ``products`` float64 (n, dim) in the eight-lane order; float64 (n,)."""
    sums = np.empty(len(products))
    for rows in _blocks(*products.shape):
        sums[rows] = _fold(_in_lanes(products[rows]))
    return sums


def norms(vectors: F32) -> F64:
    """Norms of ``vectors`` float32 (n, dim): square root of the lane sum of x·x; float64 (n,)."""
    lengths = np.empty(len(vectors))
    if _has_rows(vectors):
        native.compiled.norms(native.lanes, vectors, lengths)
        return lengths
    for rows in _blocks(*vectors.shape):
        lanes = _in_lanes(vectors[rows])
        np.multiply(lanes, lanes, out=lanes)
        lengths[rows] = _fold(lanes)
    return np.sqrt(lengths)


def score_pairs(metric: Metric, rows: F32, queries: F32) -> F32:
    """Score ``rows[i]`` against ``queries[i]``, both float32 (m, dim); float32 (m,).

    Under ``cosine`` both are normalised already. -0 is 0. Memory beside the answer is bounded.
    """
    scores = np.empty(len(rows), np.float32)
    if _has_rows(rows) and _has_rows(queries):
        native.compiled.score_pairs(native.lanes, metric == "l2", rows, queries, scores)
        return scores
    for block in _blocks(*rows.shape):
        scores[block] = _score(metric, rows[block], queries[block])
    return scores


def score_chosen(metric: Metric, rows: F32, slots: I64, queries: F32, askers: I64) -> F32:
    """Score ``rows[slots[i]]`` against ``queries[askers[i]]``, float32 (m,), as ``score_pairs``.

    ``rows`` float32 (n, dim) and ``queries`` (q, dim); ``slots`` and ``askers`` int64 (m,).
    """
    scores = np.empty(len(slots), np.float32)
    if _has_rows(rows) and _has_rows(queries):
        native.compiled.score_chosen(
            native.lanes, metric == "l2", rows, slots, queries, askers, scores
        )
        return scores
    for block in _blocks(len(slots), rows.shape[1]):
        scores[block] = _score(metric, rows[slots[block]], queries[askers[block]])
    return scores


def ranking(scores: F32, seqs: U64) -> I64:
    """Indices by score descending, then seq descending; int64 (n,). Seqs are distinct."""
    return np.lexsort((seqs, scores))[::-1].astype(np.int64, copy=False)


def floors(min_scores: Sequence[float | None]) -> F32:
    """The least score that counts for each ``min_score``, float32 (n,): rounded; -inf for None."""
    if min_scores.count(None) == len(min_scores):
        return np.full(len(min_scores), -np.inf, np.float32)
    with np.errstate(over="ignore"):
        wanted = [-np.inf if one is None else one for one in min_scores]
        return np.array(wanted, np.float64).astype(np.float32)


def prepare(vectors: F32, metric: Metric) -> F32:
    """What is stored, or asked with: checked, and under ``cosine`` normalised in a new array.

    Takes float32 (n, dim). Under ``dot`` and ``l2`` returns ``vectors`` itself. Raises NonFinite
    (NaN, an infinity, or a norm above 2**62) or ZeroNorm (a norm below 2**-62 under ``cosine``)
    for the first row at fault.
    """
    is_native = _has_rows(vectors)
    if metric != "cosine":
        if is_native:
            at_fault = native.compiled.first_too_long(native.lanes, vectors, MAX_NORM)
            _raise_for(vectors, at_fault, metric)
        elif not _surely_finite(vectors):
            _check_norms(norms(vectors), metric)
        return vectors
    normalised = np.empty(vectors.shape, np.float32)
    if is_native:
        at_fault = native.compiled.normalise(
            native.lanes, vectors, MIN_COSINE_NORM, MAX_NORM, normalised
        )
        _raise_for(vectors, at_fault, metric)
        return normalised
    lengths = norms(vectors)
    _check_norms(lengths, metric)
    for rows in _blocks(*vectors.shape):
        np.divide(vectors[rows], lengths[rows, None], out=normalised[rows], casting="same_kind")
    return normalised


def _has_rows(vectors: F32) -> bool:
    """Whether the extension is in use and takes these: rows that are contiguous each."""
    return native.is_used and vectors.strides[1] == vectors.itemsize and vectors.strides[0] >= 0


def _score(metric: Metric, rows: F32, queries: F32) -> F32:
    lanes, others = _in_lanes(rows), _in_lanes(queries)
    if metric == "l2":
        np.subtract(lanes, others, out=lanes)
        np.multiply(lanes, lanes, out=lanes)
        sums = _fold(lanes)
        np.negative(sums, out=sums)
    else:
        np.multiply(lanes, others, out=lanes)
        sums = _fold(lanes)
    # Rounding may make -0 out of a tiny negative sum, so this comes last.
    scores: F32 = sums.astype(np.float32) + np.float32(0)
    return scores


def _blocks(count: int, dim: int) -> list[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(dim, LANES))
    return [slice(start, start + step) for start in range(0, count, step)]


def _in_lanes(values: NDArray[np.floating]) -> F64:
    """Copy (n, dim) as float64 (ceil(dim / 8), n, 8), zero-padded: [b, i, j] is [i, 8 b + j]."""
    count, dim = values.shape
    full = dim // LANES
    lanes = np.empty((-(-dim // LANES), count, LANES))
    lanes[:full] = values[:, : full * LANES].reshape(count, full, LANES).transpose(1, 0, 2)
    if rest := dim - full * LANES:
        lanes[full, :, :rest] = values[:, full * LANES :]
        lanes[full, :, rest:] = 0
    return lanes


def _fold(lanes: F64) -> F64:
    """Sum ``lanes`` (blocks, n, 8), which it may overwrite, in the fixed order; float64 (n,)."""
    total: F64 = lanes[0]
    for block in lanes[1:]:
        np.add(total, block, out=total)
    l0, l1, l2, l3, l4, l5, l6, l7 = total.T
    folded: F64 = ((l0 + l4) + (l2 + l6)) + ((l1 + l5) + (l3 + l7))
    return folded


def _surely_finite(vectors: F32) -> bool:
    flat = vectors.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.dot(flat, flat) < _SURELY_FINITE)


def _raise_for(vectors: F32, row: int, metric: Metric) -> None:
    """The error for the row at fault, -1: none."""
    if row >= 0:
        _check_norms(norms(vectors[: row + 1]), metric)


def _check_norms(lengths: F64, metric: Metric) -> None:
    # Written so that NaN, which compares false, is at fault too.
    fine = lengths <= MAX_NORM
    if metric == "cosine":
        fine &= lengths >= MIN_COSINE_NORM
    if fine.all():
        return
    row = int(np.argmin(fine))
    length = float(lengths[row])
    if not math.isfinite(length):
        raise NonFinite("the vector holds NaN or an infinity", row=row)
    if length > MAX_NORM:
        raise NonFinite(f"the vector's norm {length:.3g} is above 2**62", row=row)
    raise ZeroNorm(f"the vector's norm {length:.3g} is below 2**-62", row=row)
