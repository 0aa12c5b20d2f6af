"""The step of a tick that answers reads: at once, in pieces, or behind standing queries.

Every read that is taken leads to one Reply, whatever faults: what a fault left without one is
asked again by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omendb_core.model.errors import OmenError, Overloaded

from ..telemetry.metrics import Metrics
from .model.commands import Read
from .model.shard import Shard
from .model.shares import Share, Shares
from .model.ticket import Effect, Reply
from .moment import Moment
from .pieces.long_reads import LongReads
from .reads.commands import PlainRead, PlainSearch
from .reads.long_answers import alone, steps_of, takes_long
from .reads.reads import Reads
from .reads.wide import WideSearches
from .streams.commands import Leave, Standing
from .streams.counting import BeginCount, LeaveCount, Tallies
from .streams.standing_queries import StandingQueries
from .waiting import WaitingReads


class Reading:
    """Owns the reads that wait; ``long`` are those that are done in pieces."""

    def __init__(
        self,
        moment: Moment,
        metrics: Metrics,
        reads: Reads,
        long_reads: LongReads,
        standing: StandingQueries,
        tallies: Tallies,
        shares: Shares,
        clock_ns: Callable[[], int],
    ) -> None:
        self._moment = moment
        self._reads = reads
        self.long = long_reads
        self._standing = standing
        self._tallies = tallies
        self._shares = shares
        self._clock_ns = clock_ns
        self.waiting = WaitingReads(shares)
        self._wide = WideSearches(
            long_reads,
            metrics,
            moment.clock_us,
            lambda work: alone(work, long_reads, moment.clock_us),
        )

    def do(self, of: Shard | None = None) -> int:
        """Answer the reads whose turn it is, all or those of one shard; how many those were.

        What a fault left without a reply is asked again one by one.
        """
        if not self.waiting:
            return 0
        works = self.waiting.take(of)
        weights = self.waiting.weights
        self.waiting.weights = {}  # nothing of a request is kept until the next
        before = len(self._moment.effects)
        started_ns, cpu_ns = self._clock_ns(), time.thread_time_ns()
        try:
            answered_here = self._answer(works)
            self._charge(answered_here, weights, (self._clock_ns() - started_ns) / 1000)
            queries = sum(weights[work] for work in answered_here)
            self.waiting.size.learn(queries, (time.thread_time_ns() - cpu_ns) / 1000)
        except Exception as error:
            told = self._moment.fault(error, "reads")
            made = self._moment.effects[before:]
            answered = {effect.ticket for effect in made if isinstance(effect, Reply)}
            goes_on = self.long.tickets() | self._standing.early_tickets()
            goes_on |= {work.ticket for work in self._tallies.leaving}
            for work in works:
                if work.ticket not in answered | goes_on:
                    self._answer_alone(work, told)
        return len(works)

    def _charge(self, works: Sequence[Read], weights: Mapping[Any, int], took_us: float) -> None:
        """Of what answering took each connection bears what its reads were expected to take.

        What is done in pieces bears those.
        """
        if len(works) == 1:
            ticket = works[0].ticket
            self._shares.charge(ticket.asker.lane.share, took_us)
            ticket.took(took_us)
            return
        owns: dict[Share, int] = {}
        for work in works:
            share = work.ticket.asker.lane.share
            owns[share] = owns.get(share, 0) + weights[work]
        us = took_us / max(sum(owns.values()), 1)
        for share, own in owns.items():
            self._shares.charge(share, us * own)
        for work in works:
            work.ticket.took(us * weights[work])

    def _answer_alone(self, work: Read, fault: OmenError) -> None:
        """A subscription may have begun, or moved, before ``fault``: it is refused, and ends."""
        if isinstance(work, Standing):
            self._moment.effects.append(self._moment.refusal(work, fault))
            return
        try:
            self._answer([work])
        except Exception as error:
            self._moment.effects.append(self._moment.refusal(work, error))

    def _answer(self, works: list[Read]) -> list[Read]:
        """Answer them, but for those that are done in pieces: the others."""
        in_time: list[PlainRead] = []
        standing: list[Standing] = []
        for work in works:
            try:
                if not isinstance(work, Leave | LeaveCount):
                    self._moment.refuse_late(work)
            except Overloaded as error:
                self._moment.effects.append(self._moment.refusal(work, error))
                continue
            if isinstance(work, Standing):
                standing.append(work)
                continue
            if isinstance(work, BeginCount | LeaveCount):
                self._tallies.answer(work, self._moment.effects)
                continue
            assert isinstance(work, PlainRead), "there are no other reads"
            if takes_long(work):
                steps = steps_of(work, self.long, self._wide, self._moment.clock_us)
                self.long.begin(work, steps)
            else:
                in_time.append(work)
        self._reads.answer(in_time, self._moment.effects)
        self._standing.answer(standing, self._moment.effects, self._moment.now_us)
        return [*in_time, *standing]

    def answer_now(self, works: Sequence[PlainSearch]) -> list[Effect]:
        """The replies to searches that somebody else may answer, who has the windows meanwhile."""
        found: list[Effect] = []
        started_ns = self._clock_ns()
        self._reads.answer(works, found)
        weights = {work: work.request.n for work in works}
        self._charge(works, weights, (self._clock_ns() - started_ns) / 1000)
        return found

    def do_pieces(self) -> int:
        """Some of what long reads ask for; what waits for one that is finished goes on."""
        done = self.long.run(self._moment.effects)
        self.put_back_ready()
        return done

    def put_back_ready(self) -> None:
        """What waited for standing queries, and need wait no longer, is taken again."""
        if self._standing.has_ready:
            self.waiting.put_back(self._standing.early)
