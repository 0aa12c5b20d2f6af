"""Standing queries on the engine's thread: they catch up with changes, begin, move and end.

What a live query says is ``live.py``'s, what a match query says ``matches.py``'s, a novel query
``novels.py``'s. Here is the order: the window's queries catch up before any begins or moves, so
that what follows a snapshot starts exactly after it; queries that begin side by side begin in one
scan.

Many rows for many queries are matched over several ticks. Until all are, the shard *catches
up*: its changes wait, no push of its lists is made, and what is asked of its queries waits in
``early``. So it does until the rows of an add are compared, where there are novel queries.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Final

from omendb_core.model.errors import Internal, NotFound, OmenError

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...tenants.share import TenantShare
from ...wire.messages import Results
from ..model import replies
from ..model.shard import Shard
from ..model.shares import Shares
from ..model.ticket import Effect, Reply, Ticket
from ..pieces.long_reads import LongReads, Steps
from . import snapshots
from .beginning import (
    begin_in_pieces,
    begins_in_pieces,
    move_in_pieces,
    moves_in_pieces,
)
from .beginning_matches import begin_matches, begin_matches_in_pieces, matches_begin_in_pieces
from .commands import Leave, Live, Match, Move, Novel, Standing, Together
from .deliveries import Deliveries
from .ends import Ends
from .gathered import GatheredQueries
from .gathered_query import GatheredQuery
from .live import LiveQueries
from .live_query import LiveQuery
from .matches import Matches, MatchQuery
from .novels import Novels
from .owners import Owners
from .targets import prepared

#: How long queries of all shards are matched in one tick, but for a step each that runs over.
CATCH_UP_US: Final = 2_000


class StandingQueries:
    """Every standing query of the engine, by shard.

    ``breaks`` hears of a shard that a fault left without answers; ``ends`` ends queries.
    """

    def __init__(
        self,
        metrics: Metrics,
        live: LiveQueries,
        gathered: GatheredQueries,
        matches: Matches,
        novels: Novels,
        deliveries: Deliveries,
        long_reads: LongReads,
        breaks: Callable[[Shard], None],
        ends: Ends,
        shares: Shares,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._metrics = metrics
        self._deliveries = deliveries
        self._clock_ns = clock_ns
        self._long_reads = long_reads
        self._breaks = breaks
        self.ends = ends
        self._shares = shares
        self._owners = Owners(shares, (live, matches, novels))
        self._live, self._gathered = live, gathered
        self._matches = matches
        self._novels = novels
        self._behind: dict[Shard, int | None] = {}
        #: Tenants that had a turn, while others have not.
        self._had_turn: set[str] = set()
        #: Works that came before the queries that they are about had begun or caught up, in order.
        self.early: deque[Standing] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether some window's queries have not caught up."""
        return bool(self._behind)

    # -- catching up --------------------------------------------------------------------------

    def changed(self, shard: Shard, arrival_us: int | None) -> None:
        """A window changed; ``arrival_us`` is when the first change of the tick arrived."""
        window = shard.window
        is_asked = len(window.standing) or window.novelty.is_behind
        if is_asked and self._behind.get(shard) is None:
            self._behind[shard] = arrival_us

    def catch_up(self) -> None:
        """Bring the queries of changed windows to the present, or a step nearer to it.

        Those for which a tick has no time, or whose tenant is too far ahead of others that wait,
        are held until it is their turn.
        """
        started_ns = self._clock_ns()
        until_ns = started_ns + CATCH_UP_US * 1000
        is_late = False
        for shard, arrival_us in self._by_turns():
            if is_late or self._is_ahead(shard):
                shard.is_catching_up = True
                continue
            self._had_turn.add(shard.tenant)
            try:
                self._catch_up(shard, until_ns)
            except Exception as error:
                self._metrics.faults += 1
                as_error(error, "standing queries")
                if shard.is_catching_up:  # its changes wait for that
                    self._behind.setdefault(shard, arrival_us)
            now_ns = self._clock_ns()
            took_us = (now_ns - started_ns) / 1000
            self._owners.charge(shard, took_us)
            shard.counts.engine_us += took_us
            started_ns, is_late = now_ns, now_ns >= until_ns

    def _is_ahead(self, shard: Shard) -> bool:
        tenant = self._owners.tenant(shard)
        return tenant is not None and not self._shares.may_tenant(tenant)

    def waiting(self) -> list[TenantShare]:
        """Tenants whose collections have not caught up."""
        owners = map(self._owners.tenant, self._behind)
        return [owner for owner in owners if owner is not None]

    def _by_turns(self) -> list[tuple[Shard, int | None]]:
        """What has not caught up: of each tenant one, before there is a second one of any."""
        behind = list(self._behind.items())
        if all(shard.tenant in self._had_turn for shard in self._behind):
            self._had_turn.clear()
        if len(behind) <= 1:
            return behind
        ahead: Counter[str] = Counter(self._had_turn)

        def turn(one: tuple[Shard, int | None]) -> int:
            ahead[one[0].tenant] += 1
            return ahead[one[0].tenant]

        return sorted(behind, key=turn)

    def finish(self, shard: Shard) -> None:
        """Have a shard that catches up do so now."""
        if shard.is_catching_up:
            self._catch_up(shard)

    def _catch_up(self, shard: Shard, until_ns: int | None = None) -> None:
        """Until that time, a step at least; None: until it is done."""
        arrival_us = self._behind.pop(shard, None)
        window = shard.window
        standing = window.standing
        if not self._is_compared(shard, arrival_us, until_ns):
            shard.is_catching_up = True
            self._behind[shard] = arrival_us
            return
        if not standing.behind:
            self._has_caught_up(shard)
            return
        was_lost = standing.seen_seq + 1 < window.first_seq
        renewed = standing.lists.renewed
        try:
            found = standing.step()
            while found is None and (until_ns is None or self._clock_ns() < until_ns):
                found = standing.step()
            if found is None:
                shard.is_catching_up = True
                self._behind[shard] = arrival_us
                return
            if was_lost and self._matches.of(shard):
                self._matches.lost(shard)
            if len(found.matched):
                self._matches.matched(shard, found.matched, found.seqs, found.scores, arrival_us)
            self._live.changed(shard, found.changed, arrival_us)
        except Exception:
            # Nobody knows what the queries hold after a fault in the middle.
            self._breaks(shard)
            self._has_caught_up(shard)
            raise
        self._metrics.rescans += standing.lists.renewed - renewed
        if standing.behind:
            self._behind[shard] = arrival_us
        self._has_caught_up(shard)

    def _is_compared(self, shard: Shard, arrival_us: int | None, until_ns: int | None) -> bool:
        """Compare the rows of the last add, as ``_catch_up`` says; whether all of them are."""
        novelty = shard.window.novelty
        try:
            while novelty.is_behind:
                found = novelty.step()
                if found is not None:
                    self._novels.found(shard, found, arrival_us)
                if until_ns is not None and self._clock_ns() >= until_ns:
                    break
        except Exception:
            self._breaks(shard)
            self._has_caught_up(shard)
            raise
        return not novelty.is_behind

    def _has_caught_up(self, shard: Shard) -> None:
        if shard.is_catching_up:
            shard.is_catching_up = False
            self._deliveries.go_on(shard)

    # -- what is asked ------------------------------------------------------------------------

    def answer(self, works: list[Standing], found: list[Effect], now_us: int) -> None:
        """Answers in the order of ``works``: it is the order of each subscription's stream.

        They go to ``found`` as they are made.
        """
        for (kind, _), group in groupby(works, lambda work: (type(work), work.shard)):
            alike = [work for work in group if not self._takes_long(work, now_us)]
            if kind is Live and alike:
                found += self._begin([work for work in alike if isinstance(work, Live)])
            elif kind is Match and alike:
                matching = [work for work in alike if isinstance(work, Match)]
                found += self._begin_matches(matching, now_us)
            elif kind is Leave and alike:
                found += self._leave_many([work for work in alike if isinstance(work, Leave)])
            else:
                found.extend(self._one(work, now_us) for work in alike)

    def _takes_long(self, work: Standing, now_us: int) -> bool:
        """Whether a work is done in pieces, or waits for what is."""
        if self._must_wait(work):
            self.early.append(work)
            return True
        steps: Steps
        if isinstance(work, Live) and begins_in_pieces(work):
            steps = begin_in_pieces(
                work, self._live, self._prepare, self._long_reads, self.ends.let_go
            )
        elif isinstance(work, Move) and moves_in_pieces(work):
            steps = move_in_pieces(work, self._live, self._prepare)
        elif isinstance(work, Match) and matches_begin_in_pieces(work):
            of_matches = self._matches, self._prepare, self._long_reads, self.ends.let_go
            steps = begin_matches_in_pieces(work, *of_matches, now_us)
        else:
            return False
        next(steps)
        self._long_reads.begin(work, steps)
        return True

    def _must_wait(self, work: Standing) -> bool:
        """Whether its shard catches up, or the query that it is about is still beginning."""
        if work.shard.is_catching_up:
            return True
        if isinstance(work, Live | Together | Match | Novel):
            return False
        stream = work.stream if isinstance(work, Leave) else work.query
        return isinstance(stream, _BEGINNING) and stream.is_beginning

    @property
    def has_ready(self) -> bool:
        """Whether some of ``early`` need wait no longer."""
        return any(not self._must_wait(work) for work in self.early)

    def early_tickets(self) -> set[Ticket]:
        """Of the works in ``early``."""
        return {work.ticket for work in self.early}

    def _one(self, work: Standing, now_us: int) -> Reply:
        try:
            for shard in work.shard.parts:
                self._prepare(shard)
            if isinstance(work, Move):
                return self._move(work)
            if isinstance(work, Together):
                return self._gathered.start(work)
            assert isinstance(work, Novel)
            if not work.query.lane.is_open:
                raise Internal("the connection is gone")
            return replies.ok(work.ticket, self._novels.start(work.query, work.from_seq, now_us))
        except Exception as error:
            return self._refused(work, error)

    def _begin_matches(self, works: list[Match], now_us: int) -> list[Reply]:
        """Begin match queries of one shard together; after a refusal one by one."""
        try:
            self._prepare(works[0].shard)
            return begin_matches(works, self._matches, now_us)
        except Exception as error:
            if len(works) > 1:
                return [one for work in works for one in self._begin_matches([work], now_us)]
            return [self._refused(works[0], error)]

    def _begin(self, works: list[Live]) -> list[Reply]:
        """Begin live queries of one shard together; after a refusal one by one."""
        try:
            self._prepare(works[0].shard)
            works_open = [work for work in works if work.ticket.asker.lane.is_open]
            if len(works_open) < len(works):
                return self._begin(works_open) if works_open else []
            if not _are_alike(works):
                return [one for work in works for one in self._begin([work])]
            queries = [query for work in works for query in work.queries]
            vectors = prepared(works[0].shard.window, [work.target for work in works])
            results = self._live.start(queries, vectors)
            try:
                return self._snapshots(works, results)
            except Exception:
                self._live.take_out(queries)
                raise
        except Exception as error:
            if len(works) > 1:
                return [one for work in works for one in self._begin([work])]
            return [self._refused(works[0], error)]

    def _snapshots(self, works: list[Live], results: Results) -> list[Reply]:
        found = []
        query = row = 0
        for work in works:
            counts = results.counts[query : query + len(work.queries)]
            query += len(work.queries)
            rows = int(counts.sum())
            reply = snapshots.snapshot(work, results, counts, row, row + rows)
            row += rows
            if reply.error is not None:
                for refused in work.queries:
                    self._live.stop(refused)
            found.append(reply)
        return found

    def _move(self, work: Move) -> Reply:
        query = work.query
        if query.handle is None:
            raise NotFound(f"sub: there is no {query.sub}")
        return self._live.move(query, work.changes, partial(snapshots.moved, work))

    def _leave_many(self, works: list[Leave]) -> list[Reply]:
        """End streams of one shard together; after a fault one by one."""
        there = {work.stream for work in works if work.stream.is_active}
        has_ended = False
        try:
            if there and not works[0].shard.is_dropped:
                self.ends.stop_many(list(there))
                has_ended = True
        except Exception as error:
            self._metrics.faults += 1
            as_error(error, "the end of streams")
        return [self._leave(work, work.stream in there, has_ended) for work in works]

    def _leave(self, work: Leave, was_there: bool, has_ended: bool) -> Reply:
        try:
            work.shard.refuse_dropped()
            if not was_there:
                raise NotFound(f"sub: there is no {work.stream.sub}")
            if not has_ended:
                self.ends.stop(work.stream)
            return replies.ok(work.ticket, {})
        except Exception as error:
            return self._refused(work, error)

    def _prepare(self, shard: Shard) -> None:
        shard.refuse_dropped()
        shard.refuse_broken()
        while shard.window.standing.is_outdated:
            self._catch_up(shard)

    def _refused(self, work: Standing, error: Exception) -> Reply:
        if not isinstance(error, OmenError):
            self._metrics.faults += 1
        return replies.refusal(work.ticket, as_error(error, work.ticket.op))

    def forget(self, shard: Shard) -> None:
        """It is dropped: every stream of it ends."""
        self._behind.pop(shard, None)
        self._owners.forget(shard)
        self._has_caught_up(shard)
        self.ends.stop_all(shard)


_BEGINNING: Final = LiveQuery | GatheredQuery | MatchQuery


def _are_alike(works: Sequence[Live]) -> bool:
    """Whether their answers hold the same, row by row."""
    first = works[0].queries[0]
    return all(
        work.queries[0].include == first.include and work.queries[0].order == first.order
        for work in works[1:]
    )
