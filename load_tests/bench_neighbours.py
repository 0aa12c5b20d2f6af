"""Measures what one heavy connection does to another's searches: the longest that they wait.

    python -m load_tests.bench_neighbours [--seconds 4] [--only NAME …]

One server, and beside it two processes: a light one that searches a small collection, one vector
at a time, every few milliseconds; and a heavy one that asks for the largest thing of its kind again
and again. Each line of the table is one kind of neighbour. Latencies are the light one's. What a
neighbour did is counted by how often it was through.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import numpy as np
import orjson
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

import omendb_ws

from .figures import where
from .simulation.server import serving

ROWS: Final = 100_000
DIM: Final = 128
COLUMNS: Final = {"price": "f64", "stock": "i64", "shop": "str"}
BATCH: Final = 10_000
PAUSE_SECONDS: Final = 0.004
WARM_SECONDS: Final = 0.5

_numbers = np.random.default_rng(1)


def vectors(count: int, dim: int = DIM) -> Any:
    """Rows or queries."""
    return _numbers.standard_normal((count, dim), dtype=np.float32)


def columns(count: int) -> dict[str, Any]:
    """Metadata that filters can use."""
    return {
        "price": _numbers.random(count),
        "stock": _numbers.integers(0, 1000, count),
        "shop": [f"shop {n % 500} of the street of many shops" for n in range(count)],
    }


def conditions(turn: int) -> Any:
    """A filter of 64 conditions that nobody asked before."""
    return {
        "$or": [
            {"price": {"$lt": {"$mul": ["stock", (turn * 64 + n) / 1e6]}}, "stock": {"$gt": n}}
            for n in range(31)
        ]
    }


async def _batch(db: Any, turn: int) -> None:
    await db.search("wide", vectors(256), k=1000)


async def _filtered_batch(db: Any, turn: int) -> None:
    await db.search("wide", vectors(256), k=10, filter=conditions(turn))


async def _included_batch(db: Any, turn: int) -> None:
    await db.search("wide", vectors(64), k=500, include=["metadata"])


async def _count(db: Any, turn: int) -> None:
    await db.count("wide", conditions(turn))


async def _one_of_many(db: Any, turn: int) -> None:
    shops = [f"{turn} {n} {'x' * 20}" for n in range(1024)]
    await db.count(
        "wide", {"$or": [{"shop": {"$in": shops}}, {"stock": {"$in": list(range(1000))}}]}
    )


async def _get(db: Any, turn: int) -> None:
    await db.get("wide", np.arange(10_000), include=["metadata", "vector"])


async def _get_metadata(db: Any, turn: int) -> None:
    await db.get("wide", np.arange(10_000), include=["metadata"])


async def _subscribe(db: Any, turn: int) -> None:
    async with omendb_ws.connect(db.url) as other, asyncio.timeout(60):
        many = [other.live("small", one, k=10) for one in vectors(500, 64)]
        await asyncio.gather(*(anext(one) for one in many))


async def _feed(db: Any, turn: int) -> None:
    there = await db.describe("wide")
    rows = 0
    async for push in db.feed(
        "wide", from_seq=there.first_seq, epoch=there.epoch, include=["metadata", "vector"]
    ):
        rows += len(getattr(push, "seqs", ()))
        if rows >= ROWS // 2:
            return


async def _map(db: Any, turn: int) -> None:
    async for _ in db.watch_map("wide", sample=20_000, every_ms=100):
        return


async def _add(db: Any, turn: int) -> None:
    await db.add("wide", vectors(16_384), ids=np.arange(16_384))


async def _add_with_metadata(db: Any, turn: int) -> None:
    await db.add("wide", vectors(10_000), ids=np.arange(10_000), columns=columns(10_000))


async def _update(db: Any, turn: int) -> None:
    rows = [
        {"price": 1.0, "stock": n, "shop": f"shop {n}", "note": "n" * 40} for n in range(10_000)
    ]
    await db.update("wide", np.arange(10_000), rows)


async def _add_json(db: Any, turn: int) -> None:
    """4 MB, which the Python client would send as frames."""
    await _say(db.url, texts()["rows"])


async def _deep_json(db: Any, turn: int) -> None:
    await _say(db.url, texts()["nested"])


async def _say(url: str, text: bytes) -> None:
    """Send a text and wait for what it leads to."""
    async with connect(url, subprotocols=[Subprotocol("omendb.v1")], compression=None) as socket:
        await socket.recv()
        await socket.send(text, text=True)
        await socket.recv()


@functools.cache
def texts() -> dict[str, bytes]:
    """Long texts: rows of an add, and a million lists, most of them 1,000 deep."""
    rows = [
        {"id": n, "vector": [round(x, 7) for x in one], "metadata": {"note": "n" * 40}}
        for n, one in enumerate(vectors(2600).tolist())
    ]
    deep = b"[" * 1000 + b"]" * 1000
    return {
        "rows": orjson.dumps({"id": 1, "op": "add", "collection": "wide", "rows": rows}),
        "nested": b'{"id":1,"op":"add","rows":[' + b",".join([deep] * 1900) + b"]}",
    }


async def _delete(db: Any, turn: int) -> None:
    await db.delete("wide", np.arange(10_000))
    await db.add("wide", vectors(10_000), ids=np.arange(10_000))


async def _create(db: Any, turn: int) -> None:
    await db.create("other", dim=DIM, capacity=500_000, columns=COLUMNS)
    await db.add("other", vectors(1000), ids=np.arange(1000))
    await db.drop("other")


async def _nothing(db: Any, turn: int) -> None:
    await asyncio.sleep(0.1)


NEIGHBOURS: Final[dict[str, Callable[[Any, int], Awaitable[None]]]] = {
    "nobody": _nothing,
    "batches of 256, k = 1000": _batch,
    "batches of 256, filters of 62 conditions": _filtered_batch,
    "batches of 64, k = 500, metadata": _included_batch,
    "count, filters of 62 conditions": _count,
    "count, $in of 1,024 texts": _one_of_many,
    "get of 10,000, metadata": _get_metadata,
    "get of 10,000, metadata and vectors": _get,
    "500 live queries, and their end": _subscribe,
    "feeds from the first row": _feed,
    "maps of 20,000 rows": _map,
    "adds of 16,384 rows (8 MB)": _add,
    "adds of 10,000 rows with metadata": _add_with_metadata,
    "updates of 10,000 rows": _update,
    "adds of 2,600 rows in JSON (4 MB)": _add_json,
    "JSON of a million lists, 1,000 deep": _deep_json,
    "deletes of 10,000 rows": _delete,
    "windows of 500,000 made and dropped": _create,
}


async def fill(url: str) -> None:
    """The collections, full."""
    async with omendb_ws.connect(url) as db:
        await db.create("small", dim=64, capacity=10_000, metric="dot")
        await db.add("small", vectors(10_000, 64), ids=np.arange(10_000))
        await db.create("wide", dim=DIM, capacity=ROWS, metric="dot", columns=COLUMNS)
        for start in range(0, ROWS, BATCH):
            ids = np.arange(start, start + BATCH)
            await db.add("wide", vectors(BATCH), ids=ids, columns=columns(BATCH))


async def heavy(url: str, name: str, seconds: float) -> None:
    """Be a neighbour; print how often."""
    turn = 0
    until = time.monotonic() + seconds
    async with omendb_ws.connect(url) as db:
        db.url = url
        while time.monotonic() < until:
            turn += 1
            try:
                await NEIGHBOURS[name](db, int(time.time() * 1000) % 10**6 + turn)
            except omendb_ws.TooLarge as error:
                print(f"({error})"[:60], end=" ")
    print(turn)


async def light(url: str, seconds: float) -> list[float]:
    """Search until the time is over: milliseconds of each."""
    took = []
    query = vectors(1, 64)[0]
    async with omendb_ws.connect(url) as db:
        await db.search("small", query)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            with contextlib.suppress(omendb_ws.Overloaded):
                await db.search("small", query)
            took.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(PAUSE_SECONDS)
    return took


def measure(url: str, name: str, seconds: float) -> None:
    """One line of the table."""
    command = [sys.executable, "-m", "load_tests.bench_neighbours", "--heavy", url, "--only", name]
    child = subprocess.Popen(
        [*command, "--seconds", str(seconds + 2 * WARM_SECONDS)], stdout=subprocess.PIPE, text=True
    )
    try:
        time.sleep(WARM_SECONDS + 1.0)
        took = asyncio.run(light(url, seconds))
        said = child.communicate(timeout=60)[0].strip()
    finally:
        child.terminate()
        child.wait()
    p50, p99 = np.percentile(took, [50, 99])
    print(f"{name:42} {p50:8.2f} {p99:8.2f} {max(took):8.1f} {len(took):8} {said:>8}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", nargs="*", default=list(NEIGHBOURS), choices=list(NEIGHBOURS))
    parser.add_argument("--heavy", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.heavy:
        asyncio.run(heavy(arguments.heavy, arguments.only[0], arguments.seconds))
        return
    print(where())
    heads = [f"{head:>8}" for head in ("p50 ms", "p99 ms", "max ms", "asked", "heavy")]
    print(f"{'a neighbour asks for':42}", *heads)
    with serving() as target:
        asyncio.run(fill(target.url))
        for name in arguments.only:
            measure(target.url, name, arguments.seconds)


if __name__ == "__main__":
    main()
