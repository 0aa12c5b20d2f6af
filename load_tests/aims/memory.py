"""What a full window takes of a server's memory, beyond what the server takes when it is idle."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from omendb_ws import connect

from ..simulation.resources import resident_bytes
from . import load
from .row import Effort, Row

_ROWS, _DIM = 500_000, load.DIM
_CHUNK_ROWS = 50_000
#: The aim, of the vectors' float32 bytes, and bytes a row besides.
_SHARE, _BESIDE = 1.375, 112
_SETTLE_SECONDS = 0.5


def bench(effort: Effort) -> list[Row]:
    """Bytes a row beyond the idle server, u64 ids, no metadata; the window is filled twice over."""
    with load.server() as target:
        idle = resident_bytes(target.process_id)
        asyncio.run(_fill(target.url))
        time.sleep(_SETTLE_SECONDS)  # what was only passing through is given back
        full = resident_bytes(target.process_id)
    if idle is None or full is None:
        return [Row("memory a row beyond idle", "bytes", [], notes=["this system does not say"])]
    aim = _SHARE * 4 * _DIM + _BESIDE
    notes = [f"idle {idle / 2**20:.0f} MiB, with {_ROWS:,} x {_DIM} {full / 2**20:.0f} MiB"]
    name = f"memory a row beyond idle, {_DIM} dimensions"
    return [Row(name, "bytes", [(full - idle) / _ROWS], "at most", aim, notes=notes)]


async def _fill(url: str) -> None:
    vectors = np.random.default_rng(1).standard_normal((_CHUNK_ROWS, _DIM), dtype=np.float32)
    async with connect(url) as db:
        await db.create("memory", dim=_DIM, capacity=_ROWS)
        for start in range(0, 2 * _ROWS, _CHUNK_ROWS):
            ids = np.arange(start, start + _CHUNK_ROWS, dtype=np.uint64)
            await db.add("memory", vectors, ids=ids)
        await db.search("memory", vectors[0], k=10)
