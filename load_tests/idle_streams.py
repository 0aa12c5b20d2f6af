"""Event streams on which nothing happens, and what they do to the figures of others.

Each pair of measurements is one without and one with them, in turns, behind one another: what else
the machine does is much the same for both, so the ratio of a pair tells more than two medians.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final, NamedTuple

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


class _Sample(NamedTuple):
    """Of one measurement: answers a second, and microseconds of the processor for each answer."""

    rate: float
    server_us: float
    own_us: float


async def beside(
    name: str,
    measure: Callable[[], Awaitable[Measured]],
    streams: Callable[[], AbstractAsyncContextManager[None]],
    pairs: int,
    process_id: int,
) -> list[Figure]:
    """The figures of ``measure`` without streams and beside them, and their ratios.

    Time on the processor for each answer tells what the clock does not on a machine that does other
    things, too. On such a one a server may refuse what it cannot do in time, or the machine stands
    still all the time: that pair counts for nothing; there may be as many of these as of others.
    """
    samples: list[tuple[_Sample, _Sample]] = []
    refused = 0
    while len(samples) < pairs:
        try:
            samples.append(await _pair(measure, streams, process_id, first=len(samples) % 2 == 1))
        except RuntimeError:
            refused += 1
            if refused > pairs:
                raise
    found = []
    for at, (what, unit) in enumerate((("", "/s"), (": server's CPU", "µs"), (": ours", "µs"))):
        alone, there = ([pair[side][at] for pair in samples] for side in (0, 1))
        ratios = [after / before for before, after in zip(alone, there, strict=True)]
        found += [
            Figure(f"{name}{what}, alone", unit, alone),
            Figure(f"{name}{what}, beside streams", unit, there),
            Figure(f"{name}{what}, beside / alone", "", ratios),
        ]
    return [*found, Figure(f"{name}: pairs that were refused", "", [float(refused)])]


async def _pair(
    measure: Callable[[], Awaitable[Measured]],
    streams: Callable[[], AbstractAsyncContextManager[None]],
    process_id: int,
    *,
    first: bool,
) -> tuple[_Sample, _Sample]:
    """Without streams and beside them, these ``first`` or not."""
    found: dict[bool, _Sample] = {}
    for is_beside in (first, not first):
        async with streams() if is_beside else nullcontext():
            before, own_before = _processor_seconds(process_id), time.process_time()
            rate, answers = await measure()
            if not answers:
                raise RuntimeError("nothing was answered in time")
            server_seconds = _processor_seconds(process_id) - before
            own_seconds = time.process_time() - own_before
            found[is_beside] = _Sample(
                rate, server_seconds / answers * 1e6, own_seconds / answers * 1e6
            )
    return found[False], found[True]


def _processor_seconds(process_id: int) -> float:
    """What a process has had of the processor so far."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
