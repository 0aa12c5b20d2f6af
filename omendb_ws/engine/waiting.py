"""Reads that wait for the engine, and whose turn it is.

Lives on the engine's thread. A read waits for the changes that its connection sent before it, and
for its shard to be made. A tick takes a bounded number; where more could be answered, they are
taken one by one of the connection that is next (``fair_reads.py``), so that forty searches of 256
vectors of one client do not hold up the single vector of another.

What must wait is kept by connections, each in order: where its first is behind a change, so are the
others, and a tick looks at no more. (To look at all took 12 ms in each, with 100,000 reads that
waited behind changes on their way to the disk.)

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
        #: By number: what nobody has looked at yet.
        self._works: deque[Queued] = deque()
        #: What must wait, by number; no connection without any. And how many those are.
        self._parked: dict[Lane, deque[Queued]] = {}
        self._parked_count = 0
        #: What need not wait, and found no room.
        self._fair = FairReads(shares)
        #: Those of a shard that is about to be dropped, which need not wait.
        self._alone: tuple[Shard, FairReads] | None = None
        self.size = TickSize()
        self._first = self._last = 0

    def __len__(self) -> int:
        """From any thread."""
        alone = self._alone
        found = len(self._works) + self._parked_count + len(self._fair)
        return found if alone is None else found + len(alone[1])

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
        parked: list[Queued] = []
        if self._alone is not None:  # a fault came between
            self._works.extend(self._alone[1].works())
            self._alone = None
        for queued in self._works:
            if queued.work.ticket.asker.lane.is_open:
                (ready if is_ready(queued.work) else parked).append(queued)
        stay = self._let_go(ready)
        ready.sort()
        room = None
        if not self._fair and not self._shares.is_contended:
            room = self._all(ready)
        if room is None:
            self._fair.add_all(ready)
        for lane, left in stay.items():  # nothing of this can fault: it is done as a whole
            self._parked_count += len(left) - len(self._parked[lane])
            if left:
                self._parked[lane] = left
            else:
                del self._parked[lane]
        for queued in parked:
            queue = self._parked.setdefault(queued.work.ticket.asker.lane, deque())
            at = len(queue)
            while at and queue[at - 1].number > queued.number:
                at -= 1
            queue.insert(at, queued)
        self._parked_count += len(parked)
        self._works = deque()
        if room is None:
            room = self._fair.take(self.size.queries, is_gated=True)
        self.has_more = bool(self._fair)
        return room

    def _let_go(self, ready: list[Queued]) -> dict[Lane, deque[Queued]]:
        """Add to ``ready`` what need not wait any more; what stays of the connections that had
        such, or have gone.
        """
        stay: dict[Lane, deque[Queued]] = {}
        for lane, queue in self._parked.items():
            if not lane.is_open:
                stay[lane] = deque()
            elif queue[0].work.ticket.after <= lane.done:
                left = stay[lane] = deque()
                for queued in queue:
                    (ready if is_ready(queued.work) else left).append(queued)
        return stay

    def _take_of(self, shard: Shard) -> Room:
        """All are gone over for the first some of a shard; the others then stand by themselves."""
        if self._alone is None or self._alone[0] is not shard:
            ready = sorted(one for one in self._everything() if _is_of(one.work, shard))
            if not ready:
                return Room(0)
            room = self._all(ready)
            reads = FairReads(self._shares)
            reads.add_all(ready if room is None else ())
            gone = {one.number for one in ready}
            left = [one for one in self._everything() if one.number not in gone]
            self._works, self._parked, self._parked_count = deque(sorted(left)), {}, 0
            self._fair, self._alone = FairReads(self._shares), (shard, reads)
            if room is not None:
                return self._taken_of(room)
        return self._taken_of(self._alone[1].take(self.size.queries, is_gated=False))

    def _taken_of(self, room: Room) -> Room:
        if self._alone is not None and not self._alone[1]:
            self._alone = None
        self.has_more = bool(self)
        return room

    def _everything(self) -> Iterable[Queued]:
        alone = () if self._alone is None else self._alone[1].works()
        return chain(self._works, *self._parked.values(), self._fair.works(), alone)

    def _all(self, ready: Sequence[Queued]) -> Room | None:
        """All of them, in order; None if a tick takes less."""
        room = Room(self.size.queries)
        for queued in ready:
            if room.is_full:
                return None
            room.take(queued.work)
        return room


def _is_of(work: Read, shard: Shard) -> bool:
    """Whether a read is of that shard, and can be answered."""
    ticket = work.ticket
    asked = ticket.shard
    is_of = asked is shard or (asked is not None and any(one is shard for one in asked.parts))
    return is_of and ticket.asker.lane.is_open and is_ready(work)


def is_ready(work: Read) -> bool:
    """Whether all that a read waits for is done."""
    ticket = work.ticket
    is_made = ticket.shard is None or ticket.shard.is_made
    return is_made and ticket.after <= ticket.asker.lane.done
