"""Requests that take long, done in pieces: a slice of each tick is theirs, the rest is the others'.

Lives on the engine's thread; pure but for its clock. A *long* read is a generator: it does a piece
of a millisecond or two, yields, and returns its Answer in the end. Between two pieces the engine
does all that came meanwhile, changes too, so whatever a piece leaves behind must still be true at
the next one (lists of standing queries are kept up to date, masks too), or be a copy taken whole at
one version.

Long reads have their pieces by turns; ``_next`` is the one place that says whose piece is next.
Invariants: each leads to one Answer, unless its connection is gone; then, or after a fault, its
generator is closed, and lets go of what it holds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .work import Answer, Change, Drop, Effect, Read, Ticket

if TYPE_CHECKING:
    from .catalog import Collection

#: A long read by its pieces: after each it says whether it did something, or waits for another.
Steps: TypeAlias = Generator[bool, None, Answer]

#: How long all long reads together hold up a tick, but for the piece that runs over.
SLICE_US: Final = 2_000
#: How long a piece should take.
PIECE_US: Final = 2_000


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

    def end(self) -> None:
        """It is done."""
        took_us = max((self._clock_ns() - self._started_ns) / 1000, 1.0)
        wanted = int(self.items * min(max(PIECE_US / took_us, 0.5), 2.0))
        self.items = min(max(wanted, self._least), self._most)


class LongReads:
    """See the module. ``refuse`` makes the answer to a read that failed."""

    def __init__(
        self,
        refuse: Callable[[Read, Exception], Answer],
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._refuse = refuse
        self._clock_ns = clock_ns
        self._reads: deque[tuple[Read, Steps]] = deque()
        #: Drops that wait for long reads of their collection.
        self.held: deque[Change] = deque()
        self._free: deque[Change] = deque()
        #: How many pieces were done, ever.
        self.pieces = 0

    def __len__(self) -> int:
        return len(self._reads)

    def tickets(self) -> set[Ticket]:
        """Of the reads that go on."""
        return {work.ticket for work, _ in self._reads}

    def begin(self, work: Read, steps: Steps) -> None:
        """Do ``work`` by ``steps``, from this tick on."""
        self._reads.append((work, steps))

    def size(self, least: int, most: int) -> PieceSize:
        """For steps whose pieces are of like items."""
        return PieceSize(least, most, self._clock_ns)

    def run(self, effects: list[Effect]) -> int:
        """Do pieces for a slice of time, at least one; how many reads were answered."""
        done = waiting = 0
        until_ns = self._clock_ns() + SLICE_US * 1000
        while self._reads and waiting < len(self._reads):
            work, steps = self._next()
            try:
                outcome = self._step(work, steps, effects)
            except Exception as error:
                steps.close()
                effects.append(self._refuse(work, error))
                outcome = "done"
            done += outcome == "done"
            waiting = waiting + 1 if outcome == "waits" else 0
            if self._clock_ns() >= until_ns:
                break
        return done

    def hold(self, work: Drop) -> bool:
        """Keep a drop until long reads of its collection are answered; False if there are none."""
        if not self._concern(work.collection):
            return False
        self.held.append(work)
        return True

    @property
    def has_drops(self) -> bool:
        """Whether drops wait here, or for the caller of ``released``."""
        return bool(self.held or self._free)

    def released(self) -> deque[Change]:
        """Drops that need wait no longer, for the caller to take out."""
        held = deque(work for work in self.held if self._concern(work.collection))
        self._free.extend(work for work in self.held if work not in held)
        self.held = held
        return self._free

    def _next(self) -> tuple[Read, Steps]:
        """Whose piece is next: by turns, whoever asked."""
        return self._reads.popleft()

    def _step(
        self, work: Read, steps: Steps, effects: list[Effect]
    ) -> Literal["done", "goes on", "waits"]:
        try:
            if not work.ticket.asker.lane.is_open:
                steps.close()
                return "done"
            has_worked = next(steps)
        except StopIteration as end:
            self.pieces += 1
            effects.append(end.value)
            return "done"
        except Exception as error:
            effects.append(self._refuse(work, error))
            return "done"
        self.pieces += has_worked
        self._reads.append((work, steps))
        return "goes on" if has_worked else "waits"

    def _concern(self, collection: Collection) -> bool:
        return any(work.ticket.collection is collection for work, _ in self._reads)
