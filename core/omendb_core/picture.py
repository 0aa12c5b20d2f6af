"""A window in two dimensions: the principal plane of a sample, turned to fit the plane before it.

Pure functions of arrays. A *plane* maps a row x to ``axes @ (x - origin) + offset``. Turning or
mirroring the two principal axes shows the same shape, and any offset the same distances, so a new
plane is free to lie where the rows already seen move least: the orthogonal Procrustes problem,
solved by the singular vectors of a 2 × 2 matrix (Schönemann, Psychometrika 1966).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from .model.types import F32, F64

#: The axes are found by orthogonal iteration over a few vectors more than two, which brings close
#: third axes along (Halko, Martinsson and Tropp, SIAM Review 2011). An eigendecomposition of the
#: covariance takes dim³ steps: seconds at 4,096 dimensions, where this takes 0.1 s.
_VECTORS: Final = 6
_ROUNDS: Final = 12
#: Elements taken to float64 at once: 2 MiB.
_BLOCK_ELEMENTS: Final = 1 << 18


class Plane(NamedTuple):
    """``origin`` float64 (dim,), ``axes`` float64 (2, dim), ``offset`` float64 (2,)."""

    origin: F64
    axes: F64
    offset: F64


def principal(sample: F32) -> Plane:
    """The plane of the two axes along which ``sample`` float32 (n, dim), n ≥ 1, varies most.

    Deterministic. An axis along which nothing varies is zero. Needs 8 bytes an element beside.
    """
    origin = sample.mean(axis=0, dtype=np.float64)
    centred = sample - origin
    # Nothing here may overflow: rows may be as long as 2**62.
    largest = float(np.abs(centred).max())
    if largest == 0.0:
        return Plane(origin, np.zeros((2, sample.shape[1])), np.zeros(2))
    centred /= largest
    count = min(_VECTORS, *centred.shape)
    start = np.random.default_rng(0).standard_normal((sample.shape[1], count))
    span = np.linalg.qr(start)[0]
    for _ in range(_ROUNDS):
        span = np.linalg.qr(centred.T @ (centred @ span))[0]
    _, lengths, turn = np.linalg.svd(centred @ span, full_matrices=False)
    axes = np.zeros((2, sample.shape[1]))
    varying = np.flatnonzero(lengths[:2] > lengths[0] * 1e-9)
    axes[varying] = turn[varying] @ span.T
    return Plane(origin, axes, np.zeros(2))


def place(plane: Plane, rows: F32) -> F64:
    """Where ``rows`` float32 (n, dim) lie in the plane: float64 (n, 2)."""
    placed = np.empty((len(rows), 2))
    step = max(1, _BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), step):
        placed[start : start + step] = (rows[start : start + step] - plane.origin) @ plane.axes.T
    placed += plane.offset
    return placed


def fitted(plane: Plane, before: Plane, sample: F32) -> Plane:
    """``plane`` turned, mirrored and moved so that ``sample`` lies as near as can be to where the
    plane ``before`` has it; distances within the plane stay what they are."""
    old, new = place(before, sample), place(plane, sample)
    old_middle, new_middle = old.mean(axis=0), new.mean(axis=0)
    left, _, right = np.linalg.svd((old - old_middle).T @ (new - new_middle))
    turn = left @ right
    turned = turn @ plane.axes
    return Plane(plane.origin, turned, old_middle - turn @ (new_middle - plane.offset))


def captured(plane: Plane, sample: F32) -> float:
    """The variance of ``sample`` that the plane shows, summed over its two axes."""
    return float(place(plane, sample).var(axis=0).sum())
