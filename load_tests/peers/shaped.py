r"""Shaped searches of this engine beside Qdrant's: which rows are missed, and how long they take.

    pip install -e '.[peers]'
    python -m load_tests.peers.shaped [--rows 100000] [--dim 128] [--queries 50]

Both in this process, one vector a call and one thread; the ways of a case take turns. *Missed* is
the share of the rows of the one right answer, by an oracle that looks at every row, that an answer
lacks. Times are medians, and their ratios to ours are of the same run. A peer that is not installed
is named and left out. Ends with 1 if an answer of ours is not the oracle's.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Final, NamedTuple, Protocol, cast

from omendb_core.model.types import F32
from omendb_core.scoring.blas import use_threads

from ..aims.turns import medians_us
from ..figures import where
from .peer import by_name
from .shaping_cases import CASES, Stock, due, stocked

Search = Callable[[F32], list[int]]
OURS: Final = "omendb"
RUNS: Final = 3


class Shaped(Protocol):
    """One that answers shaped searches; full from the beginning."""

    def ways(self, case: str, k: int) -> dict[str, Search]:
        """Searches of one vector, which answer with ids, by what they are called."""

    def close(self) -> None:
        """End what was started."""


class Line(NamedTuple):
    """``missed``: the share of the right rows; ``same``: of the answers, those that are right."""

    case: str
    way: str
    missed: float
    same: float
    median_us: float
    of_ours: float


def peers(stock: Stock) -> list[Shaped]:
    """Ours first, and those that are installed; names the others."""
    modules = {"omendb-engine": ("shaped_window", "ShapedWindow"),
               "qdrant-edge": ("shaped_qdrant", "ShapedShard")}  # fmt: skip
    found = []
    for name, (module, kind) in modules.items():
        entry = by_name(name)
        if not entry.is_installed():
            print(f"{name} skipped: {entry.distribution} is not installed", flush=True)
            continue
        made = getattr(importlib.import_module(f"load_tests.peers.{module}"), kind)
        found.append(cast("Shaped", made(stock)))
    return found


def missed(answers: Sequence[Sequence[int]], right: Sequence[Sequence[int]]) -> float:
    """The share of the rows of the right answers that are not in these."""
    lacking = sum(len(set(due) - set(got)) for got, due in zip(answers, right, strict=True))
    return lacking / sum(map(len, right))


def rightly(answers: Sequence[Sequence[int]], right: Sequence[Sequence[int]]) -> float:
    """The share of answers that are the right ones, in their order."""
    return statistics.fmean(got == due for got, due in zip(answers, right, strict=True))


def measured(
    ways: Mapping[str, Search], case: str, stock: Stock, k: int, seconds: float
) -> list[Line]:
    """All ways of one case, by turns."""
    right = [due(stock, case, query, k) for query in stock.queries]
    answers = {name: [search(query) for query in stock.queries] for name, search in ways.items()}
    times = medians_us({name: _turning(one, stock) for name, one in ways.items()}, RUNS, seconds)
    medians = {name: statistics.median(some) for name, some in times.items()}
    return [
        Line(
            case, name, missed(answers[name], right), rightly(answers[name], right), median,
            median / medians[OURS],
        )
        for name, median in medians.items()
    ]  # fmt: skip


def _turning(search: Search, stock: Stock) -> Callable[[], object]:
    """A call that takes the next query each time."""
    queries = cycle(stock.queries)
    return lambda: search(next(queries))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.peers.shaped", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=50, help="distinct ones")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of three runs a case")
    options = parser.parse_args(arguments)
    use_threads(1)
    print(f"{where()}\n{options.rows:,} x {options.dim}, k = {options.k}, one vector a call")
    stock = stocked(options.rows, options.dim, options.queries)
    there = peers(stock)
    wrong = 0.0
    try:
        print(f"{'':9}{'':26}{'missed':>9}{'right':>9}{'median':>12}{'of ours':>10}", flush=True)
        for case in CASES:
            ways = {name: one for peer in there for name, one in peer.ways(case, options.k).items()}
            for line in measured(ways, case, stock, options.k, options.seconds):
                wrong += (1 - line.same) if line.way == OURS else 0.0
                print(
                    f"{line.case:9}{line.way:26}{line.missed:9.1%}{line.same:9.1%}"
                    f"{line.median_us:9.0f} µs{line.of_ours:9.1f}x",
                    flush=True,
                )
    finally:
        for peer in there:
            peer.close()
    if wrong:
        sys.exit("answers of ours are not the oracle's")


if __name__ == "__main__":
    main()
