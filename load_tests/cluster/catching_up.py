"""A follower that has nothing yet: how long it takes until it has a whole window.

The node is told to hold nothing and, once that is so, to take its part again: it reads the stream
from the first checkpoint on, as a node that is new does. Time counts from when it says that it has
begun.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import omendb_ws
from omendb_ws import Client

from .deployed import Placed, Spent

_LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """``cpu_us``: of the follower, a row."""

    rows_per_second: float
    cpu_us: float


async def measure(placed: Placed, name: str) -> CaughtUp:
    """Have the first follower catch up with a collection that all nodes hold."""
    follower = placed.followers[0]
    async with omendb_ws.connect(placed.owner.url) as owner:
        rows = (await owner.describe(name)).rows
        await owner.evacuate(follower.name)
        await _until(owner, name, follower.name, None)
        await owner.evacuate(follower.name, state="up")
        await _until(owner, name, follower.name, "coming", "follower")
        spent, began = Spent([follower.pid]), time.perf_counter()
        await _until(owner, name, follower.name, "follower")
        seconds = time.perf_counter() - began
        return CaughtUp(rows / seconds, spent.seconds * 1e6 / rows)


async def _until(db: Client, name: str, node: str, *states: str | None) -> None:
    """Until the node is one of these to the collection; None: does not hold it."""
    async with asyncio.timeout(120):
        while True:
            found = {one.node: one.state for one in (await db.describe(name)).replicas}
            if found.get(node) in states:
                return
            await asyncio.sleep(_LOOK_SECONDS)
