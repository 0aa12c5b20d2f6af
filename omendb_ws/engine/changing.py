"""The step of a tick that does changes, for as long as a tick has for them.

In the order in which they came; once a tick leaves some over, by shares of connections.

A drop is a barrier: what was asked before it is answered before it. Changes of a window that a long
read holds are set aside until it is finished.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from omendb_core.model.errors import Internal, NotFound

from ..telemetry.metrics import Metrics
from .model import replies
from .model.commands import Change, Signal
from .model.shard import Shard
from .model.shares import Shares
from .model.ticket import Command, Reply
from .moment import Moment
from .pieces import snapshots
from .reading import Reading
from .streams.commands import Follow, Unfollow, Watch
from .streams.feeds import Feeds
from .streams.standing_queries import StandingQueries
from .writes.changes import Changes
from .writes.commands import Add, BeginSnapshot, Create, Delete, Drop, RowChange, Update
from .writes.durability import Durability
from .writes.expiry import Expiry
from .writes.following import Followers
from .writes.lifecycle import Lifecycle
from .writes.preparing import Preparing
from .writes.turns import Turns

#: How long a tick applies changes before the reads that can be answered get their turn. A batch of
#: 64 searches of 100,000 rows takes ten times as long, so adds still get most of the time.
TICK_CHANGES_US: Final = 2_000
#: Most changes are these. (A tuple: to ask for a union of types makes one each time.)
_OF_ROWS: Final = (Add, Delete, Update)


class Changing:
    """Owns whose turn it is, what is pending in logs, and what comes and goes."""

    def __init__(
        self,
        moment: Moment,
        metrics: Metrics,
        changes: Changes,
        reading: Reading,
        standing: StandingQueries,
        feeds: Feeds,
        submit: Callable[[Command | Signal], None],
        shares: Shares,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._moment = moment
        self._reading = reading
        self._standing = standing
        self._feeds = feeds
        self.changes = changes
        self._shares = shares
        self.turns = Turns(shares)
        self.preparing = Preparing(shares, clock_ns)
        self.durability = Durability(metrics, changes, self.turns, shares, submit)
        self.lifecycle = Lifecycle(self.durability, self.turns, self._forget, submit)
        self.expiry = Expiry(metrics, changes, self.durability)
        self.followers = Followers(
            metrics,
            changes,
            self.durability,
            self.turns,
            self._forget,
            reading.long.concern,
            submit,
        )
        self.set_aside: list[Change] = []

    def finish_settled(self) -> int:
        """Apply and answer what logs have settled."""
        until_ns = time.perf_counter_ns() + TICK_CHANGES_US * 1000
        return self.durability.finish_settled(self._moment.effects, until_ns)

    def follow(self) -> int:
        """Apply what other nodes admitted to shards that follow."""
        until_ns = time.perf_counter_ns() + TICK_CHANGES_US * 1000
        return self.followers.run(self._moment.effects, self._moment.now_us, until_ns)

    def put_back_drops(self, done: int) -> None:
        """Drops that waited for long reads of their shard go on, once those are finished."""
        long_reads = self._reading.long
        if long_reads.has_drops and (done or not len(long_reads)):
            self.turns.put_back(long_reads.released())

    def do(self) -> int:
        """Changes, for as long as a tick has for them; how many were done."""
        done = 0
        self._put_back_free()
        started_ns = time.perf_counter_ns()
        until_ns = started_ns + TICK_CHANGES_US * 1000
        while (work := self.turns.take()) is not None:
            try:
                if _must_wait(work):
                    work.shard.has_kept_waiting = True
                    self.set_aside.append(work)
                    continue
                if isinstance(work, Drop):
                    done += self._answer_ahead_of(work)
                    if self._reading.long.hold(work):
                        continue
                reply = self._change(work)
            except Exception as error:
                self._moment.fault(error, "a change")
                if isinstance(work, Drop):  # it must be done: in the catalog it is
                    reply = self._drop(work)
                else:
                    reply = self._moment.refusal(work, error)
            if reply is not None:
                self._moment.effects.append(reply)
                try:
                    self.through(work)
                except Exception as error:  # nothing of it was done
                    self._moment.fault(error, "going on behind a change")
                    self.through(work)
            done += 1
            now_ns = time.perf_counter_ns()
            self._shares.charge(work.ticket.asker.lane.share, (now_ns - started_ns) / 1000)
            work.ticket.took((now_ns - started_ns) / 1000)
            if now_ns >= until_ns:
                break
            started_ns = now_ns
        return done

    def prepare(self) -> int:
        """Prepare some changes, or do one that is prepared; how many were done."""
        if not self.preparing:
            return 0
        one = self.preparing.next_ready()
        if one is None:  # to be done takes as long as some pieces
            self.preparing.run()
            return 0
        started_ns = time.perf_counter_ns()
        try:
            if one.error is not None:
                raise one.error
            reply = self._change(one.work, is_prepared=True)
        except Exception as error:
            reply = self._moment.refusal(one.work, error)
        if reply is not None:
            self._moment.effects.append(reply)
            try:
                self.through(one.work)
            except Exception as error:  # nothing of it was done
                self._moment.fault(error, "going on behind a change")
                self.through(one.work)
        took_us = (time.perf_counter_ns() - started_ns) / 1000
        self._shares.charge(one.work.ticket.asker.lane.share, took_us)
        one.work.ticket.took(took_us)
        return 1

    def _answer_ahead_of(self, drop: Drop) -> int:
        """What was asked of a shard before it was dropped; what a fault leaves finds none."""
        done = 0
        try:
            self._standing.finish(drop.shard)
            self._reading.put_back_ready()
            while answered := self._reading.do(drop.shard):
                done += answered
        except Exception as error:
            self._moment.fault(error, "reads ahead of a drop")
        return done

    def _drop(self, work: Drop) -> Reply | None:
        """In the catalog it is gone already: after a fault this is called again."""
        return self.lifecycle.drop(work, self._moment.effects)

    def _put_back_free(self) -> None:
        """Changes that a long read kept waiting go on, if it is through with their window."""
        free = deque(work for work in self.set_aside if not work.shard.is_held)
        if free:
            stays = [work for work in self.set_aside if work.shard.is_held]
            for work in free:
                work.shard.has_kept_waiting = False
            self.turns.put_back(free)
            self.set_aside = stays

    def through(self, work: Change) -> None:
        """A change was answered; its connection's earlier ones may still be on their way."""
        lane = work.ticket.asker.lane
        if lane.pending:
            self.durability.was_answered(work)
        else:
            self.turns.is_through(lane)

    def _change(self, work: Change, *, is_prepared: bool = False) -> Reply | None:
        """The reply to a change; None where it comes later.

        ``is_prepared``: in pieces, begun in time.
        """
        shard = work.shard
        try:
            if isinstance(work, Drop):
                return self._drop(work)
            shard.refuse_dropped()
            if isinstance(work, _OF_ROWS):
                return self._change_rows(work, is_prepared=is_prepared)
            if isinstance(work, Unfollow):
                return self._unfollow(work)
            if isinstance(work, Create):
                self.lifecycle.create(work, self._moment.effects)
                return None
            self._moment.refuse_late(work)
            self.expiry.watch(shard)
            if isinstance(work, BeginSnapshot):
                return self._begin_snapshot(work)
            shard.refuse_broken()
            if isinstance(work, Follow):
                return self._follow(work)
            assert isinstance(work, Watch), "there are no other changes"
            return replies.ok(work.ticket, work.subscription.reply(shard))
        except Exception as error:
            if isinstance(work, Drop):
                raise  # it is tried again
            return self._moment.refusal(work, error)

    def _change_rows(self, work: RowChange, *, is_prepared: bool) -> Reply | None:
        """See ``_change``. OmenError."""
        shard = work.shard
        if not is_prepared:
            self._moment.refuse_late(work)
        self.expiry.watch(shard)
        self.durability.refuse_followed(shard)
        if not is_prepared and self.preparing.begin(work):
            return None
        if shard.pending is None:
            return self.changes.do(work, self._moment.now_us)
        return self.durability.begin(work, self._moment.now_us)

    def _forget(self, shard: Shard) -> None:
        """A shard is gone."""
        snapshots.let_go(shard)
        self._standing.forget(shard)
        self.expiry.forget(shard)
        self.changes.forget(shard)
        self.durability.forget(shard)

    def _begin_snapshot(self, work: BeginSnapshot) -> Reply | None:
        """Of a durable collection once nothing is pending: what is known of producers is of all
        that is admitted."""
        pending = work.shard.pending
        if pending is not None and pending.waits_for:
            pending.parked.append(work)
            return None
        if pending is not None and pending.changes:
            pending.park(work, "rest")
            return None
        if not work.ticket.asker.lane.is_open:
            raise Internal("the connection is gone")
        return replies.ok(work.ticket, work.reading.begin(self._moment.now_us))

    def _follow(self, work: Follow) -> Reply:
        if not work.feed.lane.is_open:
            raise Internal("the connection is gone")
        return replies.ok(work.ticket, self._feeds.start(work.feed, work.from_seq))

    def _unfollow(self, work: Unfollow) -> Reply:
        if work.feed is not None:
            if not work.feed.is_active:
                raise NotFound(f"sub: there is no {work.feed.sub}")
            self._standing.ends.stop(work.feed)
        return replies.ok(work.ticket, {})


def _must_wait(work: Change) -> bool:
    """Whether a change waits until its window may change, or a change ahead of it is prepared."""
    if isinstance(work, Drop):
        return work.shard.is_being_prepared
    return work.shard.is_held and isinstance(work, _OF_ROWS)
