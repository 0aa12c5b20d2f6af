"""Data that is hard for a scan that estimates: how much slower than the numpy reference it gets.

No data set may make it more than twice as slow. Far from the origin, with one coordinate that
drowns all others, in near-duplicates and in ties, a bound on rounded values keeps many rows or all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from omendb_core.model.types import F32, METRICS

from . import engine
from .child import on_one_core
from .row import Effort, Row
from .turns import medians_us

ROWS, DIM = 20_000, 128
BATCHES = (1, 32)
_AIM = 2.0
Rng = np.random.Generator


def _normal(rng: Rng, rows: int) -> F32:
    return rng.standard_normal((rows, DIM), dtype=np.float32)


def _with_column(rng: Rng, rows: int, values: F32 | float) -> F32:
    made = _normal(rng, rows)
    made[:, DIM // 3] = values
    return made


def _scaled(rng: Rng, rows: int, least: float, most: float) -> F32:
    """Rows whose norms go evenly in their logarithm from 2**least to 2**most."""
    scales = np.exp2(rng.uniform(least, most, (rows, 1))).astype(np.float32)
    return _normal(rng, rows) * scales


#: Made for any number of rows; the queries are the last of them.
DATA: dict[str, Callable[[Rng, int], F32]] = {
    "normal": _normal,
    "far from the origin (1000 ± 1)": lambda rng, n: 1000 + _normal(rng, n),
    "one huge coordinate": lambda rng, n: _with_column(
        rng, n, 1e6 * rng.standard_normal(n).astype(np.float32)
    ),
    "one huge constant coordinate": lambda rng, n: _with_column(rng, n, 1e6),
    "near-duplicates": lambda rng, n: _normal(rng, 1) + np.float32(1e-6) * _normal(rng, n),
    "forty distinct rows": lambda rng, n: _normal(rng, 40)[rng.integers(0, 40, n)],
    "all the same": lambda rng, n: np.repeat(_normal(rng, 1), n, axis=0),
    "small integers": lambda rng, n: rng.integers(1, 4, (n, DIM)).astype(np.float32),
    "mixed norms": lambda rng, n: _scaled(rng, n, -20.0, 20.0),
    "denormal coordinates": lambda rng, n: np.where(
        np.arange(DIM) < DIM - 2, np.float32(1e-40), _normal(rng, n)
    ).astype(np.float32),
}


def bench(effort: Effort) -> list[Row]:
    """One row for each data set: the worst of all metrics and batches, engine to reference."""
    made = []
    for name, found in on_one_core(measure, effort).items():
        worst = max(found, key=lambda one: np.median(found[one]))
        made.append(
            Row(f"hard: {name}", "of the reference", found[worst], "at most", _AIM, notes=[worst])
        )
    return made


def measure(effort: Effort) -> dict[str, dict[str, list[float]]]:
    """Engine to reference, by data set and by metric and batch."""
    found: dict[str, dict[str, list[float]]] = {}
    cases = len(METRICS) * len(BATCHES) * len(DATA)
    for name, make in DATA.items():
        vectors = make(np.random.default_rng(3), ROWS + max(BATCHES))
        rows, queries = vectors[:ROWS], vectors[ROWS:]
        found[name] = {}
        for metric in METRICS:
            calls = engine.kernels(engine.filled(rows, metric), effort.k)
            for batch in BATCHES:
                some = queries[:batch]
                asked = {one: _asking(call, some) for one, call in calls.items()}
                times = medians_us(asked, effort.runs, 4 * effort.seconds / cases)
                found[name][f"{metric}, batch {batch}"] = [
                    one / other
                    for one, other in zip(times["engine"], times[engine.REFERENCE], strict=True)
                ]
    return found


def _asking(call: Callable[[F32], object], queries: F32) -> Callable[[], object]:
    return lambda: call(queries)
