"""Whose turn it is: changes wait for those that must come before them, and for nothing else.

Lives on the engine's thread. The changes of one connection take effect in the order in which it
sent them (PROTOCOL section 2). As a rule that is the order of the queue, and a change is through
with before the next is looked at. A change of a durable collection is *pending* for a while, in
the log: what follows it on its connection may be pending behind it in the same log, which keeps the
order, and waits for it otherwise, in its ``Lane``. Other connections go on. Reads wait in
``waiting.py``.

Once a tick leaves work over, connections are next by their shares of the time (``shares.py``) and
no longer in order of arrival. A drop stays behind what was asked of its collection before it.

Invariants: a lane's parked works are in order and follow everything of it that is done or pending;
its first one waits for something that is still to come. A call that faults has done nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeVar, cast

from ..model.commands import Change
from ..model.shard import Shard
from ..model.shares import Shares
from ..model.ticket import Command, Lane
from .commands import Add, Delete, Drop, Update
from .fair_queue import FairQueue

#: What may follow a pending change of its connection in the same collection.
_FOLLOWING: Final = (Add, Delete, Update, Drop)


#: Changes that came in order, and go by shares from now on, so many at each look: 1 µs each, and
#: 50,000 took 50 ms.
SORTED_AT_ONCE: Final = 1024

#: What a lane, a log or the engine parks.
Parked = TypeVar("Parked", bound=Command)


class Turns:
    """The changes that wait to be begun, over all connections."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        #: While a tick does all that comes: in order of arrival.
        self._next: deque[Command] = deque()
        #: Whether those may be of several connections.
        self._is_mixed = False
        #: Else. What is still in ``_next`` then came after all of this.
        self._fair = FairQueue(shares)

    def __len__(self) -> int:
        return len(self._next) + self._fair.count

    def lanes(self) -> Iterable[Lane]:
        """Whose changes wait; some more than once."""
        yield from self._fair.lanes()
        for work in self._next:
            yield work.ticket.asker.lane
            if not self._is_mixed:
                break

    def add(self, work: Change) -> None:
        """Queue a change behind all others of its connection."""
        if self._fair.count and not self._next:
            self._fair.add(work)
        else:
            self._joins(work.ticket.asker.lane)
            self._next.append(work)

    def put_back(self, parked: deque[Parked]) -> None:
        """Queue changes before all others, in their order; ``parked`` is empty then."""
        if self._fair.count:
            for work in reversed(parked):
                self._fair.add_first(work)
        else:
            self._is_mixed = True
            self._next.extendleft(reversed(parked))
        parked.clear()

    def take(self) -> Change | None:
        """The next change whose turn it is; those ahead of it that must wait are parked."""
        if self._shares.is_contended:
            self._sort_some()
        while (work := self._first()) is not None:
            is_next = _is_next(work)
            self._pop(work)
            if is_next:
                return work
            parked, after = work.ticket.asker.lane.parked, work.ticket.after
            if parked and parked[0].ticket.after > after:
                parked.appendleft(work)
            else:
                parked.append(work)
        return None

    def _sort_some(self) -> None:
        """Some that came in order go by shares from now on, if there are such."""
        for _ in range(min(SORTED_AT_ONCE, len(self._next))):
            self._fair.add(self._next[0])
            self._next.popleft()

    def _first(self) -> Change | None:
        if not self._fair.count:
            return cast("Change", self._next[0]) if self._next else None
        work = self._fair.first()
        while work is None and self._next and self._shares.is_contended:
            self._sort_some()  # whoever may go on may be among them
            work = self._fair.first()
        return cast("Change | None", work)  # what a lane or a log parks is a change

    def _pop(self, work: Change) -> None:
        if self._fair.count:
            self._fair.pop(work)
        else:
            self._next.popleft()

    def _go_on(self, lane: Lane) -> None:
        """The first that its lane parked is queued; whether it is its turn, ``take`` will see."""
        if not lane.parked:
            return
        if self._fair.count:
            self._fair.add_first(lane.parked[0])
        else:
            self._joins(lane)
            self._next.appendleft(lane.parked[0])
        lane.parked.popleft()

    def _joins(self, lane: Lane) -> None:
        """A change of ``lane`` comes to those in order of arrival."""
        if not self._next:
            self._is_mixed = False
        elif self._next[0].ticket.asker.lane is not lane:
            self._is_mixed = True

    def is_through(self, lane: Lane) -> None:
        """A change of ``lane`` is done without having been pending."""
        lane.done += 1
        self._go_on(lane)

    def begin_pending(self, lane: Lane, shard: Shard) -> None:
        """A change of ``lane`` is on its way through the log of ``shard``."""
        lane.pending += 1
        lane.pending_in = shard
        self._go_on(lane)

    def end_pending(self, lane: Lane) -> None:
        """A pending change of ``lane`` is done."""
        lane.pending -= 1
        lane.done += 1
        self._go_on(lane)


def _is_next(work: Change) -> bool:
    """Whether everything that its connection sent before it is done, or pending ahead of it."""
    lane = work.ticket.asker.lane
    if lane.done + lane.pending != work.ticket.after:
        return False
    return not lane.pending or (lane.pending_in is work.shard and isinstance(work, _FOLLOWING))
