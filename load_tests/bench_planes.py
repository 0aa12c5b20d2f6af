"""One query by nibbles and by codes, on one thread and several; batches; huge pages; adds.

``python -m load_tests.bench_planes`` prints all of it: medians of calls by turns in one process,
each as the second of two like it, so that what the others read is out of the way. On one thread CPU
time counts; of what threads share, the time that passes, which needs idle cores.

``--rows``, ``--dim``, ``--data``, ``--threads`` choose some of it.
"""

from __future__ import annotations

import argparse
import mmap
import statistics
import time
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
from omendb_core import native
from omendb_core.model.types import F32, Definition
from omendb_core.rows.ring import Ring
from omendb_core.rows.shadow import Shadow
from omendb_core.scan import choice
from omendb_core.scan.shadowed import ShadowedScan
from omendb_core.scoring import score

K = 10
SIZES = ((100_000, 128), (1_000_000, 128), (100_000, 768))
DATA = ("clustered", "uniform")
BATCHES = (2, 4, 8, 32)
_CENTRES = 200
_ROWS_AT_ONCE = 50_000
_ADDED_AT_ONCE = 256


class Data:
    """Rows of length 1: around centres, as embeddings lie, or anywhere."""

    def __init__(self, name: str, dim: int) -> None:
        self._random = np.random.default_rng(7)
        self._dim = dim
        self._centres: F32 | None = None
        if name == "clustered":
            self._centres = self._random.standard_normal((_CENTRES, dim), dtype=np.float32)

    def rows(self, count: int) -> F32:
        rows = self._random.standard_normal((count, self._dim), dtype=np.float32)
        if self._centres is not None:
            rows *= np.float32(0.5)
            rows += self._centres[self._random.integers(0, _CENTRES, count)]
        return score.prepare(rows, "cosine")


def filled(data: Data, rows: int, dim: int) -> Ring:
    kernel = choice.choose(choice.names()[0])
    ring = Ring(rows, dim, choice.shadow_for(kernel, Definition(dim, rows, "cosine")))
    for start in range(0, rows, _ROWS_AT_ONCE):
        ring.append(data.rows(min(_ROWS_AT_ONCE, rows - start)))
    return ring


def without_nibbles(ring: Ring) -> Ring:
    """The same arrays, of which a query reads the codes alone."""
    other = copy(ring)
    other.shadow = copy(ring.shadow)
    assert other.shadow is not None
    other.shadow.nibbles = None
    return other


def on_pages(ring: Ring, advice: int) -> Ring:
    """A copy of what scans read, on huge pages or on none."""

    def placed(array: Any) -> Any:
        memory = mmap.mmap(-1, array.nbytes + (4 << 20))
        memory.madvise(advice)
        raw = np.frombuffer(memory, np.uint8)
        start = -raw.ctypes.data % (2 << 20)
        here = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        here[:] = array
        return here

    other, shadow = copy(ring), copy(ring.shadow)
    assert shadow is not None
    assert shadow.nibbles is not None
    shadow.codes, shadow.factors = placed(shadow.codes), placed(shadow.factors)
    shadow.nibbles = placed(shadow.nibbles[0]), placed(shadow.nibbles[1])
    other.shadow = shadow
    return other


def search(ring: Ring, scan: ShadowedScan, queries: list[F32]) -> Callable[[], None]:
    """What asks the next of some batches at each call."""
    count, turn = len(queries[0]), 0
    asked = (
        np.full(count, K),
        np.full(count, -np.inf, np.float32),
        ring.live_words[None],
        np.zeros(count, np.int64),
    )

    def ask() -> None:
        nonlocal turn
        turn += 1
        scan.top_k(ring, "cosine", queries[turn % len(queries)], *asked)

    return ask


def by_turns(
    calls: dict[str, Callable[[], None]], clock: Callable[[], int], seconds: float
) -> dict[str, list[float]]:
    """Microseconds of each call, many times."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    stop = time.perf_counter() + seconds
    order = list(calls.items())
    while time.perf_counter() < stop or len(spent[order[0][0]]) < 5:
        order.append(order.pop(0))  # nobody is always behind the same one
        for name, call in order:
            call()
            start = clock()
            call()
            spent[name].append((clock() - start) / 1000)
    return spent


def say(what: str, spent: dict[str, list[float]], queries: int = 1) -> None:
    """The median and the least of each, and the ratio of medians to the first."""
    first = statistics.median(next(iter(spent.values())))
    for name, times in spent.items():
        middle = statistics.median(times)
        print(
            f"{what:34}{name:22}{middle / queries:9.1f} us, least {min(times) / queries:9.1f}"
            f"   {middle / first:5.2f}",
            flush=True,
        )


def scans(rows: int, dim: int, name: str, threads: list[int], seconds: float) -> None:
    kernel = choice.names()[0]
    data = Data(name, dim)
    ring = filled(data, rows, dim)
    plain, alone = without_nibbles(ring), ShadowedScan(kernel)
    what = f"{rows:,} x {dim} {name}"
    queries = [data.rows(1) for _ in range(64)]
    calls = {"codes alone": search(plain, alone, queries), "nibbles": search(ring, alone, queries)}
    say(f"{what}, one", by_turns(calls, time.thread_time_ns, seconds))
    shared = {
        f"{count} threads": search(ring, ShadowedScan(kernel, count), queries) for count in threads
    }
    say(f"{what}, shared", by_turns(shared, time.perf_counter_ns, seconds))
    if name != DATA[0]:
        return
    for batch in BATCHES:
        queries = [data.rows(batch) for _ in range(8)]
        calls = {"batches": search(ring, alone, queries)}
        say(f"{what}, {batch}", by_turns(calls, time.thread_time_ns, seconds / 2), batch)
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return
    queries = [data.rows(1) for _ in range(64)]
    calls = {
        "small pages": search(on_pages(ring, mmap.MADV_NOHUGEPAGE), alone, queries),
        "huge pages": search(on_pages(ring, mmap.MADV_HUGEPAGE), alone, queries),
    }
    say(f"{what}, one", by_turns(calls, time.thread_time_ns, seconds))


def adds(rows: int, dim: int, seconds: float) -> None:
    """What the extension takes for rows that come."""
    some, times_us = Data("uniform", dim).rows(rows), np.zeros(rows, np.int64)

    def lap(has_nibbles: bool) -> Callable[[], None]:
        ring = Ring(rows, dim, Shadow(rows, dim, "cosine", has_nibbles=has_nibbles))
        assert ring.shadow is not None
        arrays = (ring.vectors, ring.norms, ring.live_words, times_us), ring.shadow.arrays

        def add() -> None:
            for first in range(0, rows, _ADDED_AT_ONCE):
                part = some[first : first + _ADDED_AT_ONCE]
                native.compiled.append(native.lanes, *arrays, None, first, 1, part, None)

        return add

    calls = {"codes": lap(False), "codes and nibbles": lap(True)}
    spent = by_turns(calls, time.thread_time_ns, seconds)
    per_row = {name: [1000 * each / rows for each in times] for name, times in spent.items()}
    print("the next: ns a row")
    say(f"adds of {_ADDED_AT_ONCE} x {dim}", per_row)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--data", choices=DATA)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each comparison")
    options = parser.parse_args()
    print(f"kernel {choice.names()[0]}, k = {K}; the last column is a ratio to the line's first")
    for rows, dim in ((options.rows, options.dim),) if options.rows else SIZES:
        for name in DATA if options.data is None else (options.data,):
            scans(rows, dim, name, options.threads, options.seconds)
    for dim in sorted({dim for _, dim in SIZES}):
        adds(100_000, dim, options.seconds)


if __name__ == "__main__":
    main()
