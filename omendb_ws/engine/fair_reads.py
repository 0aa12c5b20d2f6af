"""Reads that could be answered and found no room in a tick, by connections, taken by shares.

Lives on the engine's thread. A tick takes one read after the other of whoever is furthest behind
(``model/shares.py``), counting what it has of each already by what that should take. What waits is
kept by connections, so that a tick costs by what it takes and by how many connections wait, not by
how many reads do: with 2,240 waiting (a tenth of a second of single vectors) to look at each of
them took 3.2 ms of every tick, and takes 0.2.

Invariant: the reads of one connection leave in the order of their numbers. A call that faults has
done nothing.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from ..tenants.share import TenantShare
from .model.commands import Read
from .model.shares import Shares
from .model.ticket import Lane
from .read_weights import QUERY_US, TICK_QUERIES, weight

#: Expected bytes of replies of one tick: bounds its memory.
TICK_REPLY_BYTES: Final = 32 << 20


class Queued(NamedTuple):
    """A read, and its number in order of arrival."""

    number: int
    work: Read


class Room:
    """What a tick takes, and has taken."""

    def __init__(self) -> None:
        self.taken: list[Read] = []
        self.weights: dict[Read, int] = {}
        self._queries = self._reply_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more is taken."""
        return self._queries >= TICK_QUERIES or self._reply_bytes >= TICK_REPLY_BYTES

    def take(self, work: Read) -> int:
        """Have it, and say what it counts for."""
        counted = self.weights[work] = weight(work)
        self.taken.append(work)
        self._queries += counted
        self._reply_bytes += work.ticket.reply_bytes
        return counted


#: Where a connection stands with what a tick has of it, whether it got something in the last one,
#: the number of its first read, and what it has. The least is next; no two numbers are the same.
_Stand: TypeAlias = tuple[float, bool, int, Lane, deque[Queued]]


class FairReads:
    """Reads of many connections, each with a number."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._lanes: dict[Lane, deque[Queued]] = {}
        self._served: set[Lane] = set()
        self._count = 0

    def __len__(self) -> int:
        """From any thread."""
        return self._count

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def lanes(self) -> Iterable[Lane]:
        """The connections that have some."""
        return self._lanes

    def works(self) -> Iterator[Queued]:
        """All of them, in any order."""
        return (queued for queue in self._lanes.values() for queued in queue)

    def add_all(self, works: Iterable[Queued]) -> None:
        """More of them; as a rule the last of their connections."""
        for queued in works:
            queue = self._lanes.setdefault(queued.work.ticket.asker.lane, deque())
            at = len(queue)
            while at and queue[at - 1].number > queued.number:
                at -= 1
            queue.insert(at, queued)
            self._count += 1

    def forget_closed(self) -> None:
        """Let go of what nobody waits for any more."""
        for lane in [lane for lane in self._lanes if not lane.is_open]:
            self._count -= len(self._lanes.pop(lane))

    def take(self, *, is_gated: bool) -> Room:
        """As many as a tick takes; ``is_gated``: those that are too far ahead wait."""
        room = Room()
        counts: dict[Lane, int] = {}
        tenants = self._stands(is_gated)
        heap = [
            (self._shares.place(stands[0][3].share)[0], stands[0][2], tenant)
            for tenant, stands in tenants.items()
        ]
        heapq.heapify(heap)
        while heap and not room.is_full:
            tenant_us, number, tenant = heap[0]
            us = _take_one(tenants[tenant], room, counts)
            if tenants[tenant]:
                heapq.heapreplace(heap, (tenant_us + us / tenant.weight, number, tenant))
            else:
                heapq.heappop(heap)
        self._take_out(counts)
        return room

    def _take_out(self, counts: dict[Lane, int]) -> None:
        """The first ones of some connections, so many of each."""
        for lane, count in counts.items():
            queue = self._lanes[lane]
            self._count -= count
            if count == len(queue):
                del self._lanes[lane]
                continue
            for _ in range(count):
                queue.popleft()
        self._served = set(counts)

    def _stands(self, is_gated: bool) -> dict[TenantShare, list[_Stand]]:
        """A heap for each tenant of its connections that may go on."""
        shares, served = self._shares, self._served
        tenants: dict[TenantShare, list[_Stand]] = {}
        for lane, queue in self._lanes.items():
            share = lane.share
            if is_gated and not shares.may(share):
                continue
            stand = shares.place(share)[1], lane in served, queue[0].number, lane, queue
            tenants.setdefault(share.tenant, []).append(stand)
        for stands in tenants.values():
            heapq.heapify(stands)
        return tenants


def _take_one(stands: list[_Stand], room: Room, counts: dict[Lane, int]) -> float:
    """The next read of a tenant's connections; what it should take."""
    at_us, was_served, number, lane, queue = stands[0]
    count = counts.get(lane, 0)
    us = room.take(queue[count].work) * QUERY_US
    counts[lane] = count = count + 1
    if count < len(queue):
        heapq.heapreplace(stands, (at_us + us, was_served, number, lane, queue))
    else:
        heapq.heappop(stands)
    return us
