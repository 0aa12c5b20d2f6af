"""Requests that take long, done in pieces: a slice of each tick is theirs, the rest is the others'.

Lives on the engine's thread; pure but for its clock. A *long* read is a generator: it does a piece
of a millisecond or two, yields, and returns its Reply in the end. Between two pieces the engine
does all that came meanwhile, changes too, so whatever a piece leaves behind must still be true at
the next one (lists of standing queries are kept up to date, masks too), or be a copy taken whole at
one version.

Connections have their pieces by their shares of the time (``shares.py``), and the reads of one
connection by turns: whoever asks for five hundred batches leaves the half of the time to whoever
asks for one. What was found and is not
written yet is a copy, so only so much is found ahead (``has_room``).
What waits for its first piece beyond the queue's deadline is refused, as in the queue.
Invariants: each leads to one Reply, unless its connection is gone; then, or after a fault or a
refusal, its generator is closed, and lets go of what it holds.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ..model.commands import Change, Read
from ..model.places import Place, place_of
from ..model.shard import Shard
from ..model.shares import Shares
from ..model.ticket import Effect, Lane, Reply, Ticket

#: A long read by its pieces: after each it says whether it did something, or waits for another.
Steps: TypeAlias = Generator[bool, None, Reply]

#: How long all long reads together hold up a tick, but for the piece that runs over.
SLICE_US: Final = 2_000
#: How long a piece should take.
PIECE_US: Final = 2_000
#: Expected bytes of replies that are found and not written, from which on no more are found: as
#: much as a tick's other reads may have. Forty connections that asked for 14 MB of JSON each took
#: 320 MiB, as all was copied before the first was written; now 105.
COPIED_BYTES: Final = 32 << 20

_Outcome: TypeAlias = Literal["done", "goes on", "waits"]


class PieceSize:
    """How many items make a piece: as many as take about ``PIECE_US``, by what the last one took.

    Half or twice as many as before at most: any piece may have been put aside for a while.
    """

    def __init__(self, least: int, most: int, clock_ns: Callable[[], int]) -> None:
        self.items = least
        self._least, self._most = least, most
        self._clock_ns = clock_ns
        self._started_ns = 0

    def start(self) -> int:
        """A piece begins: how many items it has."""
        self._started_ns = self._clock_ns()
        return self.items

    def end(self) -> float:
        """It is done; how long that took, in microseconds."""
        took_us = max((self._clock_ns() - self._started_ns) / 1000, 1.0)
        wanted = int(self.items * min(max(PIECE_US / took_us, 0.5), 2.0))
        self.items = min(max(wanted, self._least), self._most)
        return took_us


@dataclass(slots=True)
class _Long:
    """A long read; ``has_worked``: a piece of it was done."""

    work: Read
    steps: Steps
    has_worked: bool = False


class LongReads:
    """The reads that are done in pieces, in turn.

    ``refuse`` makes the reply to a read that failed; ``refuse_late`` raises where one has waited
    too long.
    """

    def __init__(
        self,
        refuse: Callable[[Read, Exception], Reply],
        refuse_late: Callable[[Read], None],
        shares: Shares,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._refuse = refuse
        self._refuse_late = refuse_late
        self._shares = shares
        self._clock_ns = clock_ns
        #: By connection: of those that stand alike the first one is next, and its first read.
        self._lanes: dict[Lane, deque[_Long]] = {}
        #: Those of which every read waited for something else when it was last looked at.
        self._kept_waiting: set[Lane] = set()
        #: To look at those took all the time: the others are next, one may be what they wait for.
        self._is_looking_on = False
        #: How many there are; the loop's thread looks, too.
        self._waiting = 0
        self._copied: dict[Ticket, int] = {}
        #: Drops that wait for long reads of their shard.
        self.held: deque[Change] = deque()
        self._free: deque[Change] = deque()
        #: Whose the last piece was.
        self._worked_for: Ticket
        #: How many pieces were done, ever.
        self.pieces = 0

    def __len__(self) -> int:
        return self._waiting

    def tickets(self) -> set[Ticket]:
        """Of the reads that go on."""
        return {work.ticket for work in self._works()}

    def begin(self, work: Read, steps: Steps) -> None:
        """Do ``work`` by ``steps``, from this tick on."""
        self._lanes.setdefault(work.ticket.asker.lane, deque()).append(_Long(work, steps))
        self._waiting += 1

    def size(self, least: int, most: int) -> PieceSize:
        """For steps whose pieces are of like items."""
        return PieceSize(least, most, self._clock_ns)

    @property
    def has_room(self) -> bool:
        """Whether another read may copy what it finds."""
        return sum(self._copied.values()) < COPIED_BYTES

    def copies(self, work: Read, more_bytes: int = 0) -> None:
        """``work`` has a copy of what it finds from now on until it is answered.

        ``more_bytes``: what it takes along besides.
        """
        self._copied[work.ticket] = work.ticket.reply_bytes + more_bytes

    def run(self, effects: list[Effect]) -> int:
        """Do pieces for a slice of time; how many reads were answered."""
        if not self._lanes:
            self._kept_waiting.clear()
            return 0
        done = 0
        if not self._is_looking_on:
            self._kept_waiting = set()
        waiting, self._is_looking_on = self._kept_waiting, False
        has_worked = False
        places = self._places(waiting)
        started_ns = self._clock_ns()
        until_ns = started_ns + SLICE_US * 1000
        while (lane := self._next(places)) is not None:
            outcome = self._turn(lane, effects)
            done += outcome == "done"
            now_ns = self._clock_ns()
            if outcome == "waits":
                waiting.add(lane)
                heapq.heappop(places)
            else:
                waiting.clear()
                has_worked = True
                self._shares.charge(lane.share, (now_ns - started_ns) / 1000)
                self._worked_for.took((now_ns - started_ns) / 1000)
            if now_ns >= until_ns:
                self._is_looking_on = not has_worked
                break
            if not waiting:
                places = self._places(waiting)
            started_ns = now_ns
        return done

    def concern(self, shard: Shard) -> bool:
        """Whether one of them is of this shard."""
        return any(work.ticket.shard is shard for work in self._works())

    def lanes(self) -> Iterable[Lane]:
        """The connections whose long reads could go on."""
        return [lane for lane in self._lanes if lane not in self._kept_waiting]

    def hold(self, work: Change) -> bool:
        """Keep a drop until long reads of its shard are answered; False if there are none."""
        if not self.concern(work.shard):
            return False
        self.held.append(work)
        return True

    @property
    def has_drops(self) -> bool:
        """Whether drops wait here, or for the caller of ``released``."""
        return bool(self.held or self._free)

    def released(self) -> deque[Change]:
        """Drops that need wait no longer, for the caller to take out."""
        held = deque(work for work in self.held if self.concern(work.shard))
        self._free.extend(work for work in self.held if work not in held)
        self.held = held
        return self._free

    def _works(self) -> Iterator[Read]:
        return (long.work for reads in self._lanes.values() for long in reads)

    def _places(self, waiting: set[Lane]) -> list[Place]:
        """A heap of the connections that need not wait.

        Made once for each piece that is done, and not for each look at a read: many may wait.
        """
        places = [
            place_of(self._shares, lane, number)
            for number, lane in enumerate(self._lanes)
            if lane not in waiting
        ]
        heapq.heapify(places)
        return places

    def _next(self, places: list[Place]) -> Lane | None:
        """The connection whose turn it is, of those that need not wait."""
        if not places or not self._shares.may(places[0].lane.share):
            return None
        return places[0].lane

    def _turn(self, lane: Lane, effects: list[Effect]) -> _Outcome:
        """A piece for a connection: of its next read that does not wait."""
        reads = self._lanes[lane]
        outcome: _Outcome = "waits"
        for _ in range(len(reads)):
            long = reads[0]
            self._worked_for = long.work.ticket
            try:
                outcome = self._piece(long, effects)
            except Exception as error:
                long.steps.close()
                effects.append(self._refuse(long.work, error))
                outcome = "done"
            if outcome == "done":
                reads.popleft()
                self._waiting -= 1
                self._copied.pop(long.work.ticket, None)
            else:
                reads.rotate(-1)
            if outcome != "waits":
                break
        del self._lanes[lane]
        if reads:
            self._lanes[lane] = reads
        return outcome

    def _piece(self, long: _Long, effects: list[Effect]) -> _Outcome:
        """What it raises refuses the read; ``steps`` are closed then."""
        if not long.work.ticket.asker.lane.is_open:
            long.steps.close()
            return "done"
        if not long.has_worked:
            self._refuse_late(long.work)
        try:
            has_worked = next(long.steps)
        except StopIteration as end:
            self.pieces += 1
            effects.append(end.value)
            return "done"
        long.has_worked |= has_worked
        self.pieces += has_worked
        return "goes on" if has_worked else "waits"
