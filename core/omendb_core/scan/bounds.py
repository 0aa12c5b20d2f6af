"""How far a matrix product may be from the score that ``score_pairs`` decides.

Every method gives, beside an estimate, a bound that holds whatever the summation order of BLAS, the
data and the magnitudes; the tests compare it with ``score_pairs``. What is assumed of BLAS is that
a product is sums of products, fused or not, in the precision of its operands.

The argument, with u = 2**-24, d = dim, D the decided score, and γ(n) = n u / (1 - n u), the usual
bound on n roundings in a row:

* ``dot``, ``cosine``. A product S of float32 matrices has |S - x·q| ≤ γ(d) |x| |q|. D is x·q
  rounded, after float64 steps too small to see: another u |x| |q|. The arithmetic on bounds in
  float32 (a sum, a difference, the slack itself) rounds three times more.
* ``l2``. S = 2 x·q - |x|² - |q|², with |x|² the square of the ring's norm, off by (d + 5) u |x|².
  Together 2 γ(d) |x| |q| + (d + 5) u |x|² + u |q|², and six roundings of things no larger than
  (|x| + |q|)²: at most γ(d + 11) (|x| + |q|)².
* So with n = d + 16 the slack γ(n) |x| |q|, or γ(n) (|x| + |q|)², covers these. It is computed from
  norms that are themselves off by a factor (1 ± n u): n u (1 + 4 n u) is above γ(n) with both.
* Underflow: each of the d products and sums may lose 2**-126 at most (2**-150 unless the processor
  was told to flush to zero), and a norm sqrt(d) 2**-74: the terms ``_lost`` and ``_lost_norm``.
* Overflow: norms are at most 2**62 (``score.prepare``), so nothing here reaches 2**127.

Knows the metric and arrays; nothing of slots, masks or k.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np

from ..model.types import F32, F64, I64, Metric
from ..scoring import score

_U32: Final = 2.0**-24
_U64: Final = 2.0**-53
#: Roundings beside those of the ``dim`` products and sums; see above.
_FURTHER_ROUNDINGS: Final = 16
#: Elements of rows that are taken to float64 at once: 1 MiB, which stays in cache.
_CLOSE_ELEMENTS: Final = 1 << 17


class Bounds:
    """Estimates of the scores of ``queries`` float32 (q, dim), prepared, with bounds.

    ``norms`` float64 (q,) are the queries', where they are known.
    """

    def __init__(self, metric: Metric, queries: F32, norms: F64 | None = None) -> None:
        dim = queries.shape[1]
        self._l2 = metric == "l2"
        self._queries = queries
        self._norms = score.norms(queries) if norms is None else norms
        roundings = (dim + _FURTHER_ROUNDINGS) * _U32
        self._unit = np.float32(roundings * (1 + 4 * roundings))
        self._lost = np.float32((dim + _FURTHER_ROUNDINGS) * 2.0**-124)
        self._lost_norm = np.float32(dim * 2.0**-74)

    @cached_property
    def _norms_f32(self) -> F32:
        return self._norms.astype(np.float32)

    @cached_property
    def _offsets(self) -> F64:
        return self._norms**2

    @cached_property
    def _offsets_f32(self) -> F32:
        return self._offsets.astype(np.float32)

    @cached_property
    def _factors(self) -> F32:
        return self._queries * np.float32(2) if self._l2 else self._queries

    def estimate(self, rows: F32, row_norms: F32, out: F32) -> F32:
        """Estimates of all queries against ``rows`` (n, dim), in ``out`` (q, n), which it returns.

        Under ``l2`` without their query's constant; ``cut`` and ``around`` know.
        """
        np.matmul(self._factors, rows.T, out=out)
        if self._l2:
            np.subtract(out, np.square(row_norms), out=out)
        return out

    def cut(self, floors: F32, largest_norm: float) -> F32:
        """For each query a number (q,): estimates below it belong to scores below its floor.

        Holds for rows whose norm in the ring is at most ``largest_norm``.
        """
        largest = largest_norm + float(self._lost_norm)
        unit, lost = float(self._unit), float(self._lost)
        if self._l2:
            cut = floors + self._offsets - (np.square(self._norms + largest) * unit + lost)
        else:
            cut = floors - (self._norms * (largest * unit) + lost)
        # Rounded down once more than needed, so that no rounding has to be argued about.
        down: F32 = np.nextafter(cut.astype(np.float32), np.float32(-np.inf))
        return down

    def around(self, which: I64, estimates: F32, row_norms: F32 | np.float32) -> tuple[F32, F32]:
        """Lower and upper bounds of scores, from their estimates.

        ``which`` are queries, broadcast against ``estimates`` and ``row_norms``: (h, 1), (h, n),
        (n,) for a matrix, or all (m,) for scattered rows. Rows with smaller norms than
        ``row_norms`` have smaller bounds.
        """
        query_norms, largest = self._norms_f32[which], row_norms + self._lost_norm
        slack = np.square(query_norms + largest) if self._l2 else query_norms * largest
        slack *= self._unit
        slack += self._lost
        middle = estimates - self._offsets_f32[which] if self._l2 else estimates
        return middle - slack, middle + slack

    def closely(self, which: I64, rows: F32) -> tuple[F32, F32]:
        """Lower and upper bounds (h, n) of the scores of queries ``which``, by float64 products.

        As a rule they are equal, and then they are the score: rounding to float32 is monotone, so
        D lies between the rounded ends of an interval that holds its float64 sum. The argument is
        the one above with 2**-53 for u, twice, as D's own sum errs as well; without underflow, as
        products of float32 numbers are far above the smallest float64. Under ``l2`` all is moved
        to one of the rows first, which costs 2**-53 of the moved norms, and keeps the bound small
        where the data sits far from the origin.
        """
        shape = len(which), len(rows)
        lower, upper = np.empty(shape, np.float32), np.empty(shape, np.float32)
        asked = self._queries[which].astype(np.float64)
        step = max(1, _CLOSE_ELEMENTS // rows.shape[1])
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            near = rows[some].astype(np.float64)
            products, slack = _l2_products(asked, near) if self._l2 else _products(asked, near)
            np.subtract(products, slack, out=lower[:, some], casting="same_kind")
            np.add(products, slack, out=upper[:, some], casting="same_kind")
        return lower, upper


def _products(asked: F64, near: F64) -> tuple[F64, F64]:
    """Products (h, n) and how far they may be off."""
    unit = _close_unit(near.shape[1])
    return asked @ near.T, np.outer(_lengths(asked) * unit, _lengths(near))


def _l2_products(asked: F64, near: F64) -> tuple[F64, F64]:
    """Negative squared distances (h, n) and how far they may be off; moves ``near``."""
    centre = near[len(near) // 2].copy()
    near -= centre
    asked = asked - centre
    squares, asked_squares = np.square(_lengths(near)), np.square(_lengths(asked))[:, None]
    products = (2 * asked) @ near.T
    products -= squares
    products -= asked_squares
    # (a + b)² ≤ 2 a² + 2 b²
    unit = 2 * _close_unit(near.shape[1])
    return products, asked_squares * unit + squares * unit


def _close_unit(dim: int) -> float:
    return (2 * dim + 2 * _FURTHER_ROUNDINGS) * _U64 * (1 + 2.0**-20)


def _lengths(vectors: F64) -> F64:
    lengths: F64 = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return lengths
