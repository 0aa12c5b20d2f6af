r"""The scan of a full window by the kernels of this machine, beside the reference in the same run.

    python -m load_tests.bench_scan [--rows 100000] [--dim 128] [--k 10] [--metric cosine] \
        [--batches 1 32] [--kernels avx512 reference]
    python -m load_tests.bench_scan --masks      searches of which a filter leaves a part
    python -m load_tests.bench_scan --hard       data that is hard (tests/core/hard_data.py)

Prints microseconds of processor time a query, all included (what else runs here takes turns with
it, and would count otherwise): the median of some rounds in which the kernels take turns, and how
many times faster than the last of them that is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from omendb_core.model.types import F32, METRICS, U64, Definition, Metric
from omendb_core.rows.ring import Ring, pack
from omendb_core.scan import choice as scan
from omendb_core.scoring import blas, score

BATCHES = (1, 8, 32, 64, 256)
SHARES = (1, 0.5, 0.1, 0.01, 0.001)
ROUND_SECONDS = 1.5
#: A round of the hard data, of which there are many.
HARD_SECONDS = 0.3


def medians_us(calls: list[Callable[[], object]], seconds: float) -> list[float]:
    """Median microseconds of each of ``calls``, which take turns for so long."""
    times: list[list[float]] = [[] for _ in calls]
    stop_at = time.perf_counter() + seconds
    while len(times[-1]) < 4 or time.perf_counter() < stop_at:
        for call, spent in zip(calls, times, strict=True):
            start = time.thread_time()
            call()
            spent.append((time.thread_time() - start) * 1e6)
    return [statistics.median(spent[1:]) for spent in times]


class Asked:
    """A ring for all kernels, and questions to it."""

    def __init__(self, metric: Metric, rows: F32, k: int) -> None:
        self.metric: Metric = metric
        self.k = k
        kernel = scan.choose(scan.names()[0])
        definition = Definition(rows.shape[1], len(rows), metric)
        self.ring = Ring(*rows.shape, scan.shadow_for(kernel, definition))
        for start in range(0, len(rows), 4096):
            self.ring.append(rows[start : start + 4096])

    def call(self, name: str, queries: F32, words: U64 | None = None) -> Callable[[], object]:
        """What searches with the kernel ``name``."""
        count, kernel = len(queries), scan.choose(name)
        asked: tuple[Any, ...] = (
            np.full(count, self.k),
            np.full(count, -np.inf, np.float32),
            (self.ring.live_words if words is None else words)[None],
            np.zeros(count, np.int64),
        )
        return lambda: kernel.top_k(self.ring, self.metric, queries, *asked)


def normal(rng: np.random.Generator, metric: Metric, count: int, dim: int) -> F32:
    return score.prepare(rng.standard_normal((count, dim), dtype=np.float32), metric)


def batches(options: argparse.Namespace, rng: np.random.Generator) -> None:
    names = options.kernels or scan.names()
    asked = Asked(options.metric, normal(rng, options.metric, options.rows, options.dim), options.k)
    print("batch " + "".join(f"{name:>18}" for name in names))
    for batch in options.batches or BATCHES:
        queries = normal(rng, options.metric, batch, options.dim)
        spent = medians_us([asked.call(name, queries) for name in names], ROUND_SECONDS)
        columns = (f"{each / batch:11.1f} {spent[-1] / each:5.1f}x" for each in spent)
        print(f"{batch:5d} " + "".join(columns), flush=True)


def masks(options: argparse.Namespace, rng: np.random.Generator) -> None:
    asked = Asked(options.metric, normal(rng, options.metric, options.rows, options.dim), options.k)
    ring, best = asked.ring, scan.names()[0]
    print("batch  rows left   of the scan of all rows")
    for batch in options.batches or BATCHES:
        queries = normal(rng, options.metric, batch, options.dim)
        words = [ring.live_words & pack(rng.random(options.rows) < share) for share in SHARES]
        spent = medians_us([asked.call(best, queries, each) for each in words], ROUND_SECONDS)
        for share, each in zip(SHARES, spent, strict=True):
            print(f"{batch:5d} {share:10.1%} {each / batch:9.1f} us {each / spent[0]:6.2f}")


def hard(options: argparse.Namespace, rng: np.random.Generator) -> None:
    from tests.core.hard_data import CASES, rows_of, some_of

    best = scan.names()[0]
    print(f"{'metric':8}{'data':26}batch   reference {best:>10}   times the reference")
    for metric, name in CASES:
        rows = rows_of(metric, name, rng, options.rows, options.dim)
        asked = Asked(metric, rows, options.k)
        for batch in options.batches or (1, 32):
            fresh = rows_of(metric, name, rng, -(-batch // 2), options.dim)
            queries = np.concatenate((fresh, some_of(rows, rng, batch // 2)))
            calls = [asked.call(kernel, queries) for kernel in ("reference", best)]
            reference, found = medians_us(calls, HARD_SECONDS)
            print(
                f"{metric:8}{name:26}{batch:5d}{reference / batch:12.0f}{found / batch:11.0f}"
                f"{found / reference:10.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="A full window's scan by every kernel.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--metric", choices=METRICS, default="cosine")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--kernels", choices=scan.names(), nargs="+", help="default: all")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--masks", dest="measure", action="store_const", const=masks)
    what.add_argument("--hard", dest="measure", action="store_const", const=hard)
    parser.set_defaults(measure=batches)
    options = parser.parse_args()
    threads = "one thread" if blas.use_threads(1) else "threads unknown"
    print(f"{options.rows} x {options.dim}, k = {options.k}; BLAS {threads}; us a query")
    options.measure(options, np.random.default_rng(0))


if __name__ == "__main__":
    main()
