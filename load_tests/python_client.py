"""What the Python client reaches: adds as numpy arrays, searches of many tasks."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from omendb_ws import connect

from .figures import Figure

DIM = 128
CAPACITY = 100_000
SEARCHES_IN_FLIGHT = 64
K = 10


async def adds(url: str, runs: int, seconds: float) -> list[Figure]:
    """Adds through ``omendb_ws.connect``, as numpy arrays."""
    rates = []
    generator = np.random.default_rng(3)
    vectors = generator.standard_normal((CAPACITY, DIM), dtype=np.float32)
    async with connect(url) as db:
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


async def searches(url: str, runs: int, seconds: float) -> list[Figure]:
    """Searches through ``omendb_ws.connect``: 64 tasks, each with one in flight."""
    rates = []
    queries = np.random.default_rng(4).standard_normal((1024, DIM), dtype=np.float32)
    async with connect(url) as db:

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
