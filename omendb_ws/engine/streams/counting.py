"""The engine's side of ``count`` subscriptions: counts made again, in pieces, for who asks.

Lives on the engine's thread. A *tally* is what alike subscriptions share: what they count, and what
was counted last, which the loop reads. It is counted again when a reader asks and the window has
another version since, one tally at a time, in a slice of each tick; connections have their turns.
One that takes long rests for some times as long, so that counting holds up little of what else
there is, whatever readers ask for.

The first count of a subscription is the reply to its request, and a long read where it takes long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

from omendb_core.counting import CountQuery
from omendb_core.model.budget import Share
from omendb_core.model.errors import NotFound, OmenError

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...wire.counts import Counted, encode_count_begun
from ..model import replies
from ..model.commands import Read, Signal
from ..model.shard import Shard
from ..model.shares import Share as TimeShare
from ..model.shares import Shares
from ..model.ticket import Command, Effect, Lane, Reply
from ..pieces.copies import is_free, must_wait
from ..pieces.counting import copied_bytes, count_at_once, counted, counts_long
from ..pieces.long_reads import LongReads, Steps
from .lane_turns import LaneTurns

#: How long counting again holds up a tick, but for the piece that runs over.
SLICE_US: Final = 1_000
#: A tally rests for so many times as long as its count took.
_REST: Final = 4
#: And for so long after a fault, or where there was no memory for what was counted.
_AFTER_A_FAULT_NS: Final = 1_000_000_000
#: Readers that are told in one go: 0.2 µs each.
_TOLD_AT_ONCE: Final = 256
#: What a tally takes besides what was counted, of which there may be two: one is on its way.
_TALLY_BYTES: Final = 2 << 10


class Said(NamedTuple):
    """What was counted; ``digest`` is the same where only the version differs."""

    counted: Counted
    digest: bytes


class Tally:
    """What alike subscriptions share. ``said`` is replaced by the engine, and read by the loop.

    ``is_counting``: it is being counted by somebody. ``rests_until_ns``: it is not counted again
    before that for who was told a count already. The engine's, like ``spent_ns``.
    """

    def __init__(self, shard: Shard, query: CountQuery, share: Share) -> None:
        self.shard = shard
        self.query = query
        self.said: Said | None = None
        self.is_counting = False
        self.rests_until_ns = self.spent_ns = 0
        self._share = share
        share.resize(_TALLY_BYTES)

    def reflects(self, version: int) -> bool:
        """Whether what was counted last is of that version, or of a later one."""
        return self.said is not None and self.said.counted.version >= version

    def take(self, found: Counted) -> None:
        """It was counted. Quota where there is no memory for what it says now."""
        said = self.said
        digest = blake2b(found.members, digest_size=16).digest()
        if said is not None and said.digest == digest:
            self.said = Said(Counted(found.version, said.counted.members), digest)
            return
        self._share.resize(_TALLY_BYTES + 2 * len(found.members))
        self.said = Said(found, digest)


class Reader(Protocol):
    """A ``count`` subscription."""

    sub: int
    tally: Tally
    lane: Lane
    is_ended: bool
    #: The engine's: its first count is made.
    has_begun: bool

    def begun(self, said: Said) -> None:
        """The reply says that. On the engine's thread."""

    def recounted(self) -> None:
        """Its tally is as new as it was wanted, or will be at another time."""


@dataclass(slots=True, eq=False)
class BeginCount(Read):
    """Answer the subscription to a count."""

    shard: Shard
    reader: Reader

    @property
    def query(self) -> CountQuery:
        """What it counts."""
        return self.reader.tally.query


@dataclass(slots=True, eq=False)
class LeaveCount(Read):
    """End it at its reader's wish."""

    shard: Shard
    reader: Reader


@dataclass(slots=True, eq=False)
class Recount(Signal):
    """Signal: bring a reader's tally up to date."""

    reader: Reader


@dataclass(slots=True, eq=False)
class Recounted:
    """Effect: it is."""

    reader: Reader

    def deliver(self) -> None:
        """Tell the reader."""
        self.reader.recounted()


@dataclass(slots=True)
class _Asked:
    """Who of a connection asked for a tally, since the window had ``version``."""

    version: int
    readers: list[Reader] = field(default_factory=list)


class _Going(NamedTuple):
    """A tally that is being counted, for ``lane``."""

    lane: Lane
    tally: Tally
    steps: Generator[bool, None, None]


class Tallies:
    """First counts, and what is to be counted again. ``refuse`` answers what failed.

    ``leaving``: ends of subscriptions that wait for the reply to their ``subscribe``.
    """

    def __init__(
        self,
        metrics: Metrics,
        long_reads: LongReads,
        refuse: Callable[[Command, Exception], Reply],
        shares: Shares,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._metrics = metrics
        self._long_reads = long_reads
        self._refuse = refuse
        self._shares = shares
        self._clock_ns = clock_ns
        self.leaving: list[LeaveCount] = []
        self._asked: dict[tuple[Lane, Tally], _Asked] = {}
        self._turns: LaneTurns[Tally] = LaneTurns(shares)
        self._going: _Going | None = None
        #: How many pieces were done, ever.
        self.pieces = 0

    def __bool__(self) -> bool:
        return bool(self._turns or self.leaving) or self._going is not None

    @property
    def rests_us(self) -> float | None:
        """See ``LaneTurns.rests_us``."""
        return self._turns.rests_us

    # -- requests ---------------------------------------------------------------------------------

    def answer(self, work: BeginCount | LeaveCount, effects: list[Effect]) -> None:
        """Answer a request about a subscription, now or in pieces."""
        if isinstance(work, LeaveCount):
            self.leaving.append(work)
            self._answer_leaving(effects)
            return
        try:
            shard, tally = work.shard, work.reader.tally
            shard.refuse_dropped()
            shard.refuse_broken()
            if not tally.reflects(shard.window.version):
                if counts_long(shard, tally.query):
                    self._long_reads.begin(work, self._begun_in_pieces(work))
                    return
                tally.take(count_at_once(shard, tally.query))
            effects.append(_begun(work))
        except Exception as error:
            effects.append(self._refuse(work, error))

    def _begun_in_pieces(self, work: BeginCount) -> Steps:
        tally = work.reader.tally

        def takes_turn() -> bool:
            if not must_wait(tally.shard) and self._long_reads.has_room:
                self._long_reads.copies(work, copied_bytes(tally.shard))
                return True
            return False

        yield from _brought(tally, takes_turn)
        return _begun(work)

    def _answer_leaving(self, effects: list[Effect]) -> None:
        """A refused ``subscribe`` ends the subscription, so each is answered."""
        waits = []
        for work in self.leaving:
            reader = work.reader
            if not (reader.has_begun or reader.is_ended):
                waits.append(work)
            elif work.ticket.asker.lane.is_open:
                effects.append(self._left(work))
        self.leaving = waits

    def _left(self, work: LeaveCount) -> Reply:
        try:
            work.shard.refuse_dropped()
            if not work.reader.has_begun:
                raise NotFound(f"sub: there is no {work.reader.sub}")
            return replies.ok(work.ticket, {})
        except Exception as error:
            return self._refuse(work, error)

    # -- counting again ---------------------------------------------------------------------------

    def ask(self, reader: Reader) -> None:
        """Bring its tally up to date when its turn comes."""
        tally = reader.tally
        if tally.shard.is_dropped:
            return
        asked = self._asked.get((reader.lane, tally))
        if asked is None:
            asked = _Asked(tally.shard.window.version)
            self._asked[reader.lane, tally] = asked
        self._turns.add(reader.lane, tally)
        asked.readers.append(reader)

    def run(self, effects: list[Effect]) -> None:
        """Do some of what was asked for, for a slice of time."""
        if self.leaving:
            self._answer_leaving(effects)
        if not self._turns and self._going is None:
            return
        self._turns.begin()
        started_ns = self._clock_ns()
        until_ns = started_ns + SLICE_US * 1000
        while True:
            if self._going is not None:
                lane, has_worked = self._going.lane, self._step()
            else:
                turn = self._turns.next()
                if turn is None:
                    break
                lane, has_worked = turn[0], self._turn(*turn, effects)
            now_ns = self._clock_ns()
            self._shares.charge_streams(lane.share, (now_ns - started_ns) / 1000)
            started_ns = now_ns
            if not has_worked or now_ns >= until_ns:
                break

    def waiting(self) -> list[TimeShare]:
        """Shares of connections that wait for counts."""
        going = () if self._going is None else (self._going.lane.share,)
        return [*going, *self._turns.waiting()]

    def _turn(self, lane: Lane, tally: Tally, effects: list[Effect]) -> bool:
        """The turn of a connection: its next tally is counted, or who asked for it is told."""
        asked = self._asked[lane, tally]
        try:
            if not lane.is_open or tally.shard.is_dropped:
                asked.readers.clear()
            elif not tally.reflects(asked.version) and self._clock_ns() >= tally.rests_until_ns:
                steps = _brought(tally, lambda: _waits_its_turn(tally.shard))
                self._going = _Going(lane, tally, steps)
                self._turns.put_first(lane, tally)  # who asked is told then
                return self._step()
            effects += [Recounted(reader) for reader in asked.readers[:_TOLD_AT_ONCE]]
            del asked.readers[:_TOLD_AT_ONCE]
        except Exception:
            self._turns.add(lane, tally)
            raise
        if asked.readers:
            self._turns.add(lane, tally)
        else:
            del self._asked[lane, tally]
        return True

    def _step(self) -> bool:
        """A piece of the tally that is being counted; whether something was done."""
        assert self._going is not None
        _, tally, steps = self._going
        started_ns = self._clock_ns()
        try:
            has_worked = next(steps)
        except StopIteration:
            now_ns = self._clock_ns()
            tally.rests_until_ns = now_ns + _REST * (tally.spent_ns + now_ns - started_ns)
            tally.spent_ns = 0
            self._going = None
            return True
        except Exception as error:
            if not isinstance(error, OmenError):
                self._metrics.faults += 1
            as_error(error, "a count")
            tally.rests_until_ns = self._clock_ns() + _AFTER_A_FAULT_NS
            tally.spent_ns = 0
            self._going = None
            return True
        finally:
            self.pieces += 1
        tally.spent_ns += self._clock_ns() - started_ns
        return has_worked


def _begun(work: BeginCount) -> Reply:
    reader, said = work.reader, work.reader.tally.said
    assert said is not None, "it was counted"
    message = encode_count_begun(work.ticket.id, reader.sub, work.shard.epoch, said.counted)
    reply = replies.fitting(work.ticket, message)
    if reply.error is None:
        reader.begun(said)
    return reply


def _brought(tally: Tally, takes_turn: Callable[[], bool]) -> Generator[bool, None, None]:
    """Return when what ``tally`` says is of the version of now, or of a later one."""
    version = tally.shard.window.version
    while not tally.reflects(version):
        if tally.is_counting:
            yield False
            tally.shard.refuse_dropped()
            continue
        tally.is_counting = True
        try:
            tally.take((yield from counted(tally.shard, tally.query, takes_turn)))
        finally:
            tally.is_counting = False
            tally.shard.keeps_count_waiting = False


def _waits_its_turn(shard: Shard) -> bool:
    """Whether the shard may be held; if not, no long read is the next to hold it."""
    shard.keeps_count_waiting = not is_free(shard)
    return not shard.keeps_count_waiting
