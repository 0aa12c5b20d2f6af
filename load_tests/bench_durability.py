"""What durability costs: adds under each durability, by turns in one run, and recovery.

    python -m load_tests.bench_durability --data-dir DIRECTORY

For ``memory``, ``everysec`` and ``always``: rows a second of 128 dimensions into a full window, and
how long an acknowledgement takes, at the client, both with several frames under way and with one at
a time. Then the server is killed, and the time counts until the window is back. Figures hang on the
disk that DIRECTORY is on; without one it is a temporary directory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from omendb_core.model.change import RowBatch
from websockets.asyncio.client import ClientConnection, connect

from omendb_ws.wire import binary

DIM = 128
FRAME_ROWS = 512  # 256 KiB of vectors
IN_FLIGHT = 16
DURABILITIES = ("memory", "everysec", "always")


class Figures(NamedTuple):
    """One turn of one durability."""

    rows_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of the server, a row


class Frames:
    """Frames of add, made once; only ids change from one to the next."""

    def __init__(self, handle: int) -> None:
        chance = np.random.default_rng(1)
        ids = np.arange(FRAME_ROWS, dtype=np.uint64)
        self._frames = [
            bytearray(
                binary.encode_add(
                    0, handle, RowBatch(chance.standard_normal((FRAME_ROWS, DIM), np.float32), ids)
                )
            )
            for _ in range(2 * IN_FLIGHT)
        ]
        self._next_id = 1

    def next(self) -> tuple[int, bytes]:
        """The id of the request, and the frame."""
        number = self._next_id
        self._next_id += 1
        frame = self._frames[number % len(self._frames)]
        struct.pack_into("<I", frame, 4, number)
        ids = np.frombuffer(frame, np.uint64, FRAME_ROWS, 32)
        ids[:] = np.arange(number * FRAME_ROWS, (number + 1) * FRAME_ROWS, dtype=np.uint64)
        return number, bytes(frame)


@contextlib.contextmanager
def server(data_dir: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server over ``data_dir``: its address and process; killed at the end."""
    child = subprocess.Popen(
        [sys.executable, "-m", "omendb_ws", "serve", "--port", "0", "--data-dir", data_dir,
         "--log-level", "warning"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        yield child.stdout.readline().split()[-1], child
    finally:
        child.kill()
        child.wait()


async def ask(socket: ClientConnection, op: str, **fields: Any) -> dict[str, Any]:
    """The ``ok`` of a request."""
    await socket.send(json.dumps({"id": 0, "op": op, **fields}))
    while True:
        reply = json.loads(await socket.recv())
        if reply.get("id") == 0:
            return dict(reply["ok"])


async def add(
    socket: ClientConnection, frames: Frames, in_flight: int, seconds: float, pid: int
) -> Figures:
    """Add for so long, with so many frames under way."""
    cpu_before = cpu_seconds(pid)
    sent_at: deque[float] = deque()
    times_ms: list[float] = []
    began = time.perf_counter()
    rows = 0
    while True:
        now = time.perf_counter()
        while len(sent_at) < in_flight and now - began < seconds:
            _, frame = frames.next()
            sent_at.append(time.perf_counter())
            await socket.send(frame)
        if not sent_at:
            break
        reply = await socket.recv()
        if isinstance(reply, str):
            raise SystemExit(reply)
        times_ms.append((time.perf_counter() - sent_at.popleft()) * 1e3)
        rows += FRAME_ROWS
    elapsed = time.perf_counter() - began
    p50, p99 = np.percentile(times_ms, [50, 99])
    cpu_us = (cpu_seconds(pid) - cpu_before) * 1e6 / rows
    return Figures(rows / elapsed, float(p50), float(p99), cpu_us)


def cpu_seconds(pid: int) -> float:
    """What a process has used of the cores, which other load hardly changes; 0 but on Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(url: str, pid: int, capacity: int, seconds: float, turns: int) -> None:
    """Every durability, ``turns`` times by turns; the medians."""
    found: dict[tuple[str, int], list[Figures]] = {}
    async with contextlib.AsyncExitStack() as stack:
        lines: dict[str, tuple[ClientConnection, Frames]] = {}
        for durability in DURABILITIES:
            socket = await stack.enter_async_context(connect(url, compression=None, max_size=None))
            made = await ask(
                socket, "create", collection=durability, dim=DIM, capacity=capacity,
                durability=durability,
            )  # fmt: skip
            lines[durability] = socket, Frames(made["handle"])
            await add(socket, lines[durability][1], IN_FLIGHT, seconds, pid)  # fills the window
        for _ in range(turns):
            for durability, (socket, frames) in lines.items():
                for in_flight in (IN_FLIGHT, 1):
                    figures = await add(socket, frames, in_flight, seconds / 2, pid)
                    found.setdefault((durability, in_flight), []).append(figures)
    print(f"{'':10} {'under way':>9} {'rows/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs/row':>11}")
    for (durability, in_flight), runs in found.items():
        rate, p50, p99, cpu = (statistics.median(one[n] for one in runs) for n in range(4))
        print(f"{durability:10} {in_flight:9} {rate:10,.0f} {p50:8.2f} {p99:8.2f} {cpu:11.2f}")


def recover(data_dir: str) -> None:
    """Start on what is there, and say how long it takes to come back."""
    with server(data_dir) as (url, _):
        began = time.perf_counter()
        base = url.replace("ws://", "http://").removesuffix("/v1")
        while not is_ready(base):
            time.sleep(0.005)
        seconds = time.perf_counter() - began
        rows = asyncio.run(count(url))
    size = sum(path.stat().st_size for path in Path(data_dir).rglob("*") if path.is_file())
    print(f"recovery: {rows:,} rows in {seconds:.2f} s, {size >> 20} MiB of files")


def is_ready(base: str) -> bool:
    """Whether everything is back."""
    try:
        with urllib.request.urlopen(f"{base}/readyz") as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


async def count(url: str) -> int:
    """Rows of all collections."""
    async with connect(url, compression=None) as socket:
        return sum(one["rows"] for one in (await ask(socket, "list"))["collections"])


def main() -> None:
    """Run it with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", help="an empty directory; by default a temporary one")
    parser.add_argument("--capacity", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data_dir = arguments.data_dir or temporary
        print(f"{data_dir} on {os.uname().sysname}, window of {arguments.capacity} x {DIM}")
        with server(data_dir) as (url, child):
            asyncio.run(
                measure(url, child.pid, arguments.capacity, arguments.seconds, arguments.turns)
            )
        recover(data_dir)


if __name__ == "__main__":
    main()
