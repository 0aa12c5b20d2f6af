"""Doing one change to a window: admit, apply, acknowledge.

Runs on the engine's thread, which holds every window. What a client did wrong is raised as an
OmenError and has changed nothing. A fault in the middle of ``apply`` leaves a window of which
nobody knows what it holds: the shard is then ``broken``, and says so until it is dropped.

``do`` is the whole way of a change of a ``memory`` collection; between ``admit`` and ``finish`` of
a durable one lies its log (``durability.py``).
"""

from __future__ import annotations

from typing import TypeAlias

from omendb_core.model import change as core
from omendb_core.model.errors import OmenError
from omendb_core.novelty.unless_near import UnlessNear

from ...journal.interface import Damaged
from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...wire import reply_bounds
from ...wire.hits import id_texts
from ...wire.messages import Added
from ..model import replies
from ..model.shard import Shard
from ..model.ticket import Reply
from ..pieces import snapshots
from .commands import Add, Delete, RowChange

#: What a request becomes; None: a delete of what is not there.
Admitted: TypeAlias = core.Change | core.Repeated | None


class Changes:
    """Applies changes and counts them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        #: Collections that changed since it was last cleared, and when the first change arrived.
        self.changed: dict[Shard, int] = {}
        #: Collections that broke since it was last cleared.
        self.newly_broken: dict[Shard, None] = {}

    def breaks(self, shard: Shard) -> None:
        """After a fault nobody knows any more what a window, or its standing queries, hold."""
        shard.broken = "needs repair, after a fault; drop it to start anew"
        self.newly_broken[shard] = None

    def loses(self, shard: Shard, error: Damaged) -> None:
        """Its log says that the window is not to be shown any more."""
        shard.broken = f"needs repair: {error.message}; {error.remedy}"
        self.newly_broken[shard] = None

    def forget(self, shard: Shard) -> None:
        """A shard is gone."""
        self.changed.pop(shard, None)
        self.newly_broken.pop(shard, None)

    def do(self, work: RowChange, now_us: int) -> Reply:
        """The acknowledgement of one change. OmenError if it is refused."""
        work.shard.refuse_broken()
        admitted = self.admit(work, now_us)
        try:
            return self.finish(work, admitted)
        except Exception:
            self.make_up(work.shard, admitted)
            raise

    def expire(self, shard: Shard, now_us: int) -> None:
        """Take out what is older than the collection's ttl."""
        if shard.broken is None:
            change = shard.window.admit_expire(shard.time_us(now_us))
            if change is None:
                return
            try:
                self.apply(shard, change, now_us)
            except Exception:
                self.make_up(shard, change)
                raise

    def make_up(self, shard: Shard, admitted: Admitted) -> None:
        """After a fault: what was admitted is applied still, or nobody knows what is true.

        Whatever was answered: changes behind this one count on it, and it may be in a log.
        """
        if admitted is None or isinstance(admitted, core.Repeated):
            return
        if shard.broken is None and shard.window.version < admitted.version:
            try:
                self.apply(shard, admitted, admitted.time_us - shard.ahead_us)
            except Exception as error:
                self.breaks(shard)
                self._metrics.faults += 1
                as_error(error, f"making up for a change of {shard.name}")

    def admit(self, work: RowChange, now_us: int) -> Admitted:
        """The change that a request becomes. OmenError if it is refused; NotCaughtUp."""
        window, now_us = work.shard.window, work.shard.time_us(now_us)
        if isinstance(work, Add):
            if work.unless_near is not None:
                return _admit_judged(work, work.unless_near, now_us)
            return window.admit_add(work.request, now_us, guard=work.guard)
        if isinstance(work, Delete):
            return window.admit_delete(work.ids, now_us, work.guard)
        return window.admit_update(work.request, now_us, work.guard)

    def finish(self, work: RowChange, admitted: Admitted) -> Reply:
        """Make what was admitted visible, and acknowledge it."""
        window = work.shard.window
        if isinstance(work, Add):
            return self._finish_add(work, admitted)
        if admitted is None:
            return replies.ok(work.ticket, {"version": window.version, "deleted": 0})
        assert not isinstance(admitted, core.Repeated), "only adds have batches"
        self.apply(work.shard, admitted, work.ticket.arrival_us)
        body = {"version": admitted.version}
        if isinstance(admitted, core.DeleteChange):
            body["deleted"] = len(admitted.seqs)
        return replies.ok(work.ticket, body)

    def _finish_add(self, work: Add, admitted: Admitted) -> Reply:
        first_seq: int | None = None
        last_seq: int | None = None
        is_repeated = False
        if isinstance(admitted, core.AddChange):
            self.apply(work.shard, admitted, work.ticket.arrival_us)
            count = len(admitted.vectors)
            self._metrics.added_rows += count
            work.shard.counts.adds += count
            version = admitted.version
            if count:
                first_seq, last_seq = admitted.first_seq, admitted.first_seq + count - 1
        else:
            version = work.shard.window.version
            if isinstance(admitted, core.Repeated):
                first_seq, last_seq, is_repeated = admitted.first_seq, admitted.last_seq, True
        if work.unless_near is None:
            acknowledged = Added(version, first_seq, last_seq, is_repeated)
        else:
            left_out = work.left_out
            acknowledged = Added(
                version,
                first_seq,
                last_seq,
                is_repeated,
                is_compared=True,
                skipped=None if left_out is None else left_out.skipped,
                near=None if left_out is None else left_out.near,
            )
        return replies.added(work.ticket, acknowledged, work.is_binary)

    def apply(self, shard: Shard, change: core.Change, arrival_us: int) -> None:
        """Make a change visible that was admitted."""
        window = shard.window
        if isinstance(change, core.AddChange) and change.is_empty:
            window.apply(change)
            return
        before = (
            window.state.evicted,
            window.state.expired,
            window.state.replaced,
            window.state.deleted,
        )
        if shard.snapshots:
            snapshots.before(shard, change)
        try:
            window.apply(change)
        except OmenError as error:  # apply never refuses: then this is a fault like any other
            self.breaks(shard)
            raise RuntimeError("apply refused a change") from error
        except Exception:
            self.breaks(shard)
            raise
        self.changed.setdefault(shard, arrival_us)
        if window.novelty.is_behind:
            shard.is_catching_up = True
        left = self._metrics.left_rows
        left["evicted"] += window.state.evicted - before[0]
        left["expired"] += window.state.expired - before[1]
        left["replaced"] += window.state.replaced - before[2]
        left["deleted"] += window.state.deleted - before[3]


def _admit_judged(work: Add, unless_near: UnlessNear, now_us: int) -> Admitted:
    """As ``Changes.admit``, of an add whose rows are left out where something is near."""
    window = work.shard.window
    judgement = work.judgement
    work.judgement = work.left_out = None
    if judgement is None or judgement.version != window.version:
        judged = window.judge_add(work.request, unless_near, work.guard)
        if isinstance(judged, core.Repeated):
            return judged
        judged.finish()
        judgement = judged
    left_out = judgement.left_out(window.last_seq + 1)
    most_bytes = reply_bounds.added_bytes(work.shard.definition, len(left_out.skipped))
    if most_bytes > work.ticket.max_reply_bytes:
        replies.refuse_over(work.ticket, sum(map(len, id_texts(left_out.near))))
    admitted = window.admit_add(work.request, now_us, judgement, work.guard)
    work.left_out = left_out
    return admitted
