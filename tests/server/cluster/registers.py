"""Clients that write and read one id at a time, and the histories of what they saw.

A read names the newest version that any of the clients has been told of (``min_version``), whatever
node it asks: so reads of followers, too, are linearizable, and that is what is checked.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import omendb_ws
from omendb_ws import Client
from omendb_ws.client.seen import Seen, Shown, Version
from omendb_ws.errors import ConnectionLost, Internal, Unsupported
from tests.oracle.linearizability import NEVER, Operation, is_linearizable
from tests.patience import PATIENCE_SECONDS

#: Operations of each client on one id.
_OPERATIONS = 5
_UNKNOWN = (ConnectionLost, Internal, TimeoutError)


async def made(db: Client, urls: Sequence[str], name: str, **definition: int) -> None:
    """Make a collection, once there are nodes enough; return when all nodes know of it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await db.create(name, metric="dot", **definition)
                break
            except Unsupported:  # fewer nodes are known yet than it is to have replicas
                await asyncio.sleep(0.05)
        for url in urls:
            async with omendb_ws.connect(url) as other:
                while name not in {one.collection for one in await other.list()}:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


class _Together(Seen):
    """What any of several clients was shown, which each asks for with every read."""

    def wanted(self, link: Shown, collection: str) -> Version | None:
        return self._newest.get(collection)


class Registers:
    """Histories of ids of the collection ``registers``, by a client of each of ``urls``."""

    def __init__(self, urls: Sequence[str], seed: int) -> None:
        self.histories: list[list[Operation]] = []
        self._urls = urls
        self._random = random.Random(seed)
        self._values = 0

    async def run(self, is_over: asyncio.Event) -> None:
        """Write and read one id after the other, until it is over."""
        seen = _Together()
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(omendb_ws.connect(url, request_timeout_seconds=120))
                for url in self._urls
            ]
            await made(clients[0], self._urls, "registers", dim=1, capacity=100_000)
            for client in clients:
                client._connection.seen = seen
            while not is_over.is_set():
                history: list[Operation] = []
                id = len(self.histories)
                self.histories.append(history)
                await asyncio.gather(*(self._use(one, id, history) for one in clients))

    async def _use(self, db: Client, id: int, history: list[Operation]) -> None:
        for _ in range(_OPERATIONS):
            chance, called = self._random.random(), time.monotonic()
            if chance < 0.5:
                [row] = await db.get("registers", [id], include=["metadata"])
                value = None if row is None or row.metadata is None else row.metadata["v"]
                history.append(Operation(False, value, called, time.monotonic()))
                continue
            self._values += 1
            value = self._values if chance < 0.9 else None
            try:
                if value is None:
                    await db.delete("registers", [id])
                else:
                    await db.add("registers", [[1.0]], [id], [{"v": value}])
            except _UNKNOWN:
                history.append(Operation(True, value, called, NEVER))
            else:
                history.append(Operation(True, value, called, time.monotonic()))

    def check(self) -> None:
        """Every history has an order."""
        for id, history in enumerate(self.histories):
            assert is_linearizable(history), (id, history)
