"""Clients of a cluster that write and read while things happen to it, and hold it to its promises.

What was acknowledged, and every answer that was shown, is kept outside the cluster: the *ledger*.
``items`` is only ever added to, one row at a time, so that a version is the seq of its last row,
and any answer can be checked once all rows are known. ``others`` is changed in every way, and
``registers`` are written and read for histories (``registers.py``).

A row's vector is a function of its id, of small whole numbers: scores by ``dot`` are exact.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import omendb_ws
from omendb_ws import Client
from omendb_ws.errors import ConnectionLost, Internal, Unavailable
from tests.patience import PATIENCE_SECONDS
from tests.server.cluster.registers import Registers, made

DIM = 4
K = 10
QUERIES = [[1.0, 2.0, -1.0, 3.0], [-2.0, 1.0, 1.0, 0.0], [3.0, -1.0, 2.0, -2.0]]
#: Ids of one writer; and the id of the row that is added last.
_IDS = 10_000_000
LAST = 1 << 40
_SHIFTS = (3, 9, 15, 21)
_UNKNOWN = (ConnectionLost, Internal, TimeoutError)


def vector(id: int) -> list[float]:
    """Of the row with that id."""
    mixed = id * 2_654_435_761
    return [float((mixed >> shift) % 17 - 8) for shift in _SHIFTS]


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer to ``QUERIES[query]``."""

    version: int
    query: int
    ids: tuple[int, ...]


@dataclass(slots=True)
class Ledger:
    """``added``: versions by the ids of ``items``; None for an acknowledgement of a repeated batch.

    ``allowed``: what a row of ``others`` may say, None where it may not be there.
    """

    added: dict[int, int] = field(default_factory=dict)
    allowed: dict[int, set[int | None]] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)
    fed: list[tuple[int, int]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    answers: int = 0


class Witnesses:
    """On the nodes at ``urls``; ``begin``, let things happen, ``end``, then ``check``."""

    def __init__(self, urls: Sequence[str], seed: int) -> None:
        self.urls = list(urls)
        self.registers = Registers(urls, seed)
        self.ledger = Ledger(acknowledged=[0] * (len(urls) + 1))
        self._random = random.Random(seed)
        self._is_over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Make the collections, and start everybody."""
        async with self._client(self.urls) as db:
            for name, replicas in (("items", len(self.urls)), ("others", len(self.urls) - 1)):
                await made(db, self.urls, name, dim=DIM, capacity=2_000_000, replicas=replicas)
        jobs = [self._write(number, [url]) for number, url in enumerate(self.urls)]
        jobs += [self._write(len(self.urls), self.urls), self._change(self.urls)]
        jobs += [self._change([url]) for url in self.urls[:1]]
        jobs += [self._search(self.urls), self._live(0), self._live(1)]
        jobs += [self._watch_one(url) for url in self.urls]
        jobs += [self.registers.run(self._is_over)]
        self._tasks = [asyncio.create_task(job) for job in (*jobs, self._feed())]

    def raise_faults(self) -> None:
        """Raise what one of them has found."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def progress(self, rows: int) -> None:
        """Wait until every writer has added so many more rows."""
        targets = [count + rows for count in self.ledger.acknowledged]
        async with asyncio.timeout(120):
            while any(
                now < target for now, target in zip(self.ledger.acknowledged, targets, strict=True)
            ):
                self.raise_faults()
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Have the writers finish, and the feed read to the last row."""
        self._is_over.set()
        *tasks, feed = self._tasks
        await asyncio.gather(*tasks)
        async with self._client(self.urls) as db:
            added = await db.add("items", [vector(LAST)], [LAST], [{"v": LAST}])
        self.ledger.added[LAST] = added.version
        async with asyncio.timeout(120):
            await feed

    async def stop(self) -> None:
        """Leave, whatever they are at."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- who writes -------------------------------------------------------------------------------

    async def _write(self, number: int, urls: list[str]) -> None:
        """Add rows one by one, and read what was written."""
        async with self._client(urls) as db:
            id = number * _IDS
            while not self._is_over.is_set():
                added = await db.add("items", [vector(id)], [id], [{"v": id}])
                self.ledger.added[id] = added.version
                self.ledger.acknowledged[number] += 1
                if id % 5 == 0:
                    [row] = await db.get("items", [id], include=["metadata", "vector"])
                    assert row is not None, f"{id} was acknowledged, and is not there"
                    assert row.metadata == {"v": id}
                    assert row.vector is not None
                    assert row.vector.tolist() == vector(id)
                id += 1
                await asyncio.sleep(0.02)

    async def _change(self, urls: list[str]) -> None:
        """Add, update and delete; what has an unknown outcome is left alone."""
        first = self._random.randrange(1, 1000) * _IDS
        touchable: list[int] = []
        async with self._client(urls) as db:
            while not self._is_over.is_set():
                ids = [first, first + 1, first + 2]
                first += 3
                await db.add("others", [vector(id) for id in ids], ids, [{"v": id} for id in ids])
                self.ledger.allowed |= {id: {id} for id in ids}
                touchable += ids
                chosen = touchable.pop(self._random.randrange(len(touchable)))
                if await self._changed(
                    chosen, -chosen, db.update("others", [chosen], [{"v": -chosen}])
                ):
                    gone = touchable.pop(self._random.randrange(len(touchable)))
                    await self._changed(gone, None, db.delete("others", [gone]))
                await asyncio.sleep(0.03)

    async def _changed(self, id: int, value: int | None, change: Any) -> bool:
        """Whether it is known to be so now."""
        try:
            await change
        except _UNKNOWN:
            self.ledger.allowed[id].add(value)
            return False
        self.ledger.allowed[id] = {value}
        return True

    # -- who reads --------------------------------------------------------------------------------

    async def _search(self, urls: list[str]) -> None:
        """Search, over all reconnects: no version goes back."""
        before = 0
        async with self._client(urls) as db:
            while not self._is_over.is_set():
                before = self._showed(
                    await self._search_once(db), before, "a client that came back"
                )
                await asyncio.sleep(0.02)

    async def _watch_one(self, url: str) -> None:
        """Search by connections to one node: on each of them no version goes back."""
        while not self._is_over.is_set():
            before, before_others = 0, 0
            try:
                async with omendb_ws.connect(
                    url, reconnect=False, request_timeout_seconds=60
                ) as db:
                    while not self._is_over.is_set():
                        before = self._showed(await self._search_once(db), before, f"one of {url}")
                        version = (await db.search("others", QUERIES[0], 1)).version
                        assert version >= before_others, f"{url}: {version} after {before_others}"
                        before_others = version
                        await asyncio.sleep(0.02)
            except (ConnectionLost, Unavailable, TimeoutError):
                await asyncio.sleep(0.05)

    async def _search_once(self, db: Client) -> Shown:
        query = self._random.randrange(len(QUERIES))
        answer = await db.search("items", QUERIES[query], K)
        return Shown(answer.version, query, tuple(answer.ids.tolist()))

    async def _live(self, query: int) -> None:
        before = 0
        async with self._client(self.urls) as db, db.live("items", QUERIES[query], K) as live:
            async for answer in self._until_over(live):
                before = self._showed(
                    Shown(answer.version, query, tuple(answer.ids.tolist())), before, "a live query"
                )

    async def _feed(self) -> None:
        """Read every row; to the last that was acknowledged."""
        version = 0
        async with self._client(self.urls) as db:
            epoch = (await db.describe("items")).epoch
            async with db.feed("items", from_seq=1, epoch=epoch) as feed:
                async for step in feed:
                    assert step.gap is None, step.gap
                    assert step.epoch == epoch
                    assert step.version >= version, "a feed went back"
                    version = step.version
                    self.ledger.fed += zip(step.seqs.tolist(), step.ids.tolist(), strict=True)
                    if self.ledger.fed and self.ledger.fed[-1][1] == LAST:
                        return

    async def _until_over(self, live: omendb_ws.LiveQuery) -> AsyncIterator[omendb_ws.LiveAnswer]:
        over = asyncio.create_task(self._is_over.wait())
        while not over.done():
            answer = asyncio.create_task(anext(live))
            await asyncio.wait((answer, over), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                answer.cancel()
                return
            yield answer.result()
        over.cancel()

    def _showed(self, shown: Shown, before: int, where: str) -> int:
        assert shown.version >= before, f"{where}: version {shown.version} after {before}"
        self.ledger.answers += 1
        if shown.version > before:
            self.ledger.shown.append(shown)
        return shown.version

    @staticmethod
    def _client(urls: list[str]) -> Any:
        return omendb_ws.connect(urls, request_timeout_seconds=120)


# -- afterwards -----------------------------------------------------------------------------------


async def read_all(urls: list[str], name: str) -> list[dict[int, tuple[int, int, list[float]]]]:
    """What each node shows of every row, by id: seq, what it says, its vector.

    Each once it is as far as any of them: a follower may have something to catch up with.
    """
    version = 0
    for url in urls:
        async with omendb_ws.connect(url, request_timeout_seconds=120) as db:
            version = max(version, (await db.describe(name)).version)
    return [await _read(url, name, version) for url in urls]


async def _read(url: str, name: str, version: int) -> dict[int, tuple[int, int, list[float]]]:
    found: dict[int, tuple[int, int, list[float]]] = {}
    async with omendb_ws.connect(url, request_timeout_seconds=120) as db:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (described := await db.describe(name)).version < version:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        since = {"from_seq": 1, "epoch": described.epoch}
        async with db.feed(name, include=["metadata", "vector"], **since) as feed:
            async for step in feed:
                assert step.gap is None
                for row in step:
                    assert row.vector is not None
                    assert row.metadata is not None
                    found[int(row.id)] = row.seq, row.metadata["v"], row.vector.tolist()
                if len(found) >= described.rows:
                    return found
    raise AssertionError(f"{name} ended")


def check_answers(ledger: Ledger, ids_by_seq: dict[int, int]) -> None:
    """Every answer is the best K of the rows up to its version."""
    order = sorted(ids_by_seq)
    assert order == list(range(1, len(order) + 1)), "a row went in twice, or was lost"
    vectors = np.array([vector(ids_by_seq[seq]) for seq in order], np.float32)
    for query, asked in enumerate(QUERIES):
        shown = sorted(
            (one for one in ledger.shown if one.query == query), key=lambda one: one.version
        )
        _check_query(shown, vectors @ np.array(asked, np.float32), order, ids_by_seq)


def _check_query(
    shown: list[Shown], scores: NDArray[np.float32], order: list[int], ids_by_seq: dict[int, int]
) -> None:
    best: list[tuple[float, int]] = []
    version = 0
    for one in shown:
        for seq in order[version : one.version]:
            heapq.heappush(best, (float(scores[seq - 1]), seq))
            if len(best) > K:
                heapq.heappop(best)
        version = max(version, one.version)
        expected = tuple(ids_by_seq[seq] for _, seq in sorted(best, reverse=True))
        assert one.ids == expected, f"at version {one.version}"
