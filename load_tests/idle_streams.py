"""Event streams on which nothing happens, and what they do to the figures of others.

Each pair of measurements is one without and one with them, in turns, behind one another: what else
the machine does is much the same for both, so the ratio of a pair tells more than two medians.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from .figures import Figure

_REQUEST: Final = b"GET /v1/collections/%b/feed HTTP/1.1\r\nHost: localhost\r\n\r\n"
_AT_ONCE: Final = 50
_TICKS: Final = os.sysconf("SC_CLK_TCK")

#: Answers in a second, and how many there were.
Measured = tuple[float, int]


class _Following(asyncio.Protocol):
    """A client of a stream; ``begun`` with its first event."""

    def __init__(self, collection: str) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._collection = collection
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(_REQUEST % self._collection.encode())

    def data_received(self, data: bytes) -> None:
        if not self.begun.done():
            self._data += data
            if b"event: feed" in self._data:
                self.begun.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.begun.done():
            self.begun.set_exception(RuntimeError(f"no stream: {self._data[:500]!r}"))


@asynccontextmanager
async def following(port: int, collection: str, count: int) -> AsyncIterator[None]:
    """So many streams of a collection, inside the block."""
    loop, there = asyncio.get_running_loop(), []
    try:
        while len(there) < count:
            made = [
                (await loop.create_connection(lambda: _Following(collection), "127.0.0.1", port))[1]
                for _ in range(min(_AT_ONCE, count - len(there)))
            ]
            there += made
            await asyncio.gather(*(one.begun for one in made))
        yield
    finally:
        for one in there:
            one.transport.abort()


async def beside(
    name: str,
    measure: Callable[[], Awaitable[Measured]],
    streams: Callable[[], AbstractAsyncContextManager[None]],
    pairs: int,
    process_id: int,
) -> list[Figure]:
    """The figures of ``measure`` without streams and beside them, and their ratios.

    The server's time on the processor for each answer tells what the clock does not on a machine
    that does other things, too.
    """
    rates: dict[bool, list[float]] = {False: [], True: []}
    costs: dict[bool, list[float]] = {False: [], True: []}
    own: dict[bool, list[float]] = {False: [], True: []}

    async def once(*, is_beside: bool) -> None:
        before, own_before = _processor_seconds(process_id), time.process_time()
        rate, answers = await measure()
        own[is_beside].append((time.process_time() - own_before) / answers * 1e6)
        rates[is_beside].append(rate)
        costs[is_beside].append((_processor_seconds(process_id) - before) / answers * 1e6)

    for pair in range(pairs):
        for is_beside in (False, True) if pair % 2 == 0 else (True, False):
            if is_beside:
                async with streams():
                    await once(is_beside=True)
            else:
                await once(is_beside=False)
    found = []
    for what, unit, values in (
        ("", "/s", rates),
        (": server's CPU", "µs", costs),
        (": ours", "µs", own),
    ):
        ratios = [there / alone for alone, there in zip(values[False], values[True], strict=True)]
        found += [
            Figure(f"{name}{what}, alone", unit, values[False]),
            Figure(f"{name}{what}, beside streams", unit, values[True]),
            Figure(f"{name}{what}, beside / alone", "", ratios),
        ]
    return found


def _processor_seconds(process_id: int) -> float:
    """What a process has had of the processor so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
