"""What the small benchmarks share: a server in a child process, one bare connection, a table.

Also the figures of the Python client for ``make bench`` (``load_tests/simulation/short.py``), whose
other figures come from the load simulation. Knows nothing of the simulation: files of this folder
that are run by themselves take it from beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from omendb_ws import connect as connect_client
from omendb_ws.wire import messages, text

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


# -- a bare connection --------------------------------------------------------------------------


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


# -- the Python client --------------------------------------------------------------------------


async def client_adds(url: str, runs: int, seconds: float) -> list[Figure]:
    """Adds through ``omendb_ws.connect``, as numpy arrays."""
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
    """Searches through ``omendb_ws.connect``: 64 tasks, each with one in flight."""
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
