"""Reads that wait for the engine, and whose turn it is.

Lives on the engine's thread. A read waits for the changes that its connection sent before it, and
for its shard to be made. A tick takes a bounded number; where more could be answered, they are
taken one by one of the connection that is next (``shares.py``), so that forty searches of 256
vectors of one client do not hold up the single vector of another.

Invariant: the reads of one connection that do not wait are taken in the order in which they came.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Final

from omendb_core.filters.parser import Filter

from ..tenants.share import TenantShare
from .model.commands import Read
from .model.shard import Shard
from .model.shares import Shares
from .model.ticket import Lane
from .pieces.counting import count_share
from .pieces.masks import mask_share
from .reads.commands import Ask, Count, List, PlainSearch, Search
from .reads.descriptions import describing_share
from .reads.long_answers import takes_long
from .reads.shaped import tick_us
from .streams.beginning import MOST_AT_ONCE, begin_us, begins_in_pieces
from .streams.commands import Live, Standing
from .streams.counting import BeginCount

#: Query vectors, and expected bytes of replies, of one tick: bounds its memory and its duration.
#: From 16 on a vector costs no less, and while one tick works the next one's requests come in: with
#: eight messages of 32 vectors in flight, all in one tick, the engine waited for the next ones.
TICK_QUERIES: Final = 128
#: What a query vector is expected to take, where something else is counted as so many.
QUERY_US: Final = 50.0
TICK_REPLY_BYTES: Final = 32 << 20


class WaitingReads:
    """Reads in order of arrival, taken by shares of connections.

    ``has_more``: some that could be answered found no room in a tick.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self.has_more = False
        #: What those that were taken last were counted for.
        self.weights: dict[Read, int] = {}
        self._works: deque[Read] = deque()

    def __len__(self) -> int:
        return len(self._works)

    def lanes(self) -> Iterable[Lane]:
        """Whose reads could be answered; some more than once."""
        if not self.has_more:
            return []
        return [work.ticket.asker.lane for work in self._works if is_ready(work)]

    def add(self, work: Read) -> None:
        """A read came."""
        self._works.append(work)
        self.has_more = True

    def put_back(self, works: deque[Standing]) -> None:
        """Works that were taken, and wait on: ahead of all others, in their order.

        ``works`` is empty then.
        """
        self._works.extendleft(reversed(works))
        self.has_more = True
        works.clear()

    def take(self, shard: Shard | None = None) -> list[Read]:
        """Those whose turn it is, as many as a tick takes; before a drop, that shard's only.

        Those of closed connections are forgotten.
        """
        ready: list[Read] = []
        parked: deque[Read] = deque()
        for work in self._works:
            if not work.ticket.asker.lane.is_open:
                continue
            is_other = shard is not None and work.ticket.shard is not shard
            (parked if is_other or not is_ready(work) else ready).append(work)
        tick = _in_order(ready)
        if tick is None or (self._shares.is_contended and shard is None):
            tick = _shared(ready, self._shares, is_gated=shard is None)
        taken, self.weights = tick.taken, tick.weights
        self.has_more = len(taken) < len(ready)
        if self.has_more:
            parked = self._left(taken)
        self._works = parked
        return taken

    def _left(self, taken: list[Read]) -> deque[Read]:
        """What waits on; those of connections that got nothing come first the next time."""
        gone = set(map(id, taken))
        served = {work.ticket.asker.lane for work in taken}
        left = [work for work in self._works if id(work) not in gone]
        return deque(sorted(left, key=lambda work: work.ticket.asker.lane in served))


def is_ready(work: Read) -> bool:
    """Whether all that a read waits for is done."""
    ticket = work.ticket
    is_made = ticket.shard is None or ticket.shard.is_made
    return is_made and ticket.after <= ticket.asker.lane.done


class _Tick:
    """The room of a tick, and what is in it."""

    def __init__(self) -> None:
        self.taken: list[Read] = []
        self.weights: dict[Read, int] = {}
        self._queries = self._reply_bytes = 0

    @property
    def is_full(self) -> bool:
        return self._queries >= TICK_QUERIES or self._reply_bytes >= TICK_REPLY_BYTES

    def take(self, work: Read) -> int:
        """Have it, and say what it counts for."""
        counted = self.weights[work] = weight(work)
        self.taken.append(work)
        self._queries += counted
        self._reply_bytes += work.ticket.reply_bytes
        return counted


def _in_order(ready: list[Read]) -> _Tick | None:
    """All of them; None if a tick takes less."""
    tick = _Tick()
    for work in ready:
        if tick.is_full:
            return None
        tick.take(work)
    return tick


def _shared(ready: Iterable[Read], shares: Shares, *, is_gated: bool) -> _Tick:
    """As many as a tick takes, of whoever is furthest behind, counting what the tick has of it.

    ``is_gated``: those that are too far ahead wait.
    """
    works: dict[Lane, deque[Read]] = {}
    for work in ready:
        works.setdefault(work.ticket.asker.lane, deque()).append(work)
    tick, expected_us = _Tick(), _Expected(shares)
    # Of those that stand alike whoever came first.
    heap = [
        (expected_us.place(lane), order, lane)
        for order, lane in enumerate(works)
        if not is_gated or shares.may(lane.share)
    ]
    heapq.heapify(heap)
    while heap and not tick.is_full:
        known, order, lane = heap[0]
        place = expected_us.place(lane)
        if place > known:
            heapq.heapreplace(heap, (place, order, lane))
            continue
        work = works[lane].popleft()
        expected_us.add(lane, tick.take(work) * QUERY_US)
        if not works[lane]:
            heapq.heappop(heap)
    return tick


class _Expected:
    """Where connections stand with what a tick has taken of them, by what that should take."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._lanes_us: dict[Lane, float] = {}
        self._tenants_us: dict[TenantShare, float] = {}

    def place(self, lane: Lane) -> tuple[float, float]:
        tenant_us, connection_us = self._shares.place(lane.share)
        return (
            tenant_us + self._tenants_us.get(lane.share.tenant, 0.0),
            connection_us + self._lanes_us.get(lane, 0.0),
        )

    def add(self, lane: Lane, us: float) -> None:
        tenant = lane.share.tenant
        self._lanes_us[lane] = self._lanes_us.get(lane, 0.0) + us
        self._tenants_us[tenant] = self._tenants_us.get(tenant, 0.0) + us / tenant.weight


def weight(work: Read) -> int:
    """How many query vectors a read counts for: by its mask, too, where that is to be made."""
    if isinstance(work, PlainSearch):
        return work.request.n
    if isinstance(work, Search):
        queries = 1 if work.query.vectors is None else len(work.query.vectors)
        queries += 0 if takes_long(work) else int(tick_us(work) / QUERY_US)
        return queries + _mask_weight(work.shard, work.query.filter)
    if isinstance(work, Live):
        queries = min(len(work.queries), MOST_AT_ONCE)  # more begin in pieces
        queries += 0 if begins_in_pieces(work) else int(begin_us(work) / QUERY_US)
        return queries + _mask_weight(work.shard, work.queries[0].query.filter)
    if isinstance(work, Count | BeginCount):
        share = count_share(work.shard, work.query)
        mask = _mask_weight(work.shard, work.query.filter)
        return 1 + mask + int(TICK_QUERIES * share)
    if isinstance(work, List | Ask):
        return 1 + int(TICK_QUERIES * describing_share(work))
    return 1


def _mask_weight(shard: Shard, filter_: Filter | None) -> int:
    return int(TICK_QUERIES * mask_share(shard, filter_))
