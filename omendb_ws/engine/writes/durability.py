"""Changes of durable collections: admitted, logged, and applied once they are safe.

Lives on the engine's thread. The order is journal → ring → match → answers: a row is visible, and
acknowledged, when it is as safe as its collection's durability promises (PROTOCOL section 8), and
not before. ``begin`` admits a change and hands it to the log; the log settles it from a thread of
its own, which comes back as a ``Settled``; ``finish_settled`` applies what is committed.

Adds are admitted behind whatever is pending, so the log writes large groups. What looks rows up, a
delete or an update, is admitted behind others of its kind, but not behind adds: then it waits until
nothing of its shard is pending, and later changes of that shard wait behind it. Tried
in thought and left: admitting those against what pending adds will have done; it takes a second
index of ids, for streams that mix both.

Of a change that a full disk, or a cluster that was away, refused nothing is left, once nothing is
pending and admission is put back to what is safe (``Log.rewind``). After a failed write or flush
the log is finished: every change is refused, and reads go on. Where the log itself cannot be
trusted any more, the collection is not shown; where it is another node's, what is pending is
refused, and the shard goes on as a follower (``following.py``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from omendb_core.model.change import NotCaughtUp, Repeated
from omendb_core.model.errors import (
    Internal,
    OmenError,
    StorageFailed,
    StorageFull,
    TooLarge,
    Unavailable,
)
from omendb_core.replay import kept_rows

from ...journal.digests import digest_of
from ...journal.follower_log import REFUSAL
from ...journal.interface import Damaged, Deposed, Log, Settle, SharedLog, Stated
from ...runtime.faults import as_error
from ...runtime.few_lines import FewLines
from ...telemetry.metrics import Metrics
from ...telemetry.tracing import EngineTraces
from ..model import replies
from ..model.commands import Change
from ..model.pending import PendingChange, PendingChanges
from ..model.shard import Shard
from ..model.shares import Shares
from ..model.ticket import Effect, Reply
from .changes import Changes
from .commands import RowChange, Settled
from .turns import Turns

log = logging.getLogger(__name__)

#: How often a log is asked whether it wants live rows written again.
_COMPACTION_SECONDS: Final = 0.02
#: How often a line is logged of a collection whose changes are refused.
_SAY_US: Final = 10_000_000
#: What a log refuses with and goes on behind: nothing of what was refused is in it, or (Internal)
#: whoever follows the log from here on is told.
_PASSING: Final = (StorageFull, TooLarge, Unavailable, Internal)


class Durability:
    """Admits changes, hands them to logs, applies them when these say so.

    ``submit`` queues work for the engine, from any thread.
    """

    def __init__(
        self,
        metrics: Metrics,
        changes: Changes,
        turns: Turns,
        shares: Shares,
        submit: Callable[[Settled], None],
    ) -> None:
        self._metrics = metrics
        self._changes = changes
        self._turns = turns
        self._shares = shares
        self._submit = submit
        self._settled: dict[Shard, None] = {}
        self._compact_at_seconds: dict[Shard, float] = {}
        self._lines: dict[Shard, FewLines] = {}
        #: Told of a shard whose log another node owns by now, once nothing of it is pending.
        self.on_deposed: Callable[[Shard], None] = lambda shard: None
        #: How many changes are pending, over all shards.
        self.pending = 0
        #: See ``Moment.traces``.
        self.traces: EngineTraces | None = None

    @property
    def has_settled(self) -> bool:
        """Whether something can be finished right now."""
        return bool(self._settled)

    def settler(self, shard: Shard) -> Settle:
        """What the log of ``shard`` calls, on its own thread."""
        submit = self._submit

        def settle(changes: Sequence[PendingChange], error: OmenError | None) -> None:
            submit(Settled(shard, changes, error))

        return settle

    # -- appending --------------------------------------------------------------------------------

    def begin(self, work: RowChange, now_us: int) -> Reply | None:
        """Admit a change and hand it to the log; its reply if it has one already. OmenError."""
        shard, pending = work.shard, _pending(work.shard)
        shard.refuse_broken()
        if pending.waits_for:
            pending.parked.append(work)
            return None
        journal = _log(pending)
        if isinstance(journal.error, StorageFailed):
            raise StorageFailed(journal.error.message)
        if isinstance(journal.error, Unavailable):
            raise Unavailable(journal.error.message)
        if not journal.has_room:
            pending.park(work, "room")
            return None
        if pending.changes and journal.wants_rest:
            pending.park(work, "rest")
            return None
        try:
            admitted = self._changes.admit(work, now_us)
        except NotCaughtUp:
            pending.park(work, "rest")
            return None
        is_change = admitted is not None and not isinstance(admitted, Repeated)
        if not is_change and not pending.changes:
            return self._changes.finish(work, admitted)
        try:
            change = PendingChange(work, admitted, work.ticket.asker.lane, not is_change)
            self._append(shard, pending, change)
        except Exception:
            if is_change:
                self._rewind_soon(shard, pending)
            raise
        return None

    def expire(self, shard: Shard, now_us: int) -> None:
        """Have what is older than the collection's ttl leave."""
        pending = _pending(shard)
        if pending.is_expiring or pending.waits_for == "store" or shard.broken is not None:
            return
        if pending.error is not None or pending.must_rewind or not shard.window.rows:
            return
        if _log(pending).error is not None:
            return
        change = shard.window.admit_expire(shard.time_us(now_us))
        if change is not None:
            try:
                self._append(shard, pending, PendingChange(None, change, None, False))
                pending.is_expiring = True
            except Exception:
                self._rewind_soon(shard, pending)
                raise

    def was_answered(self, work: Change) -> None:
        """A request was answered while changes that its connection sent before it are pending."""
        pending = _pending(work.shard)
        lane = work.ticket.asker.lane
        self._append(work.shard, pending, PendingChange(None, None, lane, True))

    def _append(self, shard: Shard, pending: PendingChanges, change: PendingChange) -> None:
        """Hand a pending change to the log. After a fault of that it is refused in its turn; after
        another one there is none."""
        if change.lane is not None:
            self._turns.begin_pending(change.lane, shard)
        pending.changes.append(change)
        self.pending += 1
        if change.is_settled:
            return
        try:
            assert change.admitted is not None
            assert not isinstance(change.admitted, Repeated)
            _log(pending).append(change.admitted, change)
        except Exception as error:
            self._rewind_soon(shard, pending)
            change.is_settled = True
            change.error = self._fault(error, f"handing a change to the log of {shard.name}")

    def _rewind_soon(self, shard: Shard, pending: PendingChanges) -> None:
        """What was admitted last is not in the log: nothing is admitted before it is forgotten."""
        pending.must_rewind = True
        if pending.waits_for != "store":
            pending.waits_for = "rest"
        self._settled[shard] = None

    # -- finishing --------------------------------------------------------------------------------

    def settled(self, signal: Settled) -> None:
        """The log is through with some changes; ``finish_settled`` goes on with them."""
        if isinstance(signal.error, Damaged):
            self._changes.loses(signal.shard, signal.error)
        for change in signal.changes:
            change.is_settled = True
            change.error = signal.error
            if self.traces is not None and change.work is not None:
                self.traces.event(change.work.ticket, "journal")
        self._settled[signal.shard] = None

    def look_at(self, shard: Shard) -> None:
        """It has another log now."""
        self._settled[shard] = None

    def refuse_followed(self, shard: Shard) -> None:
        """Unavailable for a change that another node admits."""
        pending = shard.pending
        if pending is not None and pending.is_follower:
            raise Unavailable(REFUSAL)

    def finish_settled(self, effects: list[Effect], until_ns: int) -> int:
        """Apply what is committed, as far as a tick goes: the answers to ``effects``; how many.

        A fault with one shard leaves the others, and what was finished of it, alone.
        """
        finished = 0
        for shard in list(self._settled):
            shard.has_kept_waiting = shard.is_held
            if shard.is_held:
                continue
            try:
                finished += self._finish_all(shard, effects, until_ns)
            except Exception as error:
                self._fault(error, f"finishing changes of {shard.name}")
            if shard in self._settled:  # there is more, behind that of the others
                self._settled[shard] = self._settled.pop(shard)
            if time.perf_counter_ns() >= until_ns:
                break
        return finished

    def _finish_all(self, shard: Shard, effects: list[Effect], until_ns: int) -> int:
        """Finish what is settled of one shard; ``_settled`` holds it until that is done."""
        pending, finished = _pending(shard), 0
        while pending.is_next_settled and not shard.is_held:
            self._finish_next(shard, pending, effects)
            finished += 1
            if time.perf_counter_ns() >= until_ns:
                break
        self._release(shard, pending)
        if not pending.is_next_settled:
            del self._settled[shard]
        return finished

    def _finish_next(self, shard: Shard, pending: PendingChanges, effects: list[Effect]) -> None:
        """Finish one: it is applied, or refused, and its connection goes on, whatever faults."""
        change = pending.changes.popleft()
        self.pending -= 1
        reply: Reply | None = None
        started_ns = time.perf_counter_ns()
        try:
            if change.error is not None:
                self._refused(shard, pending, change.error)
            reply = self._outcome(shard, pending, change)
        except Exception as error:
            told = (
                error if isinstance(error, OmenError) else self._fault(error, "finishing a change")
            )
            if change.work is not None:
                reply = replies.refusal(change.work.ticket, told)
            if pending.error is None:
                self._changes.make_up(shard, change.admitted)
        if reply is not None:
            effects.append(reply)
        if change.lane is None:
            return
        try:
            self._turns.end_pending(change.lane)
        except Exception as error:  # nothing of it was done
            self._fault(error, "going on behind a change")
            self._turns.end_pending(change.lane)
        took_us = (time.perf_counter_ns() - started_ns) / 1000
        self._shares.charge(change.lane.share, took_us)
        shard.counts.engine_us += took_us

    def _outcome(
        self, shard: Shard, pending: PendingChanges, change: PendingChange
    ) -> Reply | None:
        if change.work is None and change.admitted is None:
            return None
        if change.work is None:
            pending.is_expiring = False
        error = change.error or pending.error  # of a repeated batch: its original's, perhaps
        if error is not None:
            raise type(error)(error.message)
        if shard.broken is not None:
            raise Internal(f"the collection {shard.broken} (whether this is logged is unknown)")
        if change.work is not None:
            assert isinstance(change.work, RowChange), "only these become pending"
            return self._changes.finish(change.work, change.admitted)
        assert change.admitted is not None
        assert not isinstance(change.admitted, Repeated)
        arrival_us = change.admitted.time_us - shard.ahead_us
        self._changes.apply(shard, change.admitted, arrival_us)
        return None

    def _refused(self, shard: Shard, pending: PendingChanges, error: OmenError) -> None:
        """Nothing becomes pending until everything that was refused is answered."""
        if pending.error is None:
            pending.error = error
            self._say(shard, error)
            if pending.waits_for != "store":
                pending.waits_for = "rest"

    def _say(self, shard: Shard, error: OmenError) -> None:
        """Log a refusal, now and then: a full disk is tried again with every change."""
        lines = self._lines.setdefault(shard, FewLines(1, _SAY_US))
        if lines.next(time.monotonic_ns() // 1000) is not None:
            log.error("%s: nothing is acknowledged: %s", shard.name, error)

    # -- nothing is pending -----------------------------------------------------------------------

    def _release(self, shard: Shard, pending: PendingChanges) -> None:
        """Let parked changes go on if there is what they waited for."""
        if pending.is_at_rest:
            if pending.must_rewind or isinstance(pending.error, _PASSING):
                shard.window.rewind(_log(pending).rewind())
                pending.must_rewind = False
                if not pending.has_failed:
                    pending.error = None
            try:
                self._compact(shard, _log(pending))
            except Exception as error:  # the log asks again
                self._fault(error, f"writing live rows of {shard.name} again")
            if isinstance(_log(pending).error, Deposed):
                self.on_deposed(shard)
        if pending.may_go_on:
            self._turns.put_back(pending.parked)
            pending.waits_for = ""

    def _compact(self, shard: Shard, journal: Log) -> None:
        """Give the log the live rows that it wants written again, and what it wants stated."""
        compaction, now_seconds = journal.compaction, time.monotonic()
        if compaction is None or journal.error is not None:
            return
        is_early = now_seconds < self._compact_at_seconds.get(shard, 0.0)
        if is_early and not journal.wants_rest:
            return
        self._compact_at_seconds[shard] = now_seconds + _COMPACTION_SECONDS
        window = shard.window
        row_bytes = 4 * window.definition.dim + 16
        wanted = compaction.wanted_rows(window.rows * row_bytes + window.payload_bytes)
        if wanted is not None:
            compaction.keep(kept_rows(window, *wanted))
        if isinstance(journal, SharedLog):
            stretch = journal.statements.wanted(window.first_seq, window.last_seq)
            if stretch is not None:
                digest = digest_of(kept_rows(window, *stretch))
                journal.statements.state(Stated(window.version, *stretch, digest))

    def _fault(self, error: Exception, doing: str) -> OmenError:
        self._metrics.faults += 1
        return as_error(error, doing)

    def forget(self, shard: Shard) -> None:
        """A shard is gone."""
        self._settled.pop(shard, None)
        self._compact_at_seconds.pop(shard, None)
        self._lines.pop(shard, None)


def _pending(shard: Shard) -> PendingChanges:
    assert shard.pending is not None, "a collection without a log"
    return shard.pending


def _log(pending: PendingChanges) -> Log:
    assert pending.log is not None, "the log is not made yet"
    return pending.log
