"""The short set of ``make bench``: what this machine does with a window of 100,000 rows of 128.

In memory, u64 ids, the window kept full. Adds in frames of 256 rows; searches, k = 10, 64 in flight
and one at a time, all closed: throughput, and the latency that goes with it. Then the same searches
at half that rate, open, as users come: what they wait. Every figure is the median of several runs,
with the lowest and highest beside it. The machine's cores are shared by server and generator.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from typing import Any, Final

from load_tests import python_client
from load_tests.figures import Figure, show, where
from omendb_ws.runtime.event_loops import choose

from . import scenario
from .coordinator import run
from .results import Operation, Result
from .server import Target, serving

_SEARCHES_IN_FLIGHT: Final = 64
_ROWS_A_FRAME: Final = 256


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each figure (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="each run (default 2)")
    options = parser.parse_args()
    print(where())
    print(
        f"{python_client.CAPACITY:,} rows x {python_client.DIM} dimensions, u64 ids, durability "
        f"memory; median of {options.runs} runs, lowest … highest\n",
        flush=True,
    )
    with serving() as target:
        for metric in ("cosine", "dot"):
            show(_adds(target, metric, options.runs, options.seconds))
        at_full, figures = _closed_searches(target, options.runs, options.seconds)
        show(figures)
        show(_open_searches(target, at_full / 2, options.runs, options.seconds))
    with serving() as target, asyncio.Runner(loop_factory=choose().new_loop) as runner:
        show(runner.run(python_client.adds(target.url, options.runs, options.seconds)))
        show(runner.run(python_client.searches(target.url, options.runs, options.seconds)))
    return 0


def _runs(target: Target, runs: int, seconds: float, **tables: Any) -> list[Result]:
    found = []
    for _ in range(runs):
        document = {
            "load": {"seconds": seconds, "warm_up_seconds": 0.5},
            **{name: dict(table) for name, table in tables.items()},
        }
        found.append(run(scenario.parse("short", document, {}), target))
    return found


def _only(result: Result) -> Operation:
    (operation,) = result.operations
    return operation


def _adds(target: Target, metric: str, runs: int, seconds: float) -> list[Figure]:
    add = {"rows": _ROWS_A_FRAME, "in_flight": 16}
    found = _runs(target, runs, seconds, collection={"metric": metric}, add=add)
    rates = [_only(one).achieved_per_second * _ROWS_A_FRAME for one in found]
    return [Figure(f"adds, {metric}, {_ROWS_A_FRAME} rows a frame", "rows/s", rates)]


def _closed_searches(target: Target, runs: int, seconds: float) -> tuple[float, list[Figure]]:
    """The median rate, and the figures."""
    loaded = _runs(target, runs, seconds, search={"in_flight": _SEARCHES_IN_FLIGHT})
    rest = _runs(target, runs, seconds / 2, search={"in_flight": 1})
    rates = [_only(one).achieved_per_second for one in loaded]
    return statistics.median(rates), [
        Figure(f"searches, k=10, {_SEARCHES_IN_FLIGHT} in flight", "QPS", rates),
        *_latencies(loaded, "  p50", "  p99"),
        Figure("  requests a tick, mean", "", _means(loaded, "omendb_tick_requests")),
        Figure("  queries a scan, mean", "", _means(loaded, "omendb_scan_queries")),
        *_latencies(rest, "one search at rest, p50", "  p99"),
    ]


def _open_searches(target: Target, rate: float, runs: int, seconds: float) -> list[Figure]:
    search = {"arrivals": "poisson", "rate": rate, "connections": 8, "verified": 0.01}
    found = _runs(target, runs, seconds, search=search)
    truths = [one.truth for one in found if one.truth is not None]
    compared = sum(one.compared for one in truths)
    return [
        Figure("searches as users come, half that rate", "QPS",
               [_only(one).achieved_per_second for one in found]),
        *_latencies(found, "  corrected p50", "  corrected p99"),
        Figure(f"  wrong answers, of {compared} compared", "",
               [float(one.mismatches) for one in truths]),
    ]  # fmt: skip


def _latencies(found: list[Result], p50: str, p99: str) -> list[Figure]:
    of = [_only(one).corrected for one in found]
    return [
        Figure(p50, "ms", [one.p50_ms or 0.0 for one in of]),
        Figure(p99, "ms", [one.p99_ms or 0.0 for one in of]),
    ]


def _means(found: list[Result], name: str) -> list[float]:
    """Of what a histogram of the server counted during each run."""
    means = []
    for one in found:
        before, after = one.resources.metrics_before, one.resources.metrics_after
        count = after[f"{name}_count"] - before[f"{name}_count"]
        means.append((after[f"{name}_sum"] - before[f"{name}_sum"]) / max(count, 1))
    return means


if __name__ == "__main__":
    raise SystemExit(main())
