"""``omendb-ws load`` of an ``.npy`` file beside the client's own ``add`` of the same array.

    python load_tests/bench_load.py [ROWS] [ROUNDS]

Starts a server, takes turns, and prints medians and the ratio of each round. Both read the file
through a memory map; ``load`` is a process of its own, as a user starts it, and its time is the one
that it prints.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from omendb_ws.client import connect
from omendb_ws.runtime.event_loops import choose

DIM = 128
CAPACITY = 100_000


async def add(url: str, path: Path) -> float:
    """Seconds of the client's own add."""
    vectors = np.load(path, mmap_mode="r")
    ids = np.arange(len(vectors), dtype=np.uint64)
    async with connect(url) as db:
        started = time.perf_counter()
        await db.add("items", vectors, ids)
        return time.perf_counter() - started


def load(url: str, path: Path) -> float:
    """Seconds of the command."""
    done = subprocess.run(
        [sys.executable, "-m", "omendb_ws", "load", str(path), "-c", "items", "--again", "--json",
         "--url", url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(json.loads(done.stdout)["seconds"])


def main(rows: int = 1_000_000, rounds: int = 5) -> None:
    """Measure and print."""
    command = [sys.executable, "-m", "omendb_ws", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "rows.npy"
            np.save(path, np.random.default_rng(0).standard_normal((rows, DIM), dtype=np.float32))
            subprocess.run(
                [sys.executable, "-m", "omendb_ws", "create", "items", "--dim", str(DIM),
                 "--capacity", str(CAPACITY), "--url", url],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            _measure(url, path, rows, rounds)
    finally:
        server.terminate()
        server.wait()


def _measure(url: str, path: Path, rows: int, rounds: int) -> None:
    adds, loads = [], []
    for number in range(rounds):
        with asyncio.Runner(loop_factory=choose().new_loop) as runner:
            adds.append(runner.run(add(url, path)))
        loads.append(load(url, path))
        ratio = loads[-1] / adds[-1]
        print(f"round {number}: add {rows / adds[-1]:,.0f}, load {rows / loads[-1]:,.0f} rows/s,"
              f" ratio {ratio:.2f}", flush=True)  # fmt: skip
    ratios = [one / other for one, other in zip(loads, adds, strict=True)]
    print(
        f"{rows:,} × {DIM}: the client's add {rows / statistics.median(adds):,.0f} rows/s, load"
        f" {rows / statistics.median(loads):,.0f} rows/s, ratio {statistics.median(ratios):.2f}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
