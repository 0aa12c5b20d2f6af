"""Adds into a collection: rows a second, acknowledgements, what a row takes of the CPU, and where.

Each request is a change of its own. At full speed so many are always under way; at a fixed rate
each is due at its time, and an acknowledgement is counted from there.
With a follower its feed is read besides: a change is *visible* there when the push comes.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

import omendb_ws
from omendb_ws import Client, Feed

from .deployed import Deployed, Member, Placed, Spent

#: A client has about 2 MiB under way.
_MOST_IN_FLIGHT: Final = 16


@dataclass(frozen=True, slots=True)
class Load:
    """Changes of ``rows`` rows: ``in_flight`` at a time, or ``rows_per_second`` if given."""

    rows: int
    in_flight: int
    seconds: float
    rows_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """One run. Milliseconds, and microseconds of CPU a row."""

    rows_per_second: float
    acknowledged_ms: tuple[float, float]
    visible_ms: tuple[float, float]
    cpu_us: dict[str, float]


@dataclass(slots=True)
class _Seen:
    """When each version was acknowledged, and when a follower pushed it."""

    acknowledged_at: dict[int, float] = field(default_factory=dict)
    pushed_at: dict[int, float] = field(default_factory=dict)
    waited_ms: list[float] = field(default_factory=list)

    def visible_ms(self) -> list[float]:
        """How much later than its acknowledgement each version was pushed; 0 if not later."""
        return [
            max(0.0, self.pushed_at[version] - at) * 1e3
            for version, at in self.acknowledged_at.items()
            if version in self.pushed_at
        ]


async def measure(
    deployed: Deployed, placed: Placed, name: str, load: Load, vectors: NDArray[np.float32]
) -> Pace:
    """Add ``vectors`` again and again, for so long."""
    seen = _Seen()
    followers = [one.pid for one in placed.followers]
    spent = {
        "owner": Spent([placed.owner.pid]),
        "follower": Spent(followers[:1]),
        "NATS": Spent(deployed.nats_pids),
        "client": Spent([os.getpid()]),
    }
    async with (
        _connected(placed.owner, -(-load.in_flight // _MOST_IN_FLIGHT)) as clients,
        _watched(placed, name, seen),
    ):
        began = time.perf_counter()
        if load.rows_per_second is None:
            rows = await _at_full_speed(clients, name, load, vectors, seen)
        else:
            rows = await _at_a_rate(clients[0], name, load, vectors, seen)
        seconds = time.perf_counter() - began
        cpu_us = {who: one.seconds * 1e6 / rows for who, one in spent.items()}
        await _until_pushed(placed, seen)
    return Pace(rows / seconds, _middle(seen.waited_ms), _middle(seen.visible_ms()), cpu_us)


@asynccontextmanager
async def _connected(node: Member, count: int) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        connecting = [omendb_ws.connect(node.url) for _ in range(max(1, count))]
        yield [await stack.enter_async_context(one) for one in connecting]


async def _at_full_speed(
    clients: list[Client], name: str, load: Load, vectors: NDArray[np.float32], seen: _Seen
) -> int:
    ends_at = time.perf_counter() + load.seconds

    async def add_on(db: Client) -> int:
        for number in count():
            now = time.perf_counter()
            if now >= ends_at:
                return number * load.rows
            await _add(db, name, _some(vectors, number, load), now, seen)
        raise AssertionError("count has no end")

    chosen = [clients[one % len(clients)] for one in range(load.in_flight)]
    return sum(await asyncio.gather(*map(add_on, chosen)))


async def _at_a_rate(
    db: Client, name: str, load: Load, vectors: NDArray[np.float32], seen: _Seen
) -> int:
    assert load.rows_per_second is not None
    period = load.rows / load.rows_per_second
    began = time.perf_counter()
    async with asyncio.TaskGroup() as adding:
        for number in range(max(1, int(load.seconds / period))):
            due = began + number * period
            await asyncio.sleep(due - time.perf_counter())
            adding.create_task(_add(db, name, _some(vectors, number, load), due, seen))
    return (number + 1) * load.rows


async def _add(db: Client, name: str, rows: NDArray[np.float32], due: float, seen: _Seen) -> None:
    added = await db.add(name, rows)
    now = time.perf_counter()
    seen.waited_ms.append((now - due) * 1e3)
    seen.acknowledged_at[added.version] = now


def _some(vectors: NDArray[np.float32], number: int, load: Load) -> NDArray[np.float32]:
    """Rows of the given ones; their number divides by that of a change."""
    first = number * load.rows % len(vectors)
    return vectors[first : first + load.rows]


@asynccontextmanager
async def _watched(placed: Placed, name: str, seen: _Seen) -> AsyncIterator[None]:
    """A feed of the first follower, if there is one."""
    if not placed.followers:
        yield
        return
    async with (
        omendb_ws.connect(placed.followers[0].url) as db,
        db.feed(name, include=[]) as feed,
    ):
        reading = asyncio.create_task(_read(feed, seen))
        try:
            yield
        finally:
            reading.cancel()


async def _read(feed: Feed, seen: _Seen) -> None:
    last = 0
    async for step in feed:
        now = time.perf_counter()
        first = last + 1 if last else step.version
        for version in range(first, step.version + 1):
            seen.pushed_at[version] = now
        last = step.version


async def _until_pushed(placed: Placed, seen: _Seen) -> None:
    newest = max(seen.acknowledged_at, default=0)
    if placed.followers:
        async with asyncio.timeout(60):
            while max(seen.pushed_at, default=0) < newest:  # noqa: ASYNC110 - another task's
                await asyncio.sleep(0.001)


def _middle(values: list[float]) -> tuple[float, float]:
    if not values:
        return math.nan, math.nan
    p50, p99 = np.percentile(values, [50, 99])
    return float(p50), float(p99)


async def fill(owner: Member, name: str, vectors: NDArray[np.float32], rows: int) -> None:
    """Add so many rows."""
    async with omendb_ws.connect(owner.url, request_timeout_seconds=120) as db:
        for first in range(0, rows, len(vectors)):
            await db.add(name, vectors[: rows - first])
