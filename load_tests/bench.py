"""Measures a server on this machine: adds, searches under load, a search at rest.

    make bench            (or: python load_tests/bench.py --runs 5 --seconds 2)

Starts ``omendb-ws serve`` as a child on a free port; this process is its only client. A window of
100,000 rows of 128 dimensions, kept full, in memory, u64 ids. Every figure is the median of several
runs, with the lowest and highest beside it. Client and server share the machine, so on few cores
each takes from the other. The load is sent with the wire codec on a bare WebSocket, so that the
server is what is measured; what the Python client reaches stands in lines of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omendb_core.change import RowBatch
from websockets.asyncio.client import ClientConnection, connect

from omendb_ws import connect as connect_client
from omendb_ws.event_loops import choose
from omendb_ws.wire import binary, messages, text

DIM = 128
CAPACITY = 100_000
ROWS_A_FRAME = 256
#: More ids than the window holds, so that going round never replaces a row.
FRAMES = CAPACITY * 3 // 2 // ROWS_A_FRAME
FRAMES_IN_FLIGHT = 16
SEARCHES_IN_FLIGHT = 64
K = 10
READY_SECONDS = 30.0


class Figure(NamedTuple):
    """One line of the table."""

    name: str
    unit: str
    values: list[float]


# -- the server -------------------------------------------------------------------------------


class Served(NamedTuple):
    """A server in a child process."""

    url: str
    process_id: int


@contextlib.contextmanager
def serving() -> Iterator[Served]:
    """A server in a child process on a free port, which is ended."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("OMENDB_")
    }
    command = [sys.executable, "-m", "omendb_ws", "serve", "--port", "0", "--log-level", "warning"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        found = re.search(r"ws://\S+", line)
        if found is None:
            sys.exit(f"the server did not start: {line!r}")
        yield Served(found[0], child.pid)
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def scrape(url: str) -> dict[str, float]:
    """The samples without labels of ``/metrics``."""
    address = url.replace("ws://", "http://").removesuffix("/v1") + "/metrics"
    with urllib.request.urlopen(address, timeout=10) as response:
        page = response.read().decode()
    samples = re.findall(r"^(\w+) ([-+.\deE]+)$", page, re.M)
    return {name: float(value) for name, value in samples}


def mean(before: dict[str, float], after: dict[str, float], name: str) -> float:
    """The mean of what a histogram counted in between."""
    count = after[f"{name}_count"] - before[f"{name}_count"]
    return (after[f"{name}_sum"] - before[f"{name}_sum"]) / max(count, 1)


# -- load over a bare connection ----------------------------------------------------------------


class Wire:
    """Requests by the frame, on one connection. One user at a time."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Wire]:
        options: dict[str, Any] = {"compression": None, "max_size": None, "proxy": None}
        async with connect(url, **options) as connection:
            await connection.recv()
            yield cls(connection)

    async def ask(self, request: str) -> dict[str, Any]:
        await self._connection.send(request)
        reply = text.decode_incoming(await self._connection.recv(decode=False))
        assert isinstance(reply, messages.Reply), reply
        return reply.ok

    async def pipeline(self, frames: Iterator[bytes], in_flight: int) -> list[float]:
        """Send all, at most ``in_flight`` unanswered; latencies in ms. Ids must tell them apart."""
        sent: dict[int, float] = {}
        latencies: list[float] = []
        connection, clock = self._connection, time.perf_counter
        for frame in frames:
            sent[int.from_bytes(frame[4:8], "little")] = clock()
            await connection.send(frame)
            if len(sent) == in_flight:
                self._answered(await connection.recv(decode=False), sent, latencies)
        while sent:
            self._answered(await connection.recv(decode=False), sent, latencies)
        return latencies

    @staticmethod
    def _answered(reply: bytes, sent: dict[int, float], latencies: list[float]) -> None:
        if reply[0] != 0xDB:
            raise RuntimeError(f"refused: {reply[:300]!r}")
        started = sent.pop(int.from_bytes(reply[4:8], "little"))
        latencies.append((time.perf_counter() - started) * 1000)


def frames_of(generator: np.random.Generator, handle: int) -> list[bytes]:
    vectors = generator.standard_normal((FRAMES * ROWS_A_FRAME, DIM), dtype=np.float32)
    ids = np.arange(1, len(vectors) + 1, dtype=np.uint64)
    return [
        binary.encode_add(number, handle, RowBatch(vectors[at], ids[at]))
        for number in range(FRAMES)
        for at in [slice(number * ROWS_A_FRAME, (number + 1) * ROWS_A_FRAME)]
    ]


def queries_of(generator: np.random.Generator, handle: int) -> list[bytes]:
    vectors = generator.standard_normal((1024, DIM), dtype=np.float32)
    return [
        binary.encode_search(number, handle, vectors[number : number + 1], K)
        for number in range(len(vectors))
    ]


def going_round(frames: list[bytes], seconds: float, start: int = 0) -> Iterator[bytes]:
    end = time.perf_counter() + seconds
    number = start
    while time.perf_counter() < end:
        yield frames[number % len(frames)]
        number += 1


# -- what is measured ---------------------------------------------------------------------------


async def adds(url: str, metric: str, runs: int, seconds: float) -> list[Figure]:
    """Adds into the full window."""
    async with Wire.open(url) as wire:
        handle = await create(wire, f"adds-{metric}", metric)
        frames = frames_of(np.random.default_rng(1), handle)
        await wire.pipeline(iter(frames[: CAPACITY // ROWS_A_FRAME + 1]), FRAMES_IN_FLIGHT)
        rates, start = [], CAPACITY // ROWS_A_FRAME + 1
        for _ in range(runs):
            began = time.perf_counter()
            sent = len(await wire.pipeline(going_round(frames, seconds, start), FRAMES_IN_FLIGHT))
            rates.append(sent * ROWS_A_FRAME / (time.perf_counter() - began))
            start += sent
        await wire.ask(f'{{"id":1,"op":"drop","collection":"adds-{metric}"}}')
    return [Figure(f"adds, {metric}, {ROWS_A_FRAME} rows a frame", "rows/s", rates)]


async def searches(url: str, runs: int, seconds: float) -> list[Figure]:
    """Searches of a full window, 64 in flight and one at a time."""
    rates, p50s, p99s, ticks, batches, rest_p50s, rest_p99s = ([] for _ in range(7))
    async with Wire.open(url) as wire:
        handle = await create(wire, "searches", "cosine")
        generator = np.random.default_rng(2)
        frames = frames_of(generator, handle)[: CAPACITY // ROWS_A_FRAME + 1]
        await wire.pipeline(iter(frames), FRAMES_IN_FLIGHT)
        queries = queries_of(generator, handle)
        await wire.pipeline(going_round(queries, 0.5), SEARCHES_IN_FLIGHT)
        for _ in range(runs):
            before, began = scrape(url), time.perf_counter()
            latencies = await wire.pipeline(going_round(queries, seconds), SEARCHES_IN_FLIGHT)
            rates.append(len(latencies) / (time.perf_counter() - began))
            after = scrape(url)
            p50s.append(percentile(latencies, 50))
            p99s.append(percentile(latencies, 99))
            ticks.append(mean(before, after, "omendb_tick_requests"))
            batches.append(mean(before, after, "omendb_scan_queries"))
            latencies = await wire.pipeline(going_round(queries, seconds / 2), 1)
            rest_p50s.append(percentile(latencies, 50))
            rest_p99s.append(percentile(latencies, 99))
    load = f"searches, k={K}, {SEARCHES_IN_FLIGHT} in flight"
    return [
        Figure(load, "QPS", rates),
        Figure("  p50", "ms", p50s),
        Figure("  p99", "ms", p99s),
        Figure("  requests a tick, mean", "", ticks),
        Figure("  queries a scan, mean", "", batches),
        Figure("one search at rest, p50", "ms", rest_p50s),
        Figure("  p99", "ms", rest_p99s),
    ]


async def create(wire: Wire, name: str, metric: str) -> int:
    made = await wire.ask(
        f'{{"id":0,"op":"create","collection":"{name}","dim":{DIM},"capacity":{CAPACITY},'
        f'"metric":"{metric}","ids":"u64"}}'
    )
    return int(made["handle"])


async def client_adds(url: str, runs: int, seconds: float) -> list[Figure]:
    """The same adds through ``omendb_ws.connect``, as numpy arrays."""
    rates = []
    generator = np.random.default_rng(3)
    vectors = generator.standard_normal((CAPACITY, DIM), dtype=np.float32)
    async with connect_client(url) as db:
        await db.create("client", dim=DIM, capacity=CAPACITY)
        await db.add("client", vectors, ids=np.arange(CAPACITY, dtype=np.uint64))
        start = CAPACITY
        for _ in range(runs):
            began, rows = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                ids = np.arange(start, start + CAPACITY, dtype=np.uint64)
                await db.add("client", vectors, ids=ids)
                start, rows = start + CAPACITY, rows + CAPACITY
            rates.append(rows / (time.perf_counter() - began))
    return [Figure("the Python client: adds, cosine", "rows/s", rates)]


async def client_searches(url: str, runs: int, seconds: float) -> list[Figure]:
    """The same searches through ``omendb_ws.connect``: 64 tasks, each with one in flight."""
    rates = []
    queries = np.random.default_rng(4).standard_normal((1024, DIM), dtype=np.float32)
    async with connect_client(url) as db:

        async def ask(number: int, end: float) -> int:
            count = 0
            while time.perf_counter() < end:
                await db.search("client", queries[(number + 64 * count) % 1024], k=K)
                count += 1
            return count

        for _ in range(runs):
            began = time.perf_counter()
            ends = [ask(number, began + seconds) for number in range(SEARCHES_IN_FLIGHT)]
            counts = await asyncio.gather(*ends)
            rates.append(sum(counts) / (time.perf_counter() - began))
        await db.drop("client")
    return [Figure(f"the Python client: searches, {SEARCHES_IN_FLIGHT} in flight", "QPS", rates)]


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share))


# -- the table ------------------------------------------------------------------------------------


def show(figures: list[Figure]) -> None:
    for name, unit, values in figures:
        low, middle, high = (f(values) for f in (min, statistics.median, max))
        digits = 0 if middle >= 1000 else 1 if middle >= 10 else 2
        shown = [f"{value:,.{digits}f}" for value in (middle, low, high)]
        print(f"{name:44} {shown[0]:>10} {unit:7} {shown[1]:>10} … {shown[2]}", flush=True)


def machine() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        model = found[1] if found else model
    python = platform.python_version()
    return f"{model}, {os.cpu_count()} cores, Python {python}, numpy {np.__version__}"


async def measure(url: str, runs: int, seconds: float) -> None:
    parts: list[Callable[[], Awaitable[list[Figure]]]] = [
        lambda: adds(url, "cosine", runs, seconds),
        lambda: adds(url, "dot", runs, seconds),
        lambda: searches(url, runs, seconds),
        lambda: client_adds(url, runs, seconds),
        lambda: client_searches(url, runs, seconds),
    ]
    for part in parts:
        show(await part())


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a server on this machine.")
    parser.add_argument("--runs", type=int, default=5, help="of each figure (default 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="each run (default 2)")
    options = parser.parse_args()
    print(f"{machine()}\n{CAPACITY:,} rows x {DIM} dimensions, in memory, u64 ids; "
          f"median of {options.runs} runs, lowest … highest\n", flush=True)  # fmt: skip
    with serving() as server, asyncio.Runner(loop_factory=choose().new_loop) as runner:
        runner.run(measure(server.url, options.runs, options.seconds))


if __name__ == "__main__":
    main()
