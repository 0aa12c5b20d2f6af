"""Many event streams on which nothing happens: what each takes, and that they harm nobody.

By default a hundred; ``IDLE_CONNECTIONS=10000`` has as many as a server takes by default.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import serving
from tests.patience import PATIENCE_SECONDS
from tests.server.net.good import good
from tests.server.net.hostile import Place
from tests.server.net.test_idle import AT_ONCE, descriptors, latencies_ms, taken

STREAMS = int(os.environ.get("IDLE_CONNECTIONS", "100"))
#: Measured: 26 kB of each of 10,000; of those its tenant is charged 1 kB. Of a few, what a
#: heap takes in steps, and what Python imports at the first one, counts as well.
MOST_BYTES_EACH = 40_000
MOST_BYTES_AT_ALL = 16 << 20
MOST_THREADS = 2
REQUEST = b"GET /v1/collections/items/feed HTTP/1.1\r\nHost: localhost\r\n\r\n"

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


class Following(asyncio.Protocol):
    """A client of a stream. ``begun``: its first event came; ``told``: one with a row."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.told: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.begun.done() and b'"rows":[]}\n\n' in self._data:
            self.begun.set_result(None)
            self._data = b""
        elif not self.told.done() and b'"rows":[{"id":' in self._data:
            self.told.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.begun, self.told):
            if not future.done():
                future.set_exception(exc or EOFError(self._data[:300]))
                future.exception()  # whoever waits hears of it, and nobody has to


async def come(port: int) -> list[Following]:
    """All of them."""
    loop = asyncio.get_running_loop()
    there: list[Following] = []
    while len(there) < STREAMS:
        count = min(AT_ONCE, STREAMS - len(there))
        made = await asyncio.gather(
            *(loop.create_connection(Following, "127.0.0.1", port) for _ in range(count))
        )
        there += [one for _, one in made]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(one.begun for _, one in made))
    return there


async def test_idle_streams_take_little_and_all_are_told_afterwards() -> None:
    with (
        descriptors(STREAMS + 200),
        serving("--http-port", "0", OMENDB_MAX_CONNECTIONS=str(STREAMS + 10)) as server,
    ):
        websocket, http = (int(port) for port in re.findall(r":(\d+)", server.ready_line))
        pid = server.process.pid
        async with good(Place(websocket)) as one:
            await one.fill()
            alone = await latencies_ms(one)
            before = taken(pid)
            there = await come(http)
            beside = await latencies_ms(one)
            during = taken(pid)
            row = {"id": 0, "vector": [0, 1]}
            await one.ask("add", collection="items", rows=[row])
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*(following.told for following in there))
            used_bytes, used_descriptors, used_threads = np.subtract(during, before).tolist()
            print(
                f"{STREAMS} idle event streams: {used_bytes / STREAMS / 1e3:.1f} kB each,"
                f" {used_descriptors} descriptors, {used_threads} threads;"
                f" a light search: {alone}, beside them {beside}"
            )
            assert used_bytes < STREAMS * MOST_BYTES_EACH + MOST_BYTES_AT_ALL
            assert used_descriptors == STREAMS
            assert used_threads <= MOST_THREADS
            for following in there:
                following.transport.abort()
            while taken(pid)[1] > before[1]:
                await one.search()
