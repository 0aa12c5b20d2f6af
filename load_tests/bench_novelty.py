"""Measures what it costs to compare what is added: ``unless_near``, and ``novel``.

    python -m load_tests.bench_novelty

In one process, without sockets: rows a second that are judged against a full window before they are
admitted, with the piece that took longest; and rows a second that are added while somebody listens
for what is new, the add itself included. Beside them, in the same rounds, the top-1 search of as
many vectors, 64 to a scan, which is the least that either can cost. The best of some rounds: on a
machine with other work that is what the code takes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.change import AddRequest, Repeated, RowBatch
from omendb_core.model.types import Definition
from omendb_core.novelty.unless_near import UnlessNear
from omendb_core.window import Window

from .figures import where

QUERIES: Final = 64
#: Near enough to be the same, of rows whose noise is a third of a centre's length.
SCORE: Final = 0.95


class Best(NamedTuple):
    """The best of some rounds: rows a second, and the longest piece of that round."""

    rows_per_s: float
    longest_ms: float


def vectors(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Rows around a thousand centres, drawn with one seed for all calls."""
    centres = np.random.default_rng(0).standard_normal((1000, dim))
    random = np.random.default_rng(seed)
    noise = 0.3 * random.standard_normal((count, dim))
    return (centres[random.integers(1000, size=count)] + noise).astype(np.float32)


def filled(rows: int, dim: int) -> Window:
    """A full window."""
    window = Window(Definition(dim, rows, "cosine", "auto"))
    for start in range(0, rows, 10_000):
        add(window, vectors(min(10_000, rows - start), dim, start + 1))
    return window


def add(window: Window, batch: NDArray[np.float32]) -> None:
    """Admit and apply it."""
    change = window.admit_add(AddRequest(RowBatch(batch)), 0)
    assert change is not None
    assert not isinstance(change, Repeated)
    window.apply(change)


def search(window: Window, batch: NDArray[np.float32]) -> list[float]:
    """Seconds of each scan for the nearest row of each."""
    took = []
    for start in range(0, len(batch), QUERIES):
        some = batch[start : start + QUERIES]
        began = time.perf_counter()
        window.search_all(some, np.ones(len(some), np.int64))
        took.append(time.perf_counter() - began)
    return took


def judge(window: Window, batch: NDArray[np.float32]) -> list[float]:
    """Seconds of each piece of an add with ``unless_near``; nothing goes in."""
    began = time.perf_counter()
    judgement = window.judge_add(AddRequest(RowBatch(batch)), UnlessNear(SCORE))
    assert not isinstance(judgement, Repeated)
    took = []
    while not judgement.is_through:
        judgement.step()
        now = time.perf_counter()
        took.append(now - began)
        began = now
    return took


def tell(window: Window, batch: NDArray[np.float32]) -> list[float]:
    """Seconds of the add, and of each piece behind it, with one who listens."""
    group = window.novelty.join(None, None)
    began = time.perf_counter()
    add(window, batch)
    now = time.perf_counter()
    took = [now - began]
    while window.novelty.is_behind:
        began = now
        window.novelty.step()
        now = time.perf_counter()
        took.append(now - began)
    window.novelty.leave(group)
    return took


def measured(rows: int, dim: int, batch_rows: int, rounds: int) -> dict[str, Best]:
    """What each takes, by its name; all of them in each round."""
    window = filled(rows, dim)
    calls: dict[str, Callable[[Window, NDArray[np.float32]], list[float]]] = {
        "search, k = 1": search,
        "add with unless_near": judge,
        "add with a novel query": tell,
    }
    best = dict.fromkeys(calls, Best(0.0, 0.0))
    for number in range(rounds):
        batch = vectors(batch_rows, dim, 1_000_000 + number)
        for name, call in calls.items():
            took = call(window, batch)
            found = Best(batch_rows / sum(took), max(took) * 1000)
            best[name] = max(best[name], found)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--batch-rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(f"{where()}; {given.rows:,} x {given.dim}, adds of {given.batch_rows:,} rows")
    found = measured(given.rows, given.dim, given.batch_rows, given.rounds)
    for name, (rows_per_s, longest_ms) in found.items():
        print(f"{name:24} {rows_per_s:>9,.0f} rows/s   longest piece {longest_ms:.1f} ms")


if __name__ == "__main__":
    main()
