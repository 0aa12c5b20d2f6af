"""Measures standing queries without a socket: an add that changes nothing, and ticks as they grow.

    make bench-live            (or: python -m load_tests.bench_standing)

*An add that changes no answer* is compared with the bare matrix product of its rows and all queries
and the compare with their floors, in one run and by turns. "standing" is what the standing queries
add to an add (``advance``), "whole add" is ``admit_add``, ``apply`` and ``advance``. Warm: the
product's output is the same memory every time; cold: it is new memory every time.

*A tick* is an add of 64 rows to a full window of 100,000, the standing queries catching up with it,
and the pushes that follow from it, encoded. Shares are of the tick.

*Decayed queries* of several half-lives are compared with plain ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import F32, Definition
from omendb_core.ranking.shape import PLAIN, Decay, Shape
from omendb_core.scoring import blas
from omendb_core.search.query import prepare_queries
from omendb_core.standing.live_lists import LiveLists
from omendb_core.standing.matcher import Matcher
from omendb_core.standing.matching import Matching
from omendb_core.standing.renewals import Renewals
from omendb_core.standing.table import StandingQuery
from omendb_core.state import NOTHING
from omendb_core.window import Window

from omendb_ws.engine.model.shard import Shard
from omendb_ws.engine.model.shares import Shares
from omendb_ws.engine.model.ticket import Lane
from omendb_ws.engine.streams.deliveries import Deliveries, Push
from omendb_ws.engine.streams.live import LiveQueries
from omendb_ws.engine.streams.live_query import LiveQuery
from omendb_ws.telemetry.metrics import Metrics
from omendb_ws.wire.limits import Limits

from .figures import where

DIM = 128
CAPACITY = 100_000
K = 10
#: Queries of one connection; all its pushes together are bounded.
A_LANE = 100
ROUNDS = 60
TICKS = 100
#: Rows of an add where half-lives are compared.
_BATCH = 500
GROWTH = (10, 100, 1_000, 10_000, 100_000)
#: The parts of ``Matcher.advance`` that are told apart: whose, and which.
PARTS: dict[str, tuple[type, str]] = {
    "leave": (Matcher, "_drop_some"),
    "match": (Matching, "match"),
    "enter": (Matching, "enter"),
    "cut": (LiveLists, "cut_and_find_short"),
    "rescan": (Renewals, "_best"),
    "publish": (LiveLists, "publish"),
}


def add(window: Window, vectors: F32) -> None:
    change = window.admit_add(AddRequest(RowBatch(vectors)), 1)
    window.apply(change)  # type: ignore[arg-type]


def filled(vectors: F32, capacity: int) -> Window:
    window = Window(Definition(dim=DIM, capacity=capacity, metric="cosine", ids="auto"))
    for at in range(0, len(vectors), 4096):
        add(window, vectors[at : at + 4096])
    return window


def median_us(spent: list[float]) -> float:
    return statistics.median(spent) * 1e6


# -- an add that changes no answer --------------------------------------------------------------


def unchanging(generator: np.random.Generator) -> None:
    """Rows in the negative orthant never reach queries and rows of the positive one."""

    def positive(count: int) -> F32:
        return np.abs(generator.standard_normal((count, DIM), dtype=np.float32))

    print("\nadds that change no answer; µs, median, and the ratio to product and compare")
    print("queries   rows   product (warm)   (cold)   standing         whole add")
    rows = positive(20_000)
    for count in (1_000, 10_000):
        window = filled(rows, 10 * CAPACITY)
        window.standing.add(
            [StandingQuery(k=K)] * count, prepare_queries(window.definition, positive(count))
        )
        for size in (16, 64, 256, 1024):
            batches = [-positive(size) for _ in range(8)]
            bare, cold, standing, whole = one_size(window, batches)
            print(
                f"{count:7,} {size:6} {bare:16.0f} {cold:8.0f} {standing:10.0f} "
                f"{standing / bare:5.2f} {whole:11.0f} {whole / bare:5.2f}",
                flush=True,
            )


def one_size(window: Window, batches: list[F32]) -> list[float]:
    table = window.standing.table
    queries, floors = table.vectors[: table.used], table.reach[: table.used]
    products = np.empty((len(batches[0]), table.used), np.float32)
    hits = np.empty(products.shape, np.bool_)
    spent: list[list[float]] = [[], [], [], []]
    clock = time.perf_counter
    for number in range(ROUNDS):
        rows = batches[number % len(batches)]
        began = clock()
        np.greater_equal(np.matmul(rows, queries.T, out=products), floors, out=hits)
        spent[0].append(clock() - began)
        began = clock()
        _ = np.matmul(rows, queries.T) >= floors
        spent[1].append(clock() - began)
        began = clock()
        add(window, rows)
        applied = clock()
        assert not len(window.standing.advance().changed)
        spent[2].append(clock() - applied)
        spent[3].append(clock() - began)
    return [median_us(one) for one in spent]


# -- ticks --------------------------------------------------------------------------------------


class Takes:
    """A reader that takes every push at once."""

    def __init__(self, lane: Lane, sub: int) -> None:
        self.lane = lane
        self.sub = sub

    def pushed(self, push: Push) -> None:
        """Nothing is kept."""


class Readers:
    """Live queries of a full window, as the engine has them."""

    def __init__(self, window: Window, vectors: F32) -> None:
        metrics = Metrics(0.0)
        self.shard = Shard("default", "bench", "memory", window, 0.0)
        self.deliveries = Deliveries(metrics, Limits(), Shares())
        self.live = LiveQueries(metrics, self.deliveries, lambda: 0)
        lanes = [Lane() for _ in range(-(-len(vectors) // A_LANE))]
        asked = StandingQuery(k=K)
        queries = [
            LiveQuery(
                self.live, Takes(lanes[sub // A_LANE], sub), self.shard, True, NOTHING, 600,
                asked, 0,
            )
            for sub in range(len(vectors))
        ]  # fmt: skip
        self.live.start(queries, prepare_queries(window.definition, vectors))

    def push(self) -> int:
        """Advance, and make and take every push that follows; how many."""
        found = self.shard.window.standing.advance()
        self.live.changed(self.shard, found.changed, 0)
        count = 0
        while True:
            pushes: list[Any] = []
            self.deliveries.push(pushes, 0)
            if not pushes:
                return count
            count += len(pushes)
            for push in pushes:
                self.deliveries.sent(push)


@contextmanager
def timed_parts() -> Iterator[Counter[str]]:
    """Seconds spent in each of ``PARTS`` while it lasts."""
    spent: Counter[str] = Counter()
    methods = {part: getattr(*where_) for part, where_ in PARTS.items()}

    def timed(part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                spent[part] += time.perf_counter() - began

        return call

    for part, method in methods.items():
        setattr(*PARTS[part], timed(part, method))
    try:
        yield spent
    finally:
        for part, method in methods.items():
            setattr(*PARTS[part], method)


def growing(generator: np.random.Generator, most: int, is_clustered: bool) -> None:
    kind = "clustered" if is_clustered else "uniform"
    print(f"\nticks with adds of 64 rows, {kind}; µs a tick, median, and shares of all ticks")
    parts = [*PARTS, "pushes"]
    print("queries       tick  pushes   add " + " ".join(f"{part:>8}" for part in parts))
    centres = generator.standard_normal((200, DIM), dtype=np.float32)

    def vectors(count: int) -> F32:
        noise = generator.standard_normal((count, DIM), dtype=np.float32)
        if not is_clustered:
            return noise
        return centres[generator.integers(0, 200, count)] + np.float32(0.35) * noise

    for count in GROWTH:
        if count <= most:
            one_count(filled(vectors(CAPACITY), CAPACITY), vectors(count), vectors(64 * TICKS))


def one_count(window: Window, queries: F32, rows: F32) -> None:
    readers = Readers(window, queries)
    ticks: list[float] = []
    adding = pushing = 0.0
    pushes = 0
    with timed_parts() as spent:
        for batch in np.split(rows, TICKS):
            began = time.perf_counter()
            add(window, batch)
            added = time.perf_counter()
            pushes += readers.push()
            ticks.append(time.perf_counter() - began)
            adding += added - began
            pushing += time.perf_counter() - added
    spent["pushes"] = pushing - sum(spent.values())  # and what is left of advance
    total = adding + pushing
    shares = " ".join(f"{100 * spent[part] / total:7.1f}%" for part in [*PARTS, "pushes"])
    print(
        f"{len(queries):7,} {median_us(ticks):10,.0f} {pushes / TICKS:7.1f} "
        f"{100 * adding / total:4.1f}% {shares}",
        flush=True,
    )


# -- orders -------------------------------------------------------------------------------------


def ordered(generator: np.random.Generator, count: int) -> None:
    """Adds of 500 rows, 10,000 a second, and the lists that follow; by turns, processor time."""
    print(f"\nadds of {_BATCH} rows, {count:,} queries; ms of advance, and the ratio to plain ones")
    print("half-life   median      p99   ratio   answers changed")
    shapes = {"none": PLAIN, **{f"{s} s": Shape(Decay(s)) for s in (3600.0, 60.0, 10.0)}}
    spent: dict[str, list[float]] = {name: [] for name in shapes}
    changed: Counter[str] = Counter()
    windows: dict[str, Window] = {}
    now_us = 1
    for name, shape in shapes.items():
        windows[name] = Window(Definition(dim=DIM, capacity=CAPACITY, metric="cosine", ids="auto"))
        asked = [StandingQuery(K, shape=shape)] * count
        vectors = generator.standard_normal((count, DIM), dtype=np.float32)
        windows[name].standing.add(asked, prepare_queries(windows[name].definition, vectors))
    for turn in range(CAPACITY // _BATCH + ROUNDS):
        now_us += _BATCH * 100
        rows = generator.standard_normal((_BATCH, DIM), dtype=np.float32)
        for name, window in windows.items():
            window.apply(window.admit_add(AddRequest(RowBatch(rows)), now_us))  # type: ignore[arg-type]
            began = time.thread_time()
            found = window.standing.advance()
            if turn >= CAPACITY // _BATCH:
                spent[name].append(time.thread_time() - began)
                changed[name] += len(found.changed)
    plain = statistics.median(spent["none"])
    for name, times in spent.items():
        median = statistics.median(times)
        p99 = float(np.quantile(times, 0.99))
        print(
            f"{name:>9} {median * 1e3:8.1f} {p99 * 1e3:8.1f} {median / plain:7.2f}"
            f" {changed[name] / ROUNDS:17.0f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure standing queries.")
    parser.add_argument("--most", type=int, default=GROWTH[-1], help="standing queries at most")
    parser.add_argument("--only", choices=["unchanging", "growing", "ordered"])
    options = parser.parse_args()
    blas.use_threads(1)
    print(f"{where()}\n{DIM} dimensions, cosine, k = {K}")
    generator = np.random.default_rng(0)
    if options.only in (None, "unchanging"):
        unchanging(generator)
    if options.only in (None, "ordered"):
        ordered(generator, min(options.most, 10_000))
    if options.only in (None, "growing"):
        for is_clustered in (False, True):
            growing(generator, options.most, is_clustered)


if __name__ == "__main__":
    main()
