"""Measures the Python clients, one call at a time: how long each takes, over a socket and without.

    python -m load_tests.bench_client

Every figure is the median of a round of calls, the least of some rounds: on a machine with other
work the least is what the code takes. *CPU* is that of the thread of the asyncio client. A call
after a pause takes more of it than one that follows another at once (caches, clocks), and a search
is such a call: the client sleeps while the server works. In ``memory://`` the server's loop is the
client's, so its share is in the CPU, too.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np

import omendb_ws
import omendb_ws.sync

from .figures import where
from .simulation.server import serving

ROWS: Final = 1_000
DIM: Final = 64
PAUSE_SECONDS: Final = 0.0003

Call = Callable[[], Awaitable[object]]


def calls(db: Any) -> dict[str, Callable[[], Any]]:
    """What is measured, by name; of either client."""
    vectors = np.random.default_rng(1).standard_normal((100, DIM), dtype=np.float32)
    ids = np.arange(100)
    return {
        "ping": db.ping,
        "search, k = 10": lambda: db.search("items", vectors[0]),
        "add, 1 row": lambda: db.add("items", vectors[:1], ids=[0]),
        "add, 100 rows": lambda: db.add("items", vectors, ids=ids),
    }


async def fill(db: Any) -> None:
    """A full window, made by an asyncio client."""
    await db.create("items", dim=DIM, capacity=ROWS, if_exists="ok")
    vectors = np.random.default_rng(2).standard_normal((ROWS, DIM), dtype=np.float32)
    await db.add("items", vectors, ids=np.arange(ROWS))


async def one_by_one(call: Call, rounds: int, count: int, pause: float) -> tuple[float, float]:
    """Microseconds of a call, and of the CPU of this thread."""
    took, cpu = [], []
    for _ in range(rounds):
        times, busy = [], 0.0
        for _ in range(count):
            if pause:
                await asyncio.sleep(pause)
            busy -= time.thread_time()
            began = time.perf_counter()
            await call()
            times.append(time.perf_counter() - began)
            busy += time.thread_time()
        took.append(statistics.median(times) * 1e6)
        cpu.append(busy / count * 1e6)
    return min(took), min(cpu)


async def asyncio_client(url: str, name: str, rounds: int, count: int) -> None:
    """The asyncio client."""
    async with omendb_ws.connect(url) as db:
        await fill(db)
        for what, call in calls(db).items():
            show(name, what, *await one_by_one(call, rounds, count, 0))
        show(name, "ping, after 0.3 ms", *await one_by_one(db.ping, rounds, count, PAUSE_SECONDS))


def synchronous_client(url: str, name: str, rounds: int, count: int) -> None:
    """The synchronous client."""
    with omendb_ws.sync.connect(url) as db:
        db._run(fill(db._aio))
        for what, call in calls(db).items():
            took = []
            for _ in range(rounds):
                times = []
                for _ in range(count):
                    began = time.perf_counter()
                    call()
                    times.append(time.perf_counter() - began)
                took.append(statistics.median(times) * 1e6)
            show(name, what, min(took))


def show(name: str, what: str, took_us: float, cpu_us: float | None = None) -> None:
    """Print one line."""
    cpu = "" if cpu_us is None else f"{cpu_us:6.0f} µs CPU"
    print(f"{name:24} {what:20} {took_us:6.0f} µs {cpu}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=200, help="in a round")
    given = parser.parse_args()
    print(where())
    with serving() as target:
        for url, name in (
            (target.url, "socket"), ("memory://", "memory://"), ("memory://a", "memory://NAME"),
        ):  # fmt: skip
            asyncio.run(asyncio_client(url, f"asyncio {name}", given.rounds, given.calls))
            if url != "memory://":
                synchronous_client(url, f"sync {name}", given.rounds, given.calls)


if __name__ == "__main__":
    main()
