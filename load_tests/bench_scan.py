"""The scan of a full window, beside the bare matrix product of the same shape in the same run.

    python -m load_tests.bench_scan [--rows 100000] [--dim 128] [--k 10] [--metric cosine]

Prints milliseconds a query, the median of some rounds in which product and scan take turns (the
machine may be noisy), for batches of 1, 8, 64 and 256.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from omendb_core import score
from omendb_core.kernels import blas, scan
from omendb_core.ring import Ring
from omendb_core.types import F32, METRICS, Metric

BATCHES = (1, 8, 64, 256)
ROUND_SECONDS = 2.0


def median_ms(calls: list[Callable[[], object]]) -> list[float]:
    """Median milliseconds of each of ``calls``, which take turns for ROUND_SECONDS."""
    times: list[list[float]] = [[] for _ in calls]
    stop_at = time.perf_counter() + ROUND_SECONDS
    while len(times[-1]) < 4 or time.perf_counter() < stop_at:
        for call, spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            spent.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(spent[1:]) for spent in times]


def measure(kernel: scan.Scan, ring: Ring, metric: Metric, queries: F32, k: int) -> list[float]:
    """Milliseconds of the bare product and of the scan."""
    count = len(queries)
    ks, least = np.full(count, k), np.full(count, -np.inf, np.float32)
    masks, mask_of = ring.live_words[None], np.zeros(count, np.int64)
    estimates = np.empty((count, ring.capacity), np.float32)
    return median_ms(
        [
            lambda: np.matmul(queries, ring.vectors.T, out=estimates),
            lambda: kernel.top_k(ring, metric, queries, ks, least, masks, mask_of),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A full window's scan beside the bare product.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--metric", choices=METRICS, default="cosine")
    options = parser.parse_args()
    threads = "one thread" if blas.use_threads(1) else "threads unknown"
    kernel = scan.choose()
    rng = np.random.default_rng(0)

    def vectors(count: int) -> F32:
        values = rng.standard_normal((count, options.dim), dtype=np.float32)
        return score.prepare(values, options.metric)

    ring = Ring(options.rows, options.dim)
    ring.append(vectors(options.rows))
    print(f"{options.rows} x {options.dim}, {options.metric}, k = {options.k}")
    print(f"kernel {kernel.name}, BLAS {threads}")
    print("batch   product ms/query   scan ms/query   ratio")
    for batch in BATCHES:
        both = measure(kernel, ring, options.metric, vectors(batch), options.k)
        product, scanned = (spent / batch for spent in both)
        print(f"{batch:5d}   {product:16.3f}   {scanned:13.3f}   {scanned / product:5.2f}")


if __name__ == "__main__":
    main()
