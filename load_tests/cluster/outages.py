"""Somebody is killed: how long changes wait, and whether reads and pushes on the others go on.

The collection ``items`` loses the node that owns it, or the server of NATS that leads its stream.
Meanwhile a node that holds it is searched without a pause, and ``others``, which has lost neither,
is changed and its feed read on that node: how late that tells of what was acknowledged. Its owner
may have been connected to the server that was killed; so how long its changes wait is said, too.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from websockets.asyncio.client import connect

import omendb_ws
from omendb_ws.errors import OmenError
from omendb_ws.journal.jetstream import names
from omendb_ws.local_cluster.cluster import NatsServer
from omendb_ws.local_cluster.nodes import Node

from .deployed import CLUSTER, Deployed, Member, made

_DIM: Final = 8
_PERIOD_SECONDS: Final = 0.005
_PATIENCE_SECONDS: Final = 60.0
#: So many changes, answers and pushes before and after, so that a pause has a frame.
_MANY: Final = 50


@dataclass(frozen=True, slots=True)
class Outage:
    """In seconds: until a change was taken, the longest time without an answer, how late the feed
    of ``others`` was at most, and the longest time without a change of that."""

    changes_again: float
    reads_gap: float
    pushed_after: float
    others_gap: float


class _Gap:
    """The longest time between two moments."""

    def __init__(self) -> None:
        self._last = math.inf
        self.longest = 0.0
        self.count = 0

    def now(self) -> None:
        """One of them."""
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self.count += 1


class _Delay:
    """How long after its acknowledgement a row is pushed, at most."""

    def __init__(self) -> None:
        self._acknowledged: deque[tuple[int, float]] = deque()
        self._pushed_seq = 0
        self.longest = 0.0
        self.count = 0

    def acknowledged(self, seq: int) -> None:
        """Of the row ``seq``, now."""
        if seq > self._pushed_seq:
            self._acknowledged.append((seq, time.perf_counter()))

    def pushed(self, seq: int) -> None:
        """All rows up to ``seq``, now."""
        now = time.perf_counter()
        self._pushed_seq = seq
        self.count += 1
        while self._acknowledged and self._acknowledged[0][0] <= seq:
            self.longest = max(self.longest, now - self._acknowledged.popleft()[1])


async def owner_killed(deployed: Deployed) -> Outage:
    """The node that owns ``items`` is killed."""
    assert deployed.cluster is not None
    await _make(deployed)
    await _put_leaders(deployed)
    owner = deployed.members[0].name
    return await _measure(deployed, _process(deployed.cluster.nodes, owner))


async def stream_leader_killed(deployed: Deployed) -> Outage:
    """The server of NATS that leads the stream of ``items`` is killed."""
    assert deployed.cluster is not None
    await _make(deployed)
    leader = await _put_leaders(deployed)
    return await _measure(deployed, _process(deployed.cluster.nats, leader))


async def _make(deployed: Deployed) -> None:
    for name, owner in (("items", 0), ("others", 1)):
        await made(deployed, name, dim=_DIM, capacity=10_000, replicas=3, owner=owner)


def _process(processes: Sequence[Node | NatsServer], name: str) -> asyncio.subprocess.Process:
    [found] = [one.process for one in processes if one.name == name]
    return found


async def _measure(deployed: Deployed, victim: asyncio.subprocess.Process) -> Outage:
    witness = deployed.members[2]
    changes, reads, others, pushes = _Gap(), _Gap(), _Gap(), _Delay()
    async with (
        _changed(witness, changes),
        _searched(witness, reads),
        _pushed(deployed.members[1], witness, others, pushes),
    ):
        await _more(changes, reads, others, pushes)
        victim.kill()
        await victim.wait()
        await _more(changes, reads, others, pushes)
    return Outage(changes.longest, reads.longest, pushes.longest, others.longest)


async def _more(*gaps: _Gap | _Delay) -> None:
    """Until each had many more moments."""
    counts = [gap.count for gap in gaps]
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while any(  # noqa: ASYNC110 - polled
            gap.count < count + _MANY for gap, count in zip(gaps, counts, strict=True)
        ):
            await asyncio.sleep(_PERIOD_SECONDS)


@asynccontextmanager
async def _changed(node: Member, gap: _Gap) -> AsyncIterator[None]:
    """Changes of ``items`` through a node, one after the other; refused ones are asked for anew."""
    request = {"id": 1, "op": "add", "collection": "items", "rows": [{"vector": [1] * _DIM}]}
    async with connect(node.url, compression=None) as socket:

        async def change() -> None:
            while True:
                await socket.send(json.dumps(request))
                if "ok" in json.loads(await socket.recv()):
                    gap.now()
                await asyncio.sleep(_PERIOD_SECONDS)

        async with _beside(change):
            yield


@asynccontextmanager
async def _searched(node: Member, gap: _Gap) -> AsyncIterator[None]:
    """Searches of ``items`` on a node, one after the other."""
    async with omendb_ws.connect(node.url, fail_fast=True) as db:

        async def search() -> None:
            while True:
                try:
                    await db.search("items", [1.0] * _DIM, 5)
                except OmenError:
                    continue
                else:
                    gap.now()
                finally:
                    await asyncio.sleep(_PERIOD_SECONDS)

        async with _beside(search):
            yield


@asynccontextmanager
async def _pushed(
    owner: Member, node: Member, changes: _Gap, pushes: _Delay
) -> AsyncIterator[None]:
    """Changes of ``others``, and what a feed of another node tells of them."""
    row = np.ones((1, _DIM), np.float32)
    async with (
        omendb_ws.connect(owner.url) as writer,
        omendb_ws.connect(node.url) as db,
        db.feed("others") as feed,
    ):

        async def write() -> None:
            while True:
                added = await writer.add("others", row)
                assert added.last_seq is not None
                changes.now()
                pushes.acknowledged(added.last_seq)
                await asyncio.sleep(_PERIOD_SECONDS)

        async def read() -> None:
            async for rows in feed:
                pushes.pushed(rows.to_seq)

        async with _beside(write), _beside(read):
            await writer.add("others", row)
            yield


@asynccontextmanager
async def _beside(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """It goes on meanwhile; a fault of it is raised."""
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        is_faulty = task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=not is_faulty)


# -- NATS -----------------------------------------------------------------------------------------


async def _put_leaders(deployed: Deployed) -> str:
    """Have the streams of the two collections led by two servers; the one of ``items``."""
    assert deployed.cluster is not None
    from nats.aio.client import Client

    servers = [one.name for one in deployed.cluster.nats]
    if len(servers) == 1:
        return servers[0]
    client = Client()
    await client.connect([one.url for one in deployed.cluster.nats])
    try:
        streams = await _streams(client)
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for number, name in enumerate(("items", "others")):
                while await _leader(client, streams[name]) != servers[number]:
                    placement = {"placement": {"preferred": servers[number]}}
                    await _ask(client, f"STREAM.LEADER.STEPDOWN.{streams[name]}", placement)
                    await asyncio.sleep(0.2)
        return servers[0]
    finally:
        await client.close()


async def _streams(client: Any) -> dict[str, str]:
    """The streams of the collections, by name."""
    entries = await client.jetstream().key_value(names.bucket(CLUSTER))
    found = {}
    for entry in await entries.keys():
        defined = names.defined_by(entry)
        if defined is not None:
            key = json.loads((await entries.get(entry)).value)["key"]
            found[defined[1]] = names.stream(CLUSTER, key)
    return found


async def _leader(client: Any, stream: str) -> str | None:
    cluster = (await _ask(client, f"STREAM.INFO.{stream}"))["cluster"]
    leader: str | None = cluster.get("leader")
    return leader


async def _ask(client: Any, what: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    data = b"" if fields is None else json.dumps(fields).encode()
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{what}", data)).data)
    return answer
