"""Between what scores lie, and which rows may score enough, as numpy tells by products."""

from __future__ import annotations

import numpy as np

from ..model.types import F32, I64, U64, Metric
from ..rows.ring import Ring, unpack
from .bounds import Bounds


def score_bounds(
    ring: Ring, metric: Metric, queries: F32, first: int, stop: int
) -> tuple[F32, F32]:
    """See ``interface.Scan.score_bounds``."""
    shape = len(queries), stop - first
    lower, upper = np.empty(shape, np.float32), np.empty(shape, np.float32)
    used = slice(first, min(stop, ring.used))
    rows, norms = ring.vectors[used], ring.norms[used]
    bounds, every = Bounds(metric, queries), np.arange(len(queries))[:, None]
    estimates = bounds.estimate(rows, norms, np.empty((len(queries), len(rows)), np.float32))
    lower[:, : len(rows)], upper[:, : len(rows)] = bounds.around(every, estimates, norms)
    return lower, upper


def rows_reaching(
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
    stop = min(first + block_rows * floors.shape[1], ring.used)
    _, upper = score_bounds(ring, metric, queries, first, stop)
    asked = np.repeat(floors, block_rows, axis=1)[:, : stop - first]
    reached = (upper >= asked) & (asked < np.inf)
    reached &= unpack(mask[first >> 6 : -(-stop // 64)], stop - first)
    slots = [np.flatnonzero(one) + first for one in reached]
    return [one if len(one) <= most else None for one in slots]
