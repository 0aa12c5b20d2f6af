"""Reads that wait for the engine, and whose turn it is.

Lives on the engine's thread. A read waits for the changes that its connection sent before it, and
for its collection to be made. A tick takes a bounded number; where more could be answered, each
connection has its share of the tick first, so that forty searches of 256 vectors of one client do
not hold up the single vector of another.

Invariant: the reads of one connection that do not wait are taken in the order in which they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from omendb_core.filters.parser import Filter

from .model.collection import Collection
from .model.commands import Read
from .model.ticket import Lane
from .pieces.counting import count_share
from .pieces.masks import mask_share
from .reads.commands import Count, PlainSearch, Search
from .reads.long_answers import takes_long
from .reads.shaped import tick_us
from .streams.beginning import MOST_AT_ONCE
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
    """Reads in order of arrival, taken by turns of connections.

    ``has_more``: some that could be answered found no room in a tick.
    """

    def __init__(self) -> None:
        self.has_more = False
        self._works: deque[Read] = deque()

    def __len__(self) -> int:
        return len(self._works)

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

    def take(self, collection: Collection | None = None) -> list[Read]:
        """Those whose turn it is, as many as a tick takes; before a drop, that collection's only.

        Those of closed connections are forgotten.
        """
        ready: list[Read] = []
        parked: deque[Read] = deque()
        for work in self._works:
            if not work.ticket.asker.lane.is_open:
                continue
            is_other = collection is not None and work.ticket.collection is not collection
            (parked if is_other or not is_ready(work) else ready).append(work)
        taken = _within(ready)
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
    is_made = ticket.collection is None or ticket.collection.is_made
    return is_made and ticket.after <= ticket.asker.lane.done


class _Tick:
    """The room of a tick, and what is in it."""

    def __init__(self) -> None:
        self.taken: list[Read] = []
        self._queries = self._reply_bytes = 0

    @property
    def is_full(self) -> bool:
        return self._queries >= TICK_QUERIES or self._reply_bytes >= TICK_REPLY_BYTES

    def take(self, work: Read) -> None:
        self.taken.append(work)
        self._queries += weight(work)
        self._reply_bytes += work.ticket.reply_bytes


def _within(ready: list[Read]) -> list[Read]:
    """As many as a tick takes: all, or of each connection its share, and then in order."""
    tick = _Tick()
    for work in ready:
        if tick.is_full:
            return _shared(ready)
        tick.take(work)
    return tick.taken


def _shared(ready: Iterable[Read]) -> list[Read]:
    lanes: dict[Lane, list[Read]] = {}
    for work in ready:
        lanes.setdefault(work.ticket.asker.lane, []).append(work)
    share = TICK_QUERIES // len(lanes)
    tick = _Tick()
    places = dict.fromkeys(lanes, 0)
    for lane, works in lanes.items():
        queries = 0
        for work in works:
            queries += weight(work)
            if tick.is_full or (places[lane] and queries > share):
                break
            tick.take(work)
            places[lane] += 1
    for lane, works in lanes.items():
        for work in works[places[lane] :]:
            if tick.is_full:
                return tick.taken
            tick.take(work)
    return tick.taken


def weight(work: Read) -> int:
    """How many query vectors a read counts for: by its mask, too, where that is to be made."""
    if isinstance(work, PlainSearch):
        return work.request.n
    if isinstance(work, Search):
        queries = 1 if work.query.vectors is None else len(work.query.vectors)
        queries += 0 if takes_long(work) else int(tick_us(work) / QUERY_US)
        return queries + _mask_weight(work.collection, work.query.filter)
    if isinstance(work, Live):
        queries = min(len(work.queries), MOST_AT_ONCE)  # more begin in pieces
        return queries + _mask_weight(work.collection, work.queries[0].query.filter)
    if isinstance(work, Count | BeginCount):
        share = count_share(work.collection, work.query)
        mask = _mask_weight(work.collection, work.query.filter)
        return 1 + mask + int(TICK_QUERIES * share)
    return 1


def _mask_weight(collection: Collection, filter_: Filter | None) -> int:
    return int(TICK_QUERIES * mask_share(collection, filter_))
