"""Many connections that say nothing: what each takes, and that they harm nobody.

By default some hundreds; ``IDLE_CONNECTIONS=10000`` has as many as a server takes by default.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.cli.commands import serving
from tests.patience import PATIENCE_SECONDS
from tests.server.net.good import Good, good
from tests.server.net.hostile import UPGRADE, Place
from tests.server.net.rfc6455.table import pong, text

CONNECTIONS = int(os.environ.get("IDLE_CONNECTIONS", "300"))
#: At a time, so that none waits in the listener's queue.
AT_ONCE = 50
SEARCHES = 200
#: Measured: 20 kB of each of 10,000. Of a few, what a heap takes in steps counts as well.
MOST_BYTES_EACH = 40_000
MOST_BYTES_AT_ALL = 8 << 20
#: However many come: those that the process begins when it first needs them.
MOST_THREADS = 2

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


class Idle(asyncio.Protocol):
    """A client that says nothing of itself; it answers pings. It knows frames below 64 KiB."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.answered: asyncio.Future[bytes] = loop.create_future()
        self._data = b""
        self._is_upgraded = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(UPGRADE)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._is_upgraded:
            head, end, rest = self._data.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101 ")
            self._is_upgraded, self._data = True, rest
        while (whole := self._frame()) is not None:
            self._hear(*whole)

    def _frame(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 4:
            return None
        length, start = (data[1], 2) if data[1] < 126 else (int.from_bytes(data[2:4], "big"), 4)
        if len(data) < start + length:
            return None
        self._data = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]

    def _hear(self, opcode: int, payload: bytes) -> None:
        if opcode == 9:
            self.transport.write(pong(payload))
        elif not self.greeted.done():
            self.greeted.set_result(None)
        else:
            self.answered.set_result(payload)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.greeted, self.answered):
            if not future.done():
                future.set_exception(exc or EOFError())
                future.exception()  # whoever waits hears of it, and nobody has to


@contextmanager
def descriptors(count: int) -> Iterator[None]:
    """This process may have so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count > hard:
        pytest.skip(f"this process may have {hard} descriptors, and needs {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def status(pid: int, name: str) -> int:
    """A number out of /proc."""
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{name}:")[1].split()[0])


def taken(pid: int) -> tuple[int, int, int]:
    """Bytes, descriptors and threads of a process."""
    return status(pid, "VmRSS") << 10, len(os.listdir(f"/proc/{pid}/fd")), status(pid, "Threads")


async def come(port: int) -> list[Idle]:
    """All of them."""
    loop = asyncio.get_running_loop()
    there: list[Idle] = []
    while len(there) < CONNECTIONS:
        count = min(AT_ONCE, CONNECTIONS - len(there))
        made = await asyncio.gather(
            *(loop.create_connection(Idle, "127.0.0.1", port) for _ in range(count))
        )
        there += [one for _, one in made]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(one.greeted for _, one in made))
    return there


async def latencies_ms(one: Good) -> str:
    """Of light searches, one after the other."""
    took = []
    for _ in range(SEARCHES):
        began = time.perf_counter()
        await one.search()
        took.append((time.perf_counter() - began) * 1e3)
    return "p50 {:.2f}, p99 {:.2f} ms".format(*np.percentile(took, [50, 99]))


async def all_answer(there: list[Idle]) -> None:
    """Each is asked something, and answered."""
    for number, one in enumerate(there):
        one.transport.write(text(orjson.dumps({"id": number, "op": "ping"})))
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number, one in enumerate(there):
            assert orjson.loads(await one.answered) == {"id": number, "ok": {}}


async def test_idle_connections_take_little_and_all_answer_afterwards() -> None:
    with (
        descriptors(CONNECTIONS + 200),
        serving(OMENDB_MAX_CONNECTIONS=str(CONNECTIONS + 10)) as server,
    ):
        pid = server.process.pid
        async with good(Place(server.port)) as one:
            await one.fill()
            alone = await latencies_ms(one)
            before = taken(pid)
            there = await come(server.port)
            beside = await latencies_ms(one)
            during = taken(pid)
            await all_answer(there)
            used_bytes, used_descriptors, used_threads = np.subtract(during, before).tolist()
            print(
                f"{CONNECTIONS} idle connections: {used_bytes / CONNECTIONS / 1e3:.1f} kB each,"
                f" {used_descriptors} descriptors, {used_threads} threads;"
                f" a light search: {alone}, beside them {beside}"
            )
            assert used_bytes < CONNECTIONS * MOST_BYTES_EACH + MOST_BYTES_AT_ALL
            assert used_descriptors == CONNECTIONS
            assert used_threads <= MOST_THREADS
            for idle in there:
                idle.transport.abort()
            while taken(pid)[1] > before[1]:
                await one.search()
