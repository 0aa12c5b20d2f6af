"""Times by the time of the same work in numpy, by turns, on one core: what weather leaves alone."""

from __future__ import annotations

import statistics

import numpy as np
from omendb_core.model.types import F32
from omendb_core.window import Window

from ..aims import engine
from ..aims.child import on_one_core
from ..aims.turns import medians_us
from . import work

_ROWS = 100_000
_BATCHES = (1, work.QUERIES)
_RUNS, _SECONDS = 3, 0.5


def ratios() -> tuple[str, dict[str, float]]:
    """The kernel, and by name how much of the reference's time ours is."""
    return on_one_core(_measure)


def _measure() -> tuple[str, dict[str, float]]:
    vectors, queries = engine.clustered(_ROWS, work.QUERIES, work.DIM)
    window = engine.filled(vectors, "cosine")
    found = {
        f"scan, batch {batch}, to the reference scan": _of_a_scan(window, queries[:batch])
        for batch in _BATCHES
    }
    kept = np.empty((work.ADDED_ROWS, work.DIM), np.float32)
    rows = vectors[: work.ADDED_ROWS]
    times = medians_us(
        {"ours": work.adder(window, vectors), "numpy": lambda: _normalise(rows, kept)},
        _RUNS, _SECONDS,
    )  # fmt: skip
    found["an add, to normalising its rows in numpy"] = _ratio(times)
    return window.state.scan.name, found


def _of_a_scan(window: Window, queries: F32) -> float:
    calls = engine.kernels(window, work.K)
    ours, reference = calls["engine"], calls[engine.REFERENCE]
    both = {"ours": lambda: ours(queries), "numpy": lambda: reference(queries)}
    return _ratio(medians_us(both, _RUNS, _SECONDS))


def _normalise(rows: F32, kept: F32) -> None:
    wide = rows.astype(np.float64)
    kept[:] = wide / np.sqrt((wide * wide).sum(axis=1))[:, None]


def _ratio(times: dict[str, list[float]]) -> float:
    return statistics.median(times["ours"]) / statistics.median(times["numpy"])
