"""Reads that could be answered and found no room in a tick, by connections, taken by shares.

Lives on the engine's thread. A tick takes one read after the other of whoever is furthest behind
(``model/shares.py``), counting what it has of each already by what that should take. What waits is
kept by tenants and connections, each in a heap whose places are looked up again as they come to its
top: so a tick costs by what it takes, and not by what waits. To look at all in every tick took 3.2
ms with 2,240 reads of 32 connections (a tenth of a second of single vectors), and 107 with two of
each of 1,000.

Invariant: the reads of one connection leave in the order of their numbers. A call that faults has
lost nothing.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from ..tenants.share import TenantShare
from .model.commands import Read
from .model.shares import Shares
from .model.ticket import Lane
from .read_weights import QUERY_US, weight

#: Expected bytes of replies of one tick: bounds its memory.
TICK_REPLY_BYTES: Final = 32 << 20


class Queued(NamedTuple):
    """A read, and its number in order of arrival."""

    number: int
    work: Read


class Room:
    """What a tick takes, so many query vectors at most, and has taken."""

    def __init__(self, most_queries: int) -> None:
        self._most_queries = most_queries
        self.taken: list[Read] = []
        self.weights: dict[Read, int] = {}
        self._queries = self._reply_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more is taken."""
        return self._queries >= self._most_queries or self._reply_bytes >= TICK_REPLY_BYTES

    def take(self, work: Read) -> int:
        """Have it, and say what it counts for."""
        counted = self.weights[work] = weight(work)
        self.taken.append(work)
        self._queries += counted
        self._reply_bytes += work.ticket.reply_bytes
        return counted


#: Where a connection stands, or stood when that was looked up; whether it got something since its
#: reads wait; the number of its first read, and whose that is. The least is next; no two numbers
#: are the same.
_Stand: TypeAlias = tuple[float, bool, int, Lane]


class FairReads:
    """Reads of many connections, each with a number."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._lanes: dict[Lane, deque[Queued]] = {}
        #: Of each tenant all its connections in ``_lanes``.
        self._heaps: dict[TenantShare, list[_Stand]] = {}
        self._count = 0

    def __len__(self) -> int:
        """From any thread."""
        return self._count

    def works(self) -> Iterator[Queued]:
        """All of them, in any order."""
        return (queued for queue in self._lanes.values() for queued in queue)

    def first_lanes(self) -> list[Lane]:
        """Of each tenant the connection that is furthest behind."""
        firsts = [self._first(heap) for heap in self._heaps.values()]
        return [first[-1] for first in firsts if first is not None]

    def add_all(self, works: Sequence[Queued]) -> None:
        """More of them; as a rule the last of their connections."""
        begun = {queued.work.ticket.asker.lane for queued in works} - self._lanes.keys()
        for lane in begun:
            self._shares.begin(lane.share)
        places = {lane: self._shares.place(lane.share)[1] for lane in begun}
        for queued in works:  # nothing of this can fault: it is done as a whole
            lane = queued.work.ticket.asker.lane
            queue = self._lanes.get(lane)
            if queue is None:
                queue = self._lanes[lane] = deque()
                heap = self._heaps.setdefault(lane.share.tenant, [])
                heapq.heappush(heap, (places[lane], False, queued.number, lane))
            at = len(queue)
            while at and queue[at - 1].number > queued.number:
                at -= 1
            queue.insert(at, queued)
            self._count += 1

    def take(self, most_queries: int, *, is_gated: bool) -> Room:
        """As many as a tick takes; ``is_gated``: those that are too far ahead wait."""
        room = Room(most_queries)
        takings = [_Taking(self._lanes, heap) for heap in self._heaps.values()]
        try:
            self._fill(room, takings, is_gated)
        except BaseException:
            for taking in takings:
                taking.counts.clear()
            raise
        finally:
            for taking in takings:
                self._count -= taking.end()
            self._heaps = {tenant: heap for tenant, heap in self._heaps.items() if heap}
        return room

    def _fill(self, room: Room, takings: list[_Taking], is_gated: bool) -> None:
        shares = self._shares
        tenants: list[tuple[float, int, TenantShare, _Taking]] = []
        for taking in takings:
            first = self._first(taking.heap)
            if first is not None and not (is_gated and not shares.may(first[-1].share)):
                share = first[-1].share
                tenants.append((shares.place(share)[0], first[2], share.tenant, taking))
        heapq.heapify(tenants)
        while tenants and not room.is_full:
            tenant_us, number, tenant, taking = tenants[0]
            first = self._first(taking.heap)
            if first is not None and is_gated and not shares.may(first[-1].share):
                first = None
            us = taking.take(first, room)
            if us is None:
                heapq.heappop(tenants)
            else:
                heapq.heapreplace(tenants, (tenant_us + us / tenant.weight, number, tenant, taking))

    def _first(self, heap: list[_Stand]) -> _Stand | None:
        """Whoever is furthest behind; those whose connections have closed are forgotten."""
        while heap:
            known = heap[0]
            lane = known[-1]
            if not lane.is_open:
                self._count -= len(self._lanes.pop(lane))
                heapq.heappop(heap)
                continue
            at_us = self._shares.place(lane.share)[1]
            if at_us <= known[0]:
                return known
            heapq.heapreplace(heap, (at_us, *known[1:]))
        return None


class _Taking:
    """What a tick takes of one tenant. ``heap``: its connections that nothing was taken of yet."""

    def __init__(self, lanes: dict[Lane, deque[Queued]], heap: list[_Stand]) -> None:
        self.heap = heap
        self.counts: dict[Lane, int] = {}
        self._lanes = lanes
        #: The others: as they stood, and with what was taken.
        self._stood: dict[Lane, float] = {}
        self._begun: list[_Stand] = []

    def take(self, first: _Stand | None, room: Room) -> float | None:
        """The next read, of ``first`` of the heap or another; what it should take. None: none."""
        begun = self._begun
        if begun and (first is None or begun[0] < first):
            at_us, _, number, lane = heapq.heappop(begun)
        elif first is not None:
            at_us, _, number, lane = heapq.heappop(self.heap)
            self._stood[lane] = at_us
        else:
            return None
        count, queue = self.counts.get(lane, 0), self._lanes[lane]
        us = room.take(queue[count].work) * QUERY_US
        self.counts[lane] = count = count + 1
        if count < len(queue):
            heapq.heappush(begun, (at_us + us, True, number, lane))
        return us

    def end(self) -> int:
        """Take out what was taken, and put the others back; how many that was."""
        for lane, at_us in self._stood.items():
            queue = self._lanes[lane]
            count = self.counts.get(lane, 0)
            if count == len(queue):
                del self._lanes[lane]
                continue
            for _ in range(count):
                queue.popleft()
            heapq.heappush(self.heap, (at_us, True, queue[0].number, lane))
        return sum(self.counts.values())
