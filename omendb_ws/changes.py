"""Doing one change to a window: admit, apply, acknowledge.

Runs on the engine's thread, which holds every window. What a client did wrong is raised as an
OmenError and has changed nothing. A fault in the middle of ``apply`` leaves a window of which
nobody knows what it holds: the collection is then ``broken``, and says so until it is dropped.
"""

from __future__ import annotations

from omendb_core import change as core
from omendb_core.errors import OmenError, Unavailable

from . import answers
from .catalog import Collection
from .metrics import Metrics
from .wire.messages import Added
from .work import Add, Answer, Delete, Update


def refuse_broken(collection: Collection) -> None:
    """Unavailable after a fault in the middle of a change."""
    if collection.broken is not None:
        raise Unavailable(f"collection: needs repair, {collection.broken}; drop it to start anew")


class Changes:
    """Applies changes and counts them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        #: Collections that changed since it was last cleared, and when the first change arrived.
        self.changed: dict[Collection, int] = {}

    def do(self, work: Add | Delete | Update, now_us: int) -> Answer:
        """The acknowledgement of one change. OmenError if it is refused."""
        refuse_broken(work.collection)
        if isinstance(work, Add):
            return self._add(work, now_us)
        if isinstance(work, Delete):
            return self._delete(work, now_us)
        return self._update(work, now_us)

    def expire(self, collection: Collection, now_us: int) -> None:
        """Take out what is older than the collection's ttl."""
        if collection.broken is None:
            change = collection.window.admit_expire(now_us)
            if change is not None:
                self._apply(collection, change, now_us)

    def _add(self, work: Add, now_us: int) -> Answer:
        collection, window = work.collection, work.collection.window
        change = window.admit_add(work.request, now_us)
        if isinstance(change, core.Repeated):
            again = Added(window.version, change.first_seq, change.last_seq, duplicate=True)
            return answers.added(work.ticket, again, work.is_binary)
        self._apply(collection, change, work.ticket.arrival_us)
        count = len(change.vectors)
        self._metrics.added_rows += count
        collection.counts.adds += count
        last_seq = change.first_seq + count - 1
        acknowledged = Added(change.version, change.first_seq, last_seq)
        return answers.added(work.ticket, acknowledged, work.is_binary)

    def _delete(self, work: Delete, now_us: int) -> Answer:
        window = work.collection.window
        change = window.admit_delete(work.ids, now_us)
        if change is None:
            return answers.ok(work.ticket, {"version": window.version, "deleted": 0})
        self._apply(work.collection, change, work.ticket.arrival_us)
        return answers.ok(work.ticket, {"version": change.version, "deleted": len(change.seqs)})

    def _update(self, work: Update, now_us: int) -> Answer:
        change = work.collection.window.admit_update(work.request, now_us)
        self._apply(work.collection, change, work.ticket.arrival_us)
        return answers.ok(work.ticket, {"version": change.version})

    def _apply(self, collection: Collection, change: core.Change, arrival_us: int) -> None:
        window = collection.window
        before = (window.evicted, window.expired, window.replaced, window.deleted)
        try:
            window.apply(change)
        except OmenError as error:  # apply never refuses: then this is a fault like any other
            collection.broken = "after a fault"
            raise RuntimeError("apply refused a change") from error
        except Exception:
            collection.broken = "after a fault"
            raise
        self.changed.setdefault(collection, arrival_us)
        left = self._metrics.left_rows
        left["evicted"] += window.evicted - before[0]
        left["expired"] += window.expired - before[1]
        left["replaced"] += window.replaced - before[2]
        left["deleted"] += window.deleted - before[3]
