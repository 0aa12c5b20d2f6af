"""Measures how tenants of weights 1, 2 and 4 share the engine's time.

    python -m load_tests.bench_shares [--seconds 12] [--connections 4]

One server, and a process for each tenant, all of which search as fast as they are answered, in
batches, over windows of their own that are alike. What each got of the engine's time, of the last
ten seconds, is as ``usage`` says it. Whoever has more turns finds its window in the caches more
often, so its share of the answers is larger than that of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

import omendb_ws
from omendb_ws.access.keyring import key_entry

from .figures import where
from .simulation.server import serving

WEIGHTS: Final = {"one": 1, "two": 2, "four": 4}
ROWS: Final = 100_000
DIM: Final = 128
BATCH: Final = 64
IN_FLIGHT: Final = 4
WARM_SECONDS: Final = 1.0


async def fill(url: str, token: str) -> None:
    """A tenant's window, full."""
    numbers = np.random.default_rng(1)
    async with omendb_ws.connect(url, token=token) as db:
        await db.create("window", dim=DIM, capacity=ROWS, metric="dot")
        for start in range(0, ROWS, 10_000):
            vectors = numbers.standard_normal((10_000, DIM), dtype=np.float32)
            await db.add("window", vectors, ids=np.arange(start, start + 10_000))


async def search(
    url: str, token: str, begin: float, seconds: float, connections: int
) -> tuple[int, float]:
    """Search until the time is over: vectors answered, but for those at first; the engine's time,
    in ms a second."""
    queries = np.random.default_rng(2).standard_normal((BATCH, DIM), dtype=np.float32)
    answered = 0

    async def one(db: omendb_ws.Client) -> None:
        nonlocal answered
        while time.time() < begin + WARM_SECONDS + seconds:
            with contextlib.suppress(omendb_ws.Overloaded):
                await db.search("window", queries, k=10)
                if begin + WARM_SECONDS <= time.time() < begin + WARM_SECONDS + seconds:
                    answered += BATCH

    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(omendb_ws.connect(url, token=token))
            for _ in range(connections)
        ]
        await asyncio.sleep(max(0.0, begin - time.time()))
        await asyncio.gather(*(one(db) for db in clients for _ in range(IN_FLIGHT)))
        use = (await clients[0].usage())["use"]
    return answered, use["engine_ms_per_second"]


def measure(url: str, seconds: float, connections: int) -> None:
    """The table."""
    begin = time.time() + 3.0
    children = {
        name: subprocess.Popen(
            [
                *(sys.executable, "-m", "load_tests.bench_shares", "--as", name, "--url", url),
                *("--begin", str(begin), "--seconds", str(seconds)),
                *("--connections", str(connections)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in WEIGHTS
    }
    try:
        got = {name: child.communicate()[0].split() for name, child in children.items()}
    finally:
        for child in children.values():
            child.kill()
            child.wait()
    queries = {name: int(said[0]) for name, said in got.items()}
    engine_ms = {name: float(said[1]) for name, said in got.items()}
    heads = ("weight", "queries/s", "engine ms/s", "of its share of queries", "of time")
    print("  ".join(heads))
    for name, weight in WEIGHTS.items():
        share = weight / sum(WEIGHTS.values())
        of_queries = queries[name] / sum(queries.values()) / share
        of_time = engine_ms[name] / sum(engine_ms.values()) / share
        values = (weight, f"{queries[name] / seconds:.0f}", f"{engine_ms[name]:.0f}")
        cells = (*values, f"{of_queries:.2f}", f"{of_time:.2f}")
        print("  ".join(f"{cell!s:>{len(head)}}" for cell, head in zip(cells, heads, strict=True)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--as", dest="tenant", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.tenant:
        token = f"token-{given.tenant}"
        work = search(given.url, token, given.begin, given.seconds, given.connections)
        print(*asyncio.run(work))
        return
    print(where())
    with tempfile.TemporaryDirectory() as directory:
        keys, tenants, config = (
            Path(directory, f"{name}.toml") for name in ("keys", "tenants", "config")
        )
        config.write_text(f"tenants_file = '{tenants}'\n")
        keys.write_text(
            "\n".join(
                key_entry(name, name, ["admin", "read", "write"], f"token-{name}")
                for name in WEIGHTS
            )
        )
        keys.chmod(0o600)
        tenants.write_text(
            "".join(f"[tenants.{name}]\nweight = {weight}\n" for name, weight in WEIGHTS.items())
        )
        flags = ["--api-key-file", str(keys), "--config", str(config)]
        with serving(flags) as target:
            for name in WEIGHTS:
                asyncio.run(fill(target.url, f"token-{name}"))
            measure(target.url, given.seconds, given.connections)


if __name__ == "__main__":
    main()
