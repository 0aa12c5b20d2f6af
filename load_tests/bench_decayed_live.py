"""How late decayed live queries hear of an add, beside plain ones, through a server over sockets.

    python -m load_tests.bench_decayed_live [--queries 10000] [--rows-per-second 10000] [--rounds 3]

A server in a process of its own; another that adds 64 rows at a time and holds all live queries, a
hundred a connection. The window of 100,000 rows x 128 is full, and before anything is counted its
rows are replaced once at the same pace, so that their ages are what they stay. Half-lives and the
plain order take turns, each round all of them.

Lateness runs from when an add was meant to be sent until the push is read, so what the server or
the generator could not do in time is in it. *Push* counts a push once, by the oldest add that it
tells of. *Add* counts each add that a push tells of: pushes are merged while the server is behind,
and one that stands for five adds tells of five lateness. Medians of the rounds; *of plain* is the
median of the rounds' ratios of the p99 of adds.

In the end the views are compared with what a search answers then (plain ones with the oracle at
every push that is looked at); ends with 1 if one differs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from .figures import where
from .simulation import coordinator, scenario
from .simulation.results import Push, Result
from .simulation.server import Target, serving

A_CONNECTION: Final = 100
ROWS: Final = 64
CAPACITY: Final = 100_000
VERIFIED: Final = 0.005
PLAIN: Final = "plain"
Figure = Callable[[Result], float]


def shapes_of(half_lives: Sequence[float]) -> dict[str, list[Mapping[str, Any]]]:
    """What takes turns, by name."""
    decayed: dict[str, list[Mapping[str, Any]]]
    decayed = {f"{one:g} s": [{"decay": {"half_life": one}}] for one in half_lives}
    return {PLAIN: [], **decayed}


def asked(options: argparse.Namespace, shapes: list[Mapping[str, Any]]) -> scenario.Scenario:
    """A run of one order."""
    warm_up = options.warm_up
    if warm_up is None:
        warm_up = options.capacity / options.rows_per_second
    document = {
        "load": {"seconds": options.seconds, "warm_up_seconds": warm_up},
        "collection": {"dim": options.dim, "capacity": options.capacity, "ids": "auto"},
        "add": {
            "arrivals": "constant", "rate": options.rows_per_second / ROWS, "rows": ROWS,
        },
        "live": {
            "connections": -(-options.queries // A_CONNECTION),
            "per_connection": min(options.queries, A_CONNECTION),
            "verified": max(VERIFIED, 1 / options.queries), "shapes": shapes,
        },
    }  # fmt: skip
    return scenario.parse("decayed", document, {})


def pushed(result: Result) -> Push:
    """What the live queries of a run were sent."""
    (found,) = result.pushes
    return found


def wrong(result: Result) -> int:
    """Views that are not what a search answers."""
    truth = pushed(result).truth
    return truth.mismatches if truth is not None else 0


COLUMNS: Final[Mapping[str, Figure]] = {
    "push p50": lambda one: pushed(one).lag.p50_ms or 0.0,
    "p99": lambda one: pushed(one).lag.p99_ms or 0.0,
    "add p50": lambda one: pushed(one).told.p50_ms or 0.0,
    " p99": lambda one: pushed(one).told.p99_ms or 0.0,
    "max ms": lambda one: pushed(one).told.max_ms or 0.0,
    "pushes/s": lambda one: pushed(one).pushes_per_second,
    "adds told": lambda one: pushed(one).told.count / one.measured_seconds,
    "merged": lambda one: 100 * pushed(one).merged / max(1, pushed(one).pushes),
    "server": lambda one: one.resources.server_cpu_percent or 0.0,
    "load": lambda one: one.resources.generator_cpu_percent,
}


def shown(name: str, results: Sequence[Result], plain: Sequence[Result]) -> str:
    """A line of the table."""
    values = [statistics.median(map(figure, results)) for figure in COLUMNS.values()]
    late = COLUMNS[" p99"]
    ratios = [late(one) / (late(beside) or 1.0) for one, beside in zip(results, plain, strict=True)]
    *times, pushes, told, merged, server, load = values
    return (
        f"{name:>9}"
        + "".join(f"{one:10.1f}" for one in times)
        + f"{pushes:10,.0f}{told:10,.0f}{merged:9.1f}%"
        f"{statistics.median(ratios):10.2f}{server:9.0f}%{load:9.0f}%"
    )


def measured(options: argparse.Namespace, target: Target) -> dict[str, list[Result]]:
    """The results of all rounds, by order; one line each as it comes."""
    results: dict[str, list[Result]] = {name: [] for name in shapes_of(options.half_lives)}
    for number in range(options.rounds):
        for name, shapes in shapes_of(options.half_lives).items():
            made = coordinator.run(asked(options, shapes), target)
            results[name].append(made)
            print(f"round {number + 1}, {name}: add p99 {pushed(made).told.p99_ms or 0:.1f} ms")
            for note in made.notes:
                print(f"  {note}", flush=True)
    return results


def show(results: Mapping[str, Sequence[Result]]) -> None:
    """The table: milliseconds, shares of pushes, shares of a core."""
    headings = [*COLUMNS]
    headings.insert(-2, "of plain")
    print("\nms; a second; shares of pushes, of a core")
    print(f"{'half-life':>9}" + "".join(f"{one.strip():>10}" for one in headings))
    for name, some in results.items():
        print(shown(name, some, results[PLAIN]), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--rows-per-second", type=float, default=10_000)
    parser.add_argument("--half-lives", type=float, nargs="+", default=[3600.0, 60.0, 10.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="counted, of each turn")
    parser.add_argument("--warm-up", type=float, help="before it; default: the window, once")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--capacity", type=int, default=CAPACITY)
    options = parser.parse_args(arguments)
    print(
        f"{where()}\n{options.queries:,} live queries, k = 10; "
        f"{options.rows_per_second:,.0f} rows/s into {options.capacity:,} x {options.dim}",
        flush=True,
    )
    with serving() as target:
        results = measured(options, target)
    show(results)
    found = sum(wrong(one) for some in results.values() for one in some)
    if found:
        sys.exit(f"{found} views are not what a search answers")


if __name__ == "__main__":
    main()
