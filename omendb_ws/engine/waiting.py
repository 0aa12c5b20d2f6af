"""Reads that wait for the engine, and whose turn it is.

Lives on the engine's thread. A read waits for the changes that its connection sent before it, and
for its shard to be made. A tick takes a bounded number; where more could be answered, they are
taken one by one of the connection that is next (``fair_reads.py``), so that forty searches of 256
vectors of one client do not hold up the single vector of another.

Invariant: the reads of one connection that do not wait are taken in the order in which they came.
A call that faults has lost nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

from .fair_reads import FairReads, Queued, Room
from .model.commands import Read
from .model.shard import Shard
from .model.shares import Shares
from .model.ticket import Lane
from .streams.commands import Standing
from .tick_size import TickSize


class WaitingReads:
    """Reads in order of arrival, taken by shares of connections.

    ``has_more``: some that could be answered found no room in a tick. ``size``: how many have.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self.has_more = False
        #: What those that were taken last were counted for.
        self.weights: dict[Read, int] = {}
        #: By number: what must wait, and behind it what nobody has looked at yet.
        self._works: deque[Queued] = deque()
        #: What need not wait, and found no room.
        self._fair = FairReads(shares)
        self.size = TickSize()
        self._first = self._last = 0

    def __len__(self) -> int:
        """From any thread."""
        return len(self._works) + len(self._fair)

    def first_lanes(self) -> Iterable[Lane]:
        """Whose reads could be answered and found no room: of each tenant who is next."""
        return self._fair.first_lanes()

    def add(self, work: Read) -> None:
        """A read came."""
        self._last += 1
        self._works.append(Queued(self._last, work))
        self.has_more = True

    def put_back(self, works: deque[Standing]) -> None:
        """Works that were taken, and wait on: ahead of all others, in their order.

        ``works`` is empty then.
        """
        self._first -= len(works)
        numbered = [Queued(self._first + place, work) for place, work in enumerate(works)]
        self._works.extendleft(reversed(numbered))
        self.has_more = True
        works.clear()

    def take(self, shard: Shard | None = None) -> list[Read]:
        """Those whose turn it is, as many as a tick takes; before a drop, that shard's only.

        Those of closed connections are forgotten.
        """
        room = self._take() if shard is None else self._take_of(shard)
        self.weights = room.weights
        return room.taken

    def _take(self) -> Room:
        ready: list[Queued] = []
        parked: deque[Queued] = deque()
        for queued in self._works:
            if queued.work.ticket.asker.lane.is_open:
                (ready if is_ready(queued.work) else parked).append(queued)
        room = None
        if not self._fair and not self._shares.is_contended:
            room = self._all(ready)
        if room is None:
            self._fair.add_all(ready)
        self._works = parked
        if room is None:
            room = self._fair.take(self.size.queries, is_gated=True)
        self.has_more = bool(self._fair)
        return room

    def _take_of(self, shard: Shard) -> Room:
        everything = chain(self._works, self._fair.works())
        ready = sorted(
            queued
            for queued in everything
            if queued.work.ticket.shard is shard
            and queued.work.ticket.asker.lane.is_open
            and is_ready(queued.work)
        )
        if not ready:
            return Room(0)
        room = self._all(ready)
        if room is None:
            alone = FairReads(self._shares)
            alone.add_all(ready)
            room = alone.take(self.size.queries, is_gated=False)
        gone = set(map(id, room.taken))
        left = [one for one in chain(self._works, self._fair.works()) if id(one.work) not in gone]
        self._works = deque(sorted(left))
        self._fair = FairReads(self._shares)
        self.has_more = bool(left)
        return room

    def _all(self, ready: Sequence[Queued]) -> Room | None:
        """All of them, in order; None if a tick takes less."""
        room = Room(self.size.queries)
        for queued in ready:
            if room.is_full:
                return None
            room.take(queued.work)
        return room


def is_ready(work: Read) -> bool:
    """Whether all that a read waits for is done."""
    ticket = work.ticket
    is_made = ticket.shard is None or ticket.shard.is_made
    return is_made and ticket.after <= ticket.asker.lane.done
