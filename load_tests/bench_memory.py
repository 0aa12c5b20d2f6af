"""What a server's process takes of memory beside what it accounts for, as collections come and go.

    python -m load_tests.bench_memory

Rounds of create, fill and drop: resident memory after each step, beside the bytes that the server
says it has reserved. Then rows with metadata: what a row of it takes, and how fast adds with it and
without are, by turns. A server of its own, on a free port; Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from omendb_core.model.change import RowBatch
from websockets.asyncio.client import ClientConnection, connect

from load_tests.bench_durability import ask, server
from omendb_ws.wire import binary

FRAME_ROWS = 512
IN_FLIGHT = 8
MIB = 2**20


def memory(url: str, pid: int) -> tuple[float, float]:
    """MiB that the process has, and that it accounts for."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    base = url.replace("ws://", "http://").removesuffix("/v1")
    with urllib.request.urlopen(f"{base}/metrics") as answer:
        found = re.search(r"^omendb_reserved_bytes (\S+)", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB, float(found.group(1)) / MIB


def say(what: str, url: str, pid: int) -> None:
    """A line of the table."""
    resident, reserved = memory(url, pid)
    print(f"{what:34} {resident:9,.0f} {reserved:9,.0f}", flush=True)


def batches(rows: int, dim: int, metadata_bytes: int) -> Iterator[RowBatch]:
    """``rows`` rows, numbered on, each with so many bytes of metadata as JSON."""
    vectors = np.random.default_rng(1).standard_normal((FRAME_ROWS, dim), np.float32)
    text = "x" * (metadata_bytes - len('{"a":""}')) if metadata_bytes else ""
    metadata = [{"a": text}] * FRAME_ROWS if text else None
    for start in range(0, rows, FRAME_ROWS):
        count = min(FRAME_ROWS, rows - start)
        ids = np.arange(start, start + count, dtype=np.uint64)
        yield RowBatch(vectors[:count], ids, {}, None if metadata is None else metadata[:count])


async def add(socket: ClientConnection, handle: int, rows: Iterator[RowBatch]) -> float:
    """Add everything, several frames under way; the seconds it took."""
    frames = deque(binary.encode_add(number, handle, one) for number, one in enumerate(rows, 1))
    began, waiting = time.perf_counter(), 0
    while frames or waiting:
        while frames and waiting < IN_FLIGHT:
            await socket.send(frames.popleft())
            waiting += 1
        reply = await socket.recv()
        if isinstance(reply, str):
            raise SystemExit(reply)
        waiting -= 1
    return time.perf_counter() - began


async def create(socket: ClientConnection, capacity: int, dim: int) -> int:
    """The handle of a new collection "items"."""
    made = await ask(
        socket, "create", collection="items", dim=dim, capacity=capacity, durability="memory",
        metric="dot",
    )  # fmt: skip
    return int(made["handle"])


async def rounds(url: str, pid: int, arguments: argparse.Namespace) -> None:
    """Create, fill and drop, again and again."""
    async with connect(url, compression=None, max_size=None) as socket:
        for number in range(1, arguments.rounds + 1):
            handle = await create(socket, arguments.rows, arguments.dim)
            await add(socket, handle, batches(arguments.rows, arguments.dim, 0))
            say(f"round {number}, full", url, pid)
            await ask(socket, "drop", collection="items")
            say(f"round {number}, dropped", url, pid)


async def metadata(url: str, pid: int, arguments: argparse.Namespace) -> None:
    """Rows of few dimensions with metadata, laps of them, and without, by turns."""
    rows, size = arguments.metadata_rows, arguments.metadata_bytes
    async with connect(url, compression=None, max_size=None) as socket:
        for turn in range(1, arguments.turns + 1):
            for each in (0, size):
                handle = await create(socket, rows, 16)
                seconds = min([await add(socket, handle, batches(rows, 16, each)) for _ in "123"])
                what = f"{turn}: {each} B each, {rows / seconds:,.0f} rows/s"
                say(what, url, pid)
                await ask(socket, "drop", collection="items")
        say("dropped", url, pid)


def main() -> None:
    """Run it with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--max-memory-bytes", default="900000000")
    parser.add_argument("--metadata-rows", type=int, default=200_000)
    parser.add_argument("--metadata-bytes", type=int, default=80)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["OMENDB_MAX_MEMORY_BYTES"] = arguments.max_memory_bytes
    os.environ["OMENDB_QUEUE_DEADLINE_MS"] = "60000"  # a busy machine sheds nothing
    with tempfile.TemporaryDirectory() as data_dir, server(data_dir) as (url, child):
        print(f"{'MiB':34} {'resident':>9} {'reserved':>9}")
        say("started", url, child.pid)
        asyncio.run(rounds(url, child.pid, arguments))
        asyncio.run(metadata(url, child.pid, arguments))


if __name__ == "__main__":
    main()
