"""Searches while rows come in at a constant rate, as VectorDBBench's streaming case has it.

    python -m load_tests.bench_streaming [--rows 100000] [--dim 768] [--rate 500]

A window fills at ``--rate`` rows a second, and is asked when it holds each tenth of its rows, with
the rows coming in all along: first by one client that asks one search after the other (*serial*),
then by ``--connections`` that do so beside each other (*concurrent*). A line for each stage: QPS,
p99 of both, and the *jitter*, which is concurrent p99 over serial p99. The server is exact, so the
recall is 1.0; a sample of the answers is held to numpy's scores of all rows that it may have seen.

The rows are clustered normal ones, normalised: a stand-in for embeddings, which cannot be had here.
Stages before the last wait for their rows; ``--filled`` adds those as fast as they go instead.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from omendb_core.model.types import F32

import omendb_ws

from .figures import where
from .simulation.server import serving

COLLECTION: Final = "streaming"
_CLUSTERS: Final = 200
_BATCHES_A_SECOND: Final = 10
_QUERIES: Final = 1000
#: Answers that are compared, of each stage.
_COMPARED: Final = 5


class Stage(NamedTuple):
    """What was measured with ``rows`` in the window; ``late`` of the adds were behind their time.

    Times in milliseconds.
    """

    rows: int
    qps: float
    serial_p99: float
    concurrent_p99: float
    rows_per_second: float
    wrong: int

    @property
    def jitter(self) -> float:
        """How much longer the slowest take with others beside them."""
        return self.concurrent_p99 / self.serial_p99


def vectors(count: int, dim: int, seed: int) -> F32:
    """Rows around some centres, of length 1."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((_CLUSTERS, dim), np.float32)
    made = chance.standard_normal((count, dim), np.float32)
    made += centres[chance.integers(0, _CLUSTERS, count)]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


class Stream:
    """Rows that come at their rate until they are all there; ``added`` so far."""

    def __init__(self, db: omendb_ws.Client, rows: F32, rate: float) -> None:
        self.added = 0
        self._came = asyncio.Event()
        self._db, self._rows, self._rate = db, rows, rate

    async def fill(self, until: int) -> None:
        """Add as fast as it goes."""
        if until > self.added:
            await self._add(until - self.added)

    async def has(self, count: int) -> None:
        """Return when so many have come."""
        while self.added < count:
            self._came.clear()
            await self._came.wait()

    async def run(self) -> None:
        """Add at the rate, for as long as there are rows; what is late is sent at once."""
        began, first = time.perf_counter(), self.added
        while self.added < len(self._rows):
            due = first + int((time.perf_counter() - began) * self._rate)
            await self._add(min(due, len(self._rows)) - self.added)
            await asyncio.sleep(1 / _BATCHES_A_SECOND)

    async def _add(self, count: int) -> None:
        if count > 0:
            here = slice(self.added, self.added + count)
            await self._db.add(COLLECTION, self._rows[here], np.arange(here.start, here.stop))
            self.added = here.stop
            self._came.set()


class Asked(NamedTuple):
    """One search: when it came back, how long it took, and which rows it named."""

    took: float
    query: int
    seen: int
    ids: list[int]


async def ask(
    url: str, queries: F32, stream: Stream, seconds: float, connections: int, k: int
) -> list[Asked]:
    """Search on each of ``connections``, one after the other, for some seconds."""
    until = time.perf_counter() + seconds

    async def one(number: int) -> list[Asked]:
        found = []
        async with omendb_ws.connect(url) as db:
            place = number * 37
            while (began := time.perf_counter()) < until or not found:
                place = (place + 1) % len(queries)
                answer = await db.search(COLLECTION, queries[place], k=k)
                took = time.perf_counter() - began
                found.append(Asked(took, place, answer.version, [int(i) for i in answer.ids]))
        return found

    return [each for many in await asyncio.gather(*map(one, range(connections))) for each in many]


def wrong(asked: Sequence[Asked], rows: F32, queries: F32, seen: int, k: int) -> int:
    """Answers that name a row which scores less than one of the first ``seen`` that they leave out.

    Rows that came since are passed over: which of these an answer saw is not known here.
    """
    found = 0
    for one in asked[:: max(1, len(asked) // _COMPARED)]:
        scores = rows[:seen].astype(np.float64) @ queries[one.query].astype(np.float64)
        newer = sum(number >= seen for number in one.ids)
        best = set(np.argsort(-scores, kind="stable")[: k - newer].tolist())
        named = {number for number in one.ids if number < seen}
        least = min((scores[number] for number in named), default=-np.inf)
        found += any(scores[number] > least + 1e-6 for number in best - named)
    return found


async def stages(url: str, options: argparse.Namespace) -> list[Stage]:
    """The whole run."""
    rows = vectors(options.rows, options.dim, 1)
    queries = vectors(_QUERIES, options.dim, 2)
    found = []
    async with omendb_ws.connect(url) as db:
        await db.create(COLLECTION, dim=options.dim, capacity=options.rows, metric="cosine")
        stream = Stream(db, rows, options.rate)
        for number in range(1, options.stages + 1):
            wanted = options.rows * number // options.stages
            # The rate goes on while it is asked, so the last rows are kept for that.
            ahead = int(options.rate * 2 * options.seconds) + 1
            if options.filled:
                await stream.fill(max(0, wanted - ahead))
            coming = asyncio.create_task(stream.run())
            try:
                await stream.has(max(1, wanted - ahead))
                began, before, seen = time.perf_counter(), stream.added, stream.added
                serial = await ask(url, queries, stream, options.seconds, 1, options.k)
                beside = await ask(
                    url, queries, stream, options.seconds, options.connections, options.k
                )
                seconds = time.perf_counter() - began
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            stream.added = await db.count(COLLECTION)
            stage = Stage(
                stream.added,
                len(beside) / options.seconds,
                p99_ms(serial),
                p99_ms(beside),
                (stream.added - before) / seconds,
                wrong([*serial, *beside], rows, queries, seen, options.k),
            )
            show(stage)
            found.append(stage)
    return found


def p99_ms(asked: Sequence[Asked]) -> float:
    """Of the times that searches took."""
    return float(np.percentile([one.took for one in asked], 99)) * 1e3


def show(stage: Stage) -> None:
    """A line of the table."""
    print(
        f"{stage.rows:10,}{stage.qps:9,.0f}{stage.serial_p99:14.2f}{stage.concurrent_p99:16.2f}"
        f"{stage.jitter:9.1f}{stage.rows_per_second:9,.0f}  {'WRONG' if stage.wrong else ''}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--rate", type=float, default=500, help="rows a second")
    parser.add_argument("--stages", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each half of a stage")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--filled", action="store_true", help="do not wait for the rate in between")
    options = parser.parse_args(arguments)
    print(
        f"{where()}\n{options.rows:,} x {options.dim}, {options.rate:,.0f} rows/s, "
        f"{options.connections} connections\n"
        f"{'rows':>10}{'QPS':>9}{'serial p99 ms':>14}{'concurrent p99':>16}"
        f"{'jitter':>9}{'rows/s':>9}",
        flush=True,
    )
    with serving() as server:
        found = asyncio.run(stages(server.url, options))
    if any(stage.wrong for stage in found):
        sys.exit("an answer left out a row that scores more than one it named")


if __name__ == "__main__":
    main()
