"""One tick: steps, each guarded by itself. What one made is kept, whatever befalls it later.

Changes in the order in which they came; standing queries catch up with them; reads, all searches of
a shard in one scan; pushes. Each step takes a bounded amount of work. Reads that came during the
steps before them are taken along, and their replies do not wait for the steps behind them that take
long: so one waits for what is left of a tick, and not for that and the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any, Final, TypeAlias

from omendb_core.filters.parser import Filter

from ..telemetry.metrics import Metrics
from ..wire.opcodes import Limits
from .changing import Changing
from .model.commands import Beat, Change, Read, Signal
from .model.ended import Ended
from .model.shard import Shard
from .model.sharded import Sharded
from .model.shares import Shares
from .model.ticket import Command
from .moment import Moment
from .pieces.long_reads import LongReads
from .reading import Reading
from .reads.reads import Reads
from .reads.statistics import stats_of
from .streams.commands import Gone, Measure, Measured, Measurer, Sent
from .streams.counting import Recount, Tallies
from .streams.deliveries import Deliveries, Stream
from .streams.drawing import Draw, Drawings, Look
from .streams.ends import ENDED_AT_ONCE, Ends
from .streams.feeds import Feeds
from .streams.gathered import GatheredQueries
from .streams.lane_turns import LaneTurns
from .streams.live import LiveQueries
from .streams.matches import Matches
from .streams.novels import Novels
from .streams.standing_queries import StandingQueries
from .version_waits import AwaitVersion, VersionWaits
from .writes.changes import Changes
from .writes.commands import (
    DropGivenUp,
    EndSnapshot,
    Handed,
    NotDropped,
    Recovered,
    Settled,
    Stored,
)
from .writes.following import OfReplica

#: How long the engine lets go after a fault.
_AFTER_A_FAULT_SECONDS: Final = 0.005

#: How long a tick looks numbers up and tells them: 20 µs for a collection, 1 µs for each reader.
TICK_MEASURES_US: Final = 1_000

#: What the queue holds.
Work: TypeAlias = Command | Signal


class Tick:
    """All that the engine does between taking work and handing its effects over."""

    def __init__(
        self,
        moment: Moment,
        reads: Reads,
        metrics: Metrics,
        limits: Limits,
        submit: Callable[[Work], None],
        take_in: Callable[[], None],
        clock_ns: Callable[[], int],
    ) -> None:
        self._moment, self._clock_ns, self._take_in = moment, clock_ns, take_in
        self._gone: deque[Stream] = deque()
        self._shares = shares = Shares()
        self._measures: LaneTurns[Measure] = LaneTurns(shares)
        self.drawings = Drawings(metrics, shares, clock_ns)
        self.deliveries = Deliveries(metrics, limits, shares, clock_ns)
        self.live = LiveQueries(metrics, self.deliveries, moment.clock_us)
        self.gathered = GatheredQueries(metrics, self.deliveries, self.live, moment.clock_us)
        of_rows = metrics, limits, self.deliveries
        self.matches, self.novels = Matches(*of_rows), Novels(*of_rows)
        standing = self.live, self.gathered, self.matches, self.novels
        self.feeds = Feeds(*of_rows, shares, clock_ns)
        long_reads = LongReads(moment.refusal, moment.refuse_late, shares, clock_ns)
        changes = Changes(metrics)
        self.ends = Ends(*standing, self.feeds, self._gone.extend)
        ending = changes.breaks, self.ends
        self.standing = StandingQueries(
            metrics, *standing, self.deliveries, long_reads, *ending, shares, clock_ns
        )
        self.tallies = Tallies(metrics, long_reads, moment.refusal, shares, clock_ns)
        self.reading = Reading(
            moment, metrics, reads, long_reads, self.standing, self.tallies, shares, clock_ns
        )
        self.changing = Changing(
            moment,
            metrics,
            changes,
            self.reading,
            self.standing,
            self.feeds,
            submit,
            shares,
            clock_ns,
        )
        self.version_waits = VersionWaits(moment)
        self._steps: Final = self._every_step()
        #: Whether the last tick left over something for subscriptions.
        self._has_streams = False

    def _every_step(self) -> tuple[tuple[str, Callable[[], int | None]], ...]:
        """What a tick does, in order, and what it is called where it faults."""
        moment = self._moment
        return (
            ("streams that nobody reads", self._let_go),
            ("expiry", self._expire),
            ("changes that have settled", self.changing.finish_settled),
            ("changes of other nodes", self.changing.follow),
            ("changes", self.changing.do),
            ("changes that are prepared", self.changing.prepare),
            ("telling what changed", self._tell_changed),
            ("telling feeds", self.feeds.telling.run),
            ("standing queries", self._catch_up),
            ("requests that wait for a version", self.version_waits.look),
            ("work that came meanwhile", self._take_in),
            ("reads", self.reading.do),
            ("handing answers over", self._hand_over_before_pieces),
            ("reads in pieces", self._do_pieces),
            ("collections that broke", self._end_broken),
            ("handing replies over", self._hand_over),
            ("statistics", self._measure),
            ("counts", lambda: self.tallies.run(moment.effects)),
            ("maps", lambda: self.drawings.run(moment.effects)),
            ("pushes", lambda: self.deliveries.push(moment.effects, moment.now_us)),
            ("live queries that cannot go on", lambda: self.gathered.end_some(moment.effects)),
        )

    @property
    def depth(self) -> int:
        """How many works wait. From any thread."""
        waiting = len(self.changing.turns) + len(self.changing.set_aside)
        waiting += len(self.changing.preparing)
        return waiting + len(self.reading.waiting) + len(self.reading.long)

    @property
    def has_waiting(self) -> bool:
        """Whether work waits that a stop must still do."""
        return bool(
            self.changing.turns
            or self.changing.set_aside
            or self.changing.preparing
            or self.reading.waiting
            or self.reading.long
            or self.standing.early
            or self.tallies.leaving
            or self.changing.durability.pending
            or self.changing.lifecycle.pending
            or self.version_waits
        )

    def _is_busy(self) -> bool:
        """Whether there is something to do right now."""
        return bool(
            self.changing.turns
            or self.changing.preparing
            or self.changing.changes.changed
            or self._moment.effects
            or self.reading.waiting.has_more
            or self.reading.long
            or self.changing.set_aside
            or self._gone
            or self.changing.durability.has_settled
            or self.changing.followers
            or self.changing.expiry.is_keeping
            or self._has_streams
        )

    def patience_seconds(self) -> float | None:
        """How long the engine may sleep for want of work; None without end."""
        if self._moment.has_faulted:  # one that stays must not keep a core busy
            self._moment.has_faulted = False
            return _AFTER_A_FAULT_SECONDS
        if self._is_busy():
            return 0.0
        streams = self.deliveries, self.tallies, self.drawings, self._measures
        patiences = [None if one.rests_us is None else one.rests_us / 1e6 for one in streams]
        patiences.append(self.changing.expiry.patience_seconds)
        patiences.append(self.version_waits.patience_seconds)
        if (due_us := self.deliveries.next_due_us) is not None:
            patiences.append(max(0.0, (due_us - self._moment.clock_us()) / 1e6))
        return min((one for one in patiences if one is not None), default=None)

    def sort_in_again(self, work: Work) -> None:
        """After a fault: once more, and then it is refused."""
        try:
            self.sort_in(work)
        except Exception as error:
            if isinstance(work, DropGivenUp):
                self._moment.effects += [
                    NotDropped(work.held, work.stored),
                    self._moment.refusal(work, error),
                ]
                return
            if not isinstance(work, Change | Read | Handed | AwaitVersion):
                self._moment.fault(error, "taking in work again")
                return
            self._moment.effects.append(self._moment.refusal(work, error))
            if isinstance(work, Change):
                self.changing.through(work)

    def sort_in(self, work: Work) -> None:
        """Have a work wait where its turn comes."""
        if isinstance(work, Change):
            self.changing.turns.add(work)
        elif isinstance(work, Read):
            self.reading.waiting.add(work)
        else:
            self._take_signal(work)

    def _take_signal(self, signal: Work) -> None:
        if isinstance(signal, Sent):
            signal.take(self.deliveries.sent)
        elif isinstance(signal, Settled):
            self.changing.durability.settled(signal)
        elif isinstance(signal, Measure):
            self._measures.add(signal.lane, signal)
        elif isinstance(signal, Recount):
            self.tallies.ask(signal.reader)
        elif isinstance(signal, Draw | Look):
            self.drawings.add(signal)
        elif isinstance(signal, Gone):
            self._gone.append(signal.stream)
        elif isinstance(signal, DropGivenUp):
            self.changing.lifecycle.drop_given_up(signal)
        elif isinstance(signal, Stored):
            self.changing.lifecycle.stored(signal, self._moment.effects)
        elif isinstance(signal, Beat):
            self._moment.effects.append(signal.effect)
        elif isinstance(signal, OfReplica):
            self.changing.followers.take(signal)
        elif isinstance(signal, Recovered):
            self.changing.expiry.watch(signal.shard)
        elif isinstance(signal, EndSnapshot):
            signal.reading.end()
        elif isinstance(signal, AwaitVersion):
            self.version_waits.add(signal)
        elif isinstance(signal, Handed):
            signal.begin(signal.ticket)
        else:
            raise TypeError(f"{type(signal).__name__} is no work of the engine")

    def do(self) -> int:
        """One tick; how many requests it was through with."""
        self._moment.now_us = self._shares.tick_us = self._moment.clock_us()
        requests = 0
        for doing, step in self._steps:
            try:
                requests += step() or 0
            except Exception as error:
                self._moment.fault(error, doing)
        self._end()
        return requests

    def _end(self) -> None:
        """Those whose work is left over share the next tick."""
        changing, reading = self.changing, self.reading
        is_left = changing.turns or changing.preparing or reading.waiting.has_more or reading.long
        self._has_streams = self._streams_wait
        if not (is_left or self._has_streams or self._shares.is_contended):
            return
        left = chain(
            changing.turns.lanes(),
            changing.preparing.lanes(),
            reading.waiting.first_lanes(),
            reading.long.lanes(),
        )
        streams = chain(
            self.deliveries.waiting(),
            self.tallies.waiting(),
            self._measures.waiting(),
            self.drawings.waiting(),
        )
        tenants = chain(self.standing.waiting(), self.feeds.telling.waiting())
        self._shares.end_tick((lane.share for lane in left), streams, tenants)

    @property
    def _streams_wait(self) -> bool:
        """Whether something for subscriptions was left over."""
        return bool(
            self.deliveries.is_busy
            or self.feeds.telling
            or self.standing.is_busy
            or self.tallies
            or self._measures
            or self.drawings
        )

    def _expire(self) -> None:
        self.changing.expiry.look(self._moment.now_us)

    def _tell_changed(self) -> None:
        """Feeds and standing queries hear of every window that changed."""
        changed = self.changing.changes.changed
        while changed:
            shard, arrival_us = next(iter(changed.items()))
            for subscriber in (self.feeds, self.standing):
                try:
                    subscriber.changed(shard, arrival_us)
                except Exception as error:
                    self._moment.fault(error, "telling what changed")
                    if shard.is_catching_up:  # it waits for being told
                        return
            changed.pop(shard, None)

    def _end_broken(self) -> None:
        """What subscribed to a window that nobody can trust ends, and does not wait in silence."""
        broken = self.changing.changes.newly_broken
        self._moment.effects += [Ended(shard, "unavailable") for shard in broken]
        broken.clear()

    def _let_go(self) -> None:
        """Forget some of the streams that nobody reads any more."""
        if not self._gone:
            return
        gone = [self._gone.popleft() for _ in range(min(ENDED_AT_ONCE, len(self._gone)))]
        try:
            self.ends.stop_many(gone)
        except Exception as error:
            self._moment.fault(error, "letting go of streams")
            for stream in gone:
                try:
                    self.ends.stop(stream)
                except Exception as fault:  # those behind it have bytes to give back
                    self._moment.fault(fault, "letting go of a stream")

    def _hand_over_before_pieces(self) -> None:
        """What is answered does not wait for what takes long."""
        if self.reading.long:
            self._moment.hand_over()

    def _hand_over(self) -> None:
        """Where much is to be told, replies do not wait until some of it is made."""
        if self._shares.is_contended and self._streams_wait:
            self._moment.hand_over()

    def _measure(self) -> None:
        """Say the numbers that subscriptions asked for, for as long as a tick has for them."""
        if not self._measures:
            return
        self._measures.begin()
        started_ns = self._clock_ns()
        until_ns = started_ns + TICK_MEASURES_US * 1000
        found: dict[tuple[Shard | Sharded, Filter | None], dict[str, Any]] = {}
        while (turn := self._measures.next()) is not None:
            lane, measure = turn
            self._measure_one(measure.subscription, found)
            now_ns = self._clock_ns()
            self._shares.charge_streams(lane.share, (now_ns - started_ns) / 1000)
            started_ns = now_ns
            if now_ns >= until_ns:
                break

    def _measure_one(
        self,
        subscription: Measurer,
        found: dict[tuple[Shard | Sharded, Filter | None], dict[str, Any]],
    ) -> None:
        """Of a shard that is there; ``found``: what was looked up in this tick."""
        shard = subscription.shard
        if shard is None or shard.is_dropped:
            return
        try:
            key = shard, subscription.visible
            if key not in found:
                found[key] = stats_of(shard, self._moment.now_us, subscription.visible)
            numbers: dict[str, Any] | None = found[key]
        except Exception as error:
            self._moment.fault(error, "statistics")
            numbers = None  # it asks again at its next beat
        self._moment.effects.append(Measured(subscription, numbers))

    def _catch_up(self) -> None:
        if self.standing.is_busy:
            self.standing.catch_up()

    def _do_pieces(self) -> int:
        done = self.reading.do_pieces()
        self.changing.put_back_drops(done)
        return done
