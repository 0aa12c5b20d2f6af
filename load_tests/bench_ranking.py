r"""What the fields that shape an answer cost, beside the plain search in the same run.

    python -m load_tests.bench_ranking [--rows 100000] [--dim 128] [--k 10] [--metric cosine] \
        [--batches 1 32]

Each is one call of ``Window.search`` over a full window, of so many vectors. Prints microseconds of
processor time for a vector, and how many times that of a plain search they are: medians of rounds
in which they take turns. Each comes right behind a plain search and is held against that one, so
that both find the processor in the same state; otherwise what follows the largest pays for it. The
window is some half-lives long where there are half-lives.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import F32, METRICS, ColumnType, Definition
from omendb_core.ranking.shape import PLAIN, Shape
from omendb_core.ranking.shape_parser import shape_of
from omendb_core.scoring import blas
from omendb_core.search.query import Query
from omendb_core.window import Window

from omendb_ws.runtime.machine import keep_freed_memory

from .bench_scan import normal

COLUMNS: dict[str, ColumnType] = {"price": "f64", "kind": "i64", "time": "f64"}
ROUND_SECONDS = 3.0
STEP_SECONDS = 1.0
#: Groups of rows; as many likings of each.
KINDS = 100
EXCLUDED = 1000
#: Six operators: of what is near, what is new and cheap.
RANK = {
    "$add": [
        {"$mul": [0.7, "$score"]},
        {"$mul": [0.3, {"$exp": {"$neg": {"$div": ["$age", 86400]}}}]},
        {"$default": ["price", 0]},
    ]
}


def filled(options: argparse.Namespace, rng: np.random.Generator) -> Window:
    """Rows in batches of a hundred, a second apart."""
    window = Window(Definition(options.dim, options.rows, options.metric, "u64", COLUMNS))
    for start in range(0, options.rows, 100):
        count = min(100, options.rows - start)
        batch = RowBatch(
            normal(rng, options.metric, count, options.dim),
            np.arange(start, start + count, dtype=np.uint64),
            columns={
                "price": rng.random(count) / 10,
                "kind": rng.integers(0, KINDS, count),
                "time": rng.random(count) * options.rows / 100,
            },
        )
        change = window.admit_add(AddRequest(batch), int(start / 100 * STEP_SECONDS * 1e6))
        window.apply(change)  # type: ignore[arg-type]
    return window


def cases(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Fields by name; half-lives by how many of them the window is long."""
    seconds = options.rows / 100 * STEP_SECONDS
    return {
        "plain": {},
        "decay, 1/10 of a half-life": {"decay": {"half_life": seconds * 10}},
        "decay, 1 half-life": {"decay": {"half_life": seconds}},
        "decay, 10 half-lives": {"decay": {"half_life": seconds / 10}},
        "decay by a column": {"decay": {"half_life": seconds, "column": "time"}},
        "rank of 6 operators": {"rank": RANK},
        "group": {"group": {"by": "kind"}},
        "spread": {"spread": {"max_similarity": 0.5 if options.metric != "l2" else -1.0}},
        "mmr of 100": {"mmr": {"lambda": 0.7, "candidates": 100}},
        "exclude of 1,000": {"exclude": True},
    }


def query(window: Window, options: argparse.Namespace, fields: dict[str, Any], of: F32) -> Query:
    exclude = None
    if fields.get("exclude"):
        exclude = np.arange(0, options.rows, max(1, options.rows // EXCLUDED), dtype=np.uint64)
    shape: Shape = (
        shape_of(fields, window.definition, options.k, 1000, live=False) if fields else PLAIN
    )
    at = options.rows / 100 * STEP_SECONDS
    return Query(of, k=options.k, shape=shape, at=at, exclude=exclude)


def main() -> None:
    parser = argparse.ArgumentParser(description="Shaped searches beside plain ones.")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--metric", choices=METRICS, default="cosine")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--seconds", type=float, default=ROUND_SECONDS)
    options = parser.parse_args()
    keep_freed_memory()  # as a server does
    threads = "one thread" if blas.use_threads(1) else "threads unknown"
    print(f"{options.rows} x {options.dim}, k = {options.k}; BLAS {threads}; us a vector")
    rng = np.random.default_rng(0)
    window = filled(options, rng)
    for batch in options.batches:
        vectors = normal(rng, options.metric, batch, options.dim)
        asked = {
            name: query(window, options, fields, vectors) for name, fields in cases(options).items()
        }
        calls = [lambda one=one: window.search([one]) for one in asked.values()]
        spent, ratios = beside_the_first(calls, options.seconds)
        for name, each, ratio in zip(asked, spent, ratios, strict=True):
            print(f"{batch:5d} {name:28}{each / batch:10.1f} {ratio:8.2f}x", flush=True)


def beside_the_first(
    calls: list[Callable[[], object]], seconds: float
) -> tuple[list[float], list[float]]:
    """Medians for each of ``calls``: microseconds, and how many times the first one it takes."""
    times: list[list[tuple[float, float]]] = [[] for _ in calls]
    stop_at = time.perf_counter() + seconds
    while len(times[-1]) < 4 or time.perf_counter() < stop_at:
        for call, spent in zip(calls, times, strict=True):
            begin = time.thread_time()
            calls[0]()
            middle = time.thread_time()
            call()
            spent.append((middle - begin, time.thread_time() - middle))
    found = [spent[1:] for spent in times]
    return (
        [statistics.median(own * 1e6 for _, own in spent) for spent in found],
        [statistics.median(own / first for first, own in spent) for spent in found],
    )


if __name__ == "__main__":
    main()
