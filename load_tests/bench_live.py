"""Measures live queries on this machine: how long after an add is its push there?

    make bench-live            (or: python load_tests/bench_live.py --runs 3 --seconds 10)

Starts ``omendb-ws serve`` as a child on a free port; this process is its only client. A full window
of 100,000 rows of 128 dimensions, cosine, in memory. Standing top-10 queries over 100 connections
(SUBSCRIBE, binary pushes), while one more connection adds rows at a fixed rate, whatever comes
back. Data and queries are uniform on the sphere, or Gaussian around 200 centres of it.

*Push lag* is measured in this process, with one clock: from just before the add is handed to the
socket until the push has been received. A push tells of all adds since the one before it to the
same subscription; the oldest of those that changed the answer counts, so far as the push shows it.
``push_ms`` is the server's own: from the arrival of the change to the push handed to the socket.
Client and server share the machine, so on few cores each takes from the other.

*Sustained* means: every add was acknowledged, at the rate offered, and the lag of the last third of
the run is not above twice that of the first. After each case, some views, built from the pushes,
are compared with what ``search`` answers.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench import READY_SECONDS, Figure, Served, Wire, machine, percentile, serving, show
from omendb_core.change import RowBatch
from omendb_core.types import F32
from websockets.asyncio.client import ClientConnection, connect

from omendb_ws.event_loops import choose
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Added, Live, Results

DIM = 128
CAPACITY = 100_000
K = 10
CONNECTIONS = 100
CENTRES = 200
#: More rows than the window holds, so that going round never has a row twice in the window.
POOL_ROWS = CAPACITY * 5 // 4
WARM_UP_SECONDS = 1.0
VERIFIED = 100
#: Ticks of the system's clock in a second, for CPU times.
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Case(NamedTuple):
    """What is measured: so many queries, so many rows a second in frames of ``rows_a_frame``."""

    queries: int
    rows_per_second: int
    rows_a_frame: int
    is_clustered: bool

    def __str__(self) -> str:
        data = "clustered" if self.is_clustered else "uniform"
        return (
            f"{self.queries:,} queries, {self.rows_per_second:,} rows/s "
            f"in frames of {self.rows_a_frame}, {data}"
        )


def vectors_of(generator: np.random.Generator, count: int, centres: F32 | None) -> F32:
    """Directions: uniform, or around ``centres``."""
    noise = generator.standard_normal((count, DIM), dtype=np.float32)
    if centres is None:
        return noise
    chosen = generator.integers(0, len(centres), count)
    return centres[chosen] + np.float32(0.35) * noise


# -- those who subscribe ----------------------------------------------------------------------


class Push(NamedTuple):
    """A message as it came, and when."""

    at: float
    frame: bytes


class Told(NamedTuple):
    """A push, with the version of the one before and the worst score of the answer before."""

    at: float
    before: int
    floor: float
    live: Live


class Reader:
    """One connection with its subscriptions; keeps every push."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.pushes: list[Push] = []
        self.views: dict[int, dict[int, np.float32]] = {}
        self.versions: dict[int, int] = {}
        self.vectors: dict[int, F32] = {}

    async def subscribe(self, handle: int, vectors: F32) -> None:
        frame = binary.encode_subscribe(1, handle, vectors, K, encoding="binary")
        await self._connection.send(frame)
        reply = await self._connection.recv(decode=False)
        if reply[0] != 0xDB:
            raise RuntimeError(f"refused: {reply[:300]!r}")
        found = binary.decode_incoming(reply)
        assert isinstance(found, tuple)
        assert isinstance(found[1], Results)
        results, end = found[1], 0
        assert results.subs is not None
        assert results.hits.scores is not None
        for sub, count, vector in zip(results.subs, results.counts, vectors, strict=True):
            rows = slice(end, end + int(count))
            end = rows.stop
            seqs, scores = results.hits.seqs[rows].tolist(), results.hits.scores[rows]
            self.views[sub] = dict(zip(seqs, scores, strict=True))
            self.versions[sub] = results.version
            self.vectors[sub] = vector

    async def listen(self) -> None:
        clock, pushes, connection = time.perf_counter, self.pushes, self._connection
        while True:
            frame = await connection.recv(decode=False)
            pushes.append(Push(clock(), frame))

    def take(self) -> list[Told]:
        """Pushes since the last call, which take the views to the present."""
        pushes, found = self.pushes.copy(), []
        self.pushes.clear()
        for at, frame in pushes:
            live = binary.decode_incoming(frame)
            assert isinstance(live, Live), live
            before, self.versions[live.sub] = self.versions[live.sub], live.version
            assert live.version > before, "versions grow"
            view = self.views[live.sub]
            floor = min(view.values()) if len(view) == K else np.float32(-np.inf)
            found.append(Told(at, before, float(floor), live))
            for seq in live.leave_seqs.tolist():
                del view[seq]
            assert live.enter.scores is not None
            view.update(zip(live.enter.seqs.tolist(), live.enter.scores, strict=True))
        return found


# -- the one who adds -------------------------------------------------------------------------


class Adder:
    """One connection that adds at a fixed rate. Its adds are all the changes that there are."""

    def __init__(self, connection: ClientConnection, frames: list[bytes], rows: int) -> None:
        self._connection = connection
        self._frames = frames
        self.rows_a_frame = rows
        self.version = self.last_seq = self._next = 0
        self._unanswered: deque[float] = deque()
        #: When each add was sent, from the run's first on; the state before it.
        self.sent: list[float] = []
        self.first_version = self.first_seq = 0
        self.latencies: list[float] = []
        self.refused = 0
        self._accepted: list[int] = []

    async def run(self, rate: float, seconds: float) -> float:
        """Add for so long; how long it took until all was acknowledged."""
        self.sent, self.latencies, self._accepted, self.refused = [], [], [], 0
        self.first_version, self.first_seq = self.version + 1, self.last_seq + 1
        count = max(1, round(rate * seconds / self.rows_a_frame))
        answers = asyncio.create_task(self._answers(count))
        began = time.perf_counter()
        for number in range(count):
            delay = began + number * self.rows_a_frame / rate - time.perf_counter()
            if delay > 0:
                await asyncio.sleep(delay)
            self.sent.append(time.perf_counter())
            self._unanswered.append(self.sent[-1])
            await self._connection.send(self._frames[self._next % len(self._frames)])
            self._next += 1
        await answers
        return time.perf_counter() - began

    async def _answers(self, count: int) -> None:
        for number in range(count):
            reply = await self._connection.recv(decode=False)
            self.latencies.append(time.perf_counter() - self._unanswered.popleft())
            if reply[0] != 0xDB:
                self.refused += 1
                continue
            found = binary.decode_incoming(reply)
            assert isinstance(found, tuple)
            assert isinstance(found[1], Added)
            assert found[1].version == self.version + 1, "somebody else changes the collection"
            self.version, self.last_seq = found[1].version, found[1].last_seq or 0
            self._accepted.append(number)

    def cause(self, told: Told) -> int | None:
        """The oldest add of this run, by number, that a push tells of.

        A row above the worst of the answer before changed it when it came, a row of it that was
        evicted when its place was taken. What entered besides came up because of those.
        """
        live = told.live
        assert live.enter.scores is not None
        newer = live.enter.seqs[live.enter.scores >= told.floor].tolist()
        newer += [seq for seq in (live.leave_seqs + CAPACITY).tolist() if seq <= self.last_seq]
        known = max(told.before + 1 - self.first_version, 0) * self.rows_a_frame + self.first_seq
        newer = [seq for seq in newer if seq >= known]
        return self._accepted[(min(newer) - self.first_seq) // self.rows_a_frame] if newer else None


# -- a run ------------------------------------------------------------------------------------


class Lags(NamedTuple):
    """Lags in ms, in the order in which their adds were sent."""

    counted: list[float]
    pushes: int
    bytes: int


def lags_of(readers: list[Reader], adder: Adder, since: float) -> Lags:
    """The lag of each push that an add sent after ``since`` caused."""
    found: list[tuple[float, float]] = []
    pushes = size = 0
    for reader in readers:
        size += sum(len(push.frame) for push in reader.pushes)
        for told in reader.take():
            pushes += 1
            cause = adder.cause(told)
            if cause is not None and adder.sent[cause] >= since:
                found.append((adder.sent[cause], (told.at - adder.sent[cause]) * 1000))
    return Lags([lag for _, lag in sorted(found)], pushes, size)


async def quiet(readers: list[Reader]) -> None:
    """Until no push has come for half a second."""
    count = -1
    while count != (now := sum(len(reader.pushes) for reader in readers)):
        count = now
        await asyncio.sleep(0.5)


def cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


class Run(NamedTuple):
    """The figures of one run."""

    p50: float
    p99: float
    worst: float
    server_p50: float
    server_p99: float
    add_p99: float
    pushes_per_second: float
    mib_per_second: float
    server_cpu: float
    client_cpu: float
    rows_per_second: float
    refused: int
    is_sustained: bool


async def run(
    server: Served, wire: Wire, case: Case, readers: list[Reader], adder: Adder, seconds: float
) -> Run:
    rate = case.rows_per_second
    cpu, own = cpu_seconds(server.process_id), time.process_time()
    began = time.perf_counter()
    took = await adder.run(rate, WARM_UP_SECONDS + seconds)
    stats = await wire.ask('{"id":7,"op":"stats"}')
    cpu, own = cpu_seconds(server.process_id) - cpu, time.process_time() - own
    await quiet(readers)
    rows = (len(adder.sent) - adder.refused) * adder.rows_a_frame
    counted, pushes, size = lags_of(readers, adder, began + WARM_UP_SECONDS)
    third = len(counted) // 3
    first, last = (percentile(part, 50) for part in (counted[:third], counted[-third:]))
    return Run(
        percentile(counted, 50), percentile(counted, 99), max(counted),
        stats["push_ms"]["p50"], stats["push_ms"]["p99"],
        percentile(adder.latencies, 99) * 1000, pushes / took, size / took / 2**20,
        100 * cpu / took, 100 * own / took, rows / took, adder.refused,
        rows / took > 0.97 * rate and not adder.refused and last <= 2 * first,
    )  # fmt: skip


async def verify(wire: Wire, readers: list[Reader], name: str) -> None:
    """Some views are what ``search`` answers now, to the bit."""
    for number in range(VERIFIED):
        reader = readers[number % len(readers)]
        sub = list(reader.views)[number // len(readers)]
        vector = ",".join(repr(float(x)) for x in reader.vectors[sub])
        found = await wire.ask(
            f'{{"id":8,"op":"search","collection":"{name}","k":{K},"vector":[{vector}]}}'
        )
        hits = {row["seq"]: np.float32(row["score"]) for row in found["results"]}
        assert hits == reader.views[sub], f"sub {sub} is not what search answers"


@contextlib.asynccontextmanager
async def opened(url: str, count: int) -> AsyncIterator[list[ClientConnection]]:
    async with contextlib.AsyncExitStack() as stack:
        options: dict[str, Any] = {"compression": None, "max_size": None, "proxy": None}
        found = []
        for _ in range(count):
            found.append(await stack.enter_async_context(connect(url, **options)))
            await found[-1].recv()
        yield found


async def handle_of(connection: ClientConnection) -> int:
    """The handle by which this connection knows the collection."""
    return int((await Wire(connection).ask('{"id":0,"op":"open","collection":"live"}'))["handle"])


async def measure(server: Served, case: Case, runs: int, seconds: float) -> list[Run]:
    """Fill a window, subscribe, and run."""
    generator = np.random.default_rng(1)
    centres = generator.standard_normal((CENTRES, DIM), dtype=np.float32)
    around = centres if case.is_clustered else None
    pool = vectors_of(generator, POOL_ROWS, around)
    queries = vectors_of(generator, case.queries, around)
    async with (
        Wire.open(server.url) as wire,
        opened(server.url, CONNECTIONS + 1) as (adding, *reading),
    ):
        await wire.ask(
            f'{{"id":0,"op":"create","collection":"live","dim":{DIM},"capacity":{CAPACITY},'
            f'"metric":"cosine","ids":"auto"}}'
        )
        (handle,) = {await handle_of(connection) for connection in (adding, *reading)}
        rows = case.rows_a_frame
        starts = range(0, POOL_ROWS - rows + 1, rows)
        frames = [binary.encode_add(at, handle, RowBatch(pool[at : at + rows])) for at in starts]
        adder = Adder(adding, frames, rows)
        await adder.run(100_000, CAPACITY / 100_000 + 0.1)
        readers = [Reader(connection) for connection in reading]
        for reader, vectors in zip(readers, np.split(queries, CONNECTIONS), strict=True):
            await reader.subscribe(handle, vectors)
        listening = [asyncio.create_task(reader.listen()) for reader in readers]
        found = [await run(server, wire, case, readers, adder, seconds) for _ in range(runs)]
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        await verify(wire, readers, "live")
        await wire.ask('{"id":9,"op":"drop","collection":"live"}')
    return found


def figures(case: Case, found: list[Run]) -> list[Figure]:
    def values(name: str) -> list[float]:
        return [float(getattr(one, name)) for one in found]

    sustained = sum(one.is_sustained for one in found)
    print(f"\n{case}: sustained in {sustained} of {len(found)} runs", flush=True)
    return [
        Figure("push lag at the client, p50", "ms", values("p50")),
        Figure("  p99", "ms", values("p99")),
        Figure("  worst", "ms", values("worst")),
        Figure("server's push_ms, p50", "ms", values("server_p50")),
        Figure("  p99", "ms", values("server_p99")),
        Figure("add acknowledged, p99", "ms", values("add_p99")),
        Figure("rows", "rows/s", values("rows_per_second")),
        Figure("adds refused", "", values("refused")),
        Figure("pushes", "1/s", values("pushes_per_second")),
        Figure("  of all", "MiB/s", values("mib_per_second")),
        Figure("CPU of the server", "%", values("server_cpu")),
        Figure("CPU of this client", "%", values("client_cpu")),
    ]


async def measure_all(server: Served, cases: list[Case], runs: int, seconds: float) -> None:
    for case in cases:
        limit = READY_SECONDS + runs * (4 * seconds + 20)
        async with asyncio.timeout(limit):
            show(figures(case, await measure(server, case, runs, seconds)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure live queries on this machine.")
    parser.add_argument("--runs", type=int, default=3, help="of each case (default 3)")
    parser.add_argument("--seconds", type=float, default=10.0, help="each run (default 10)")
    parser.add_argument("--rows-a-frame", type=int, default=64, help="(default 64)")
    parser.add_argument("--queries", type=int, help="with --rows: this case only")
    parser.add_argument("--rows", type=int, help="rows a second")
    parser.add_argument("--data", choices=["both", "uniform", "clustered"], default="both")
    options = parser.parse_args()
    loads = [(10_000, 10_000), (1_000, 20_000)]
    if options.queries and options.rows:
        loads = [(options.queries, options.rows)]
    kinds = {"both": [False, True], "uniform": [False], "clustered": [True]}[options.data]
    cases = [Case(*load, options.rows_a_frame, kind) for load in loads for kind in kinds]
    print(f"{machine()}\n{CAPACITY:,} rows x {DIM} dimensions, in memory, k = {K}, {CONNECTIONS} "
          f"connections; median of {options.runs} runs, lowest … highest", flush=True)  # fmt: skip
    with serving() as server, asyncio.Runner(loop_factory=choose().new_loop) as runner:
        runner.run(measure_all(server, cases, options.runs, options.seconds))


if __name__ == "__main__":
    main()
