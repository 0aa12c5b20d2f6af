"""Collections come and go: ``create`` and ``drop`` on the engine's thread.

In the catalog both took effect when they were received. A durable collection is made, and dropped,
by the store, on its thread; the reply says that it lasts. Until then changes of that collection
wait, and reads of one that is not made yet.
"""

from __future__ import annotations

from collections.abc import Callable

from omendb_core.model.errors import OmenError

from ...journal.interface import Log, Manifest
from ...journal.store_thread import Storage
from ...runtime.faults import as_error
from ..model import replies
from ..model.ended import Ended
from ..model.pending import PendingChanges
from ..model.shard import Shard
from ..model.ticket import Effect, Reply
from .commands import Create, Drop, DropGivenUp, NotDropped, Stored, Uncreated
from .durability import Durability
from .turns import Turns


class Lifecycle:
    """Makes windows and lets them go.

    ``forget`` lets go of all else that the engine has of a collection.
    """

    def __init__(
        self,
        durability: Durability,
        turns: Turns,
        forget: Callable[[Shard], None],
        submit: Callable[[Stored], None],
    ) -> None:
        #: None on a server without a data directory.
        self.storage: Storage | None = None
        self._durability = durability
        self._turns = turns
        self._forget = forget
        self._submit = submit
        #: How much the store was asked and has not answered.
        self.pending = 0

    def create(self, work: Create, effects: list[Effect]) -> None:
        """Have the store make a collection; answered by ``stored``. After a fault there is none.

        The one that had its name before is out of the store by then, so that a crash never leaves
        two.
        """
        try:
            self._ask_to_create(work)
        except Exception:
            self._undo(work, effects)
            raise

    def _ask_to_create(self, work: Create) -> None:
        before = work.shard.follows
        if before is not None and before.pending is not None and not before.is_dropped:
            before.pending.parked.append(work)  # goes on when that is dropped
            return
        work.shard.follows = None
        storage, shard = self.storage, work.shard
        assert storage is not None
        manifest = Manifest(
            shard.tenant,
            shard.name,
            shard.definition,
            shard.durability,
            shard.epoch,
            shard.replicas,
        )
        submit = self._submit
        storage.create(
            manifest,
            self._durability.settler(shard),
            lambda log, error: submit(Stored(work, log, error)),
        )
        self.pending += 1

    def drop(self, work: Drop, effects: list[Effect]) -> Reply | None:
        """Drop a collection; its reply, or None if the store is asked first.

        In the catalog it is gone already: after a fault this is called again.
        """
        pending = work.shard.pending
        if pending is None or work.shard.is_dropped:
            return self._dropped(work, effects)
        if pending.waits_for:
            pending.parked.append(work)
        elif pending.changes:
            pending.park(work, "rest")
        else:
            self._ask_to_drop(work, pending)
        return None

    def _ask_to_drop(self, work: Drop, pending: PendingChanges) -> None:
        assert self.storage is not None
        assert pending.log is not None
        submit = self._submit
        self.storage.drop(pending.log, lambda _, error: submit(Stored(work, None, error)))
        pending.waits_for = "store"
        self.pending += 1

    def drop_given_up(self, work: DropGivenUp) -> None:
        """Have the store drop what never came back; answered by ``stored``."""
        assert self.storage is not None
        submit = self._submit
        self.storage.drop_stored(work.stored, lambda _, error: submit(Stored(work, None, error)))
        self.pending += 1

    def stored(self, signal: Stored, effects: list[Effect]) -> None:
        """The store has answered: what follows from it, to ``effects``."""
        work = signal.work
        if isinstance(work, DropGivenUp):
            self.pending -= 1
            if signal.error is not None:
                effects.append(NotDropped(work.held, work.stored))
                effects.append(_refusal(work, signal.error))
            else:
                effects.append(replies.ok(work.ticket, {}))
            return
        pending = work.shard.pending
        assert pending is not None
        try:
            reply = self._settled(work, pending, signal, effects)
        except Exception as error:
            as_error(error, work.ticket.op)
            reply = self._settled(work, pending, signal, effects)
        if isinstance(work, Drop) and signal.error is not None and pending.log is not None:
            effects.append(NotDropped(work.held, [pending.log.stored]))
        effects.append(reply)
        self._turns.is_through(work.ticket.asker.lane)
        self._turns.put_back(pending.parked)
        pending.waits_for = ""
        self.pending -= 1

    def _settled(
        self, work: Create | Drop, pending: PendingChanges, signal: Stored, effects: list[Effect]
    ) -> Reply:
        """The reply to a create or a drop; after a fault it is made again."""
        if isinstance(work, Create):
            return self._created(work, pending, signal.log, signal.error, effects)
        return self._dropped(work, effects, signal.error)

    def _created(
        self,
        work: Create,
        pending: PendingChanges,
        log: Log | None,
        error: Exception | None,
        effects: list[Effect],
    ) -> Reply:
        shard = work.shard
        if error is None:
            pending.log = log
            return replies.ok(work.ticket, {**shard.describe(work.visible), "handle": work.handle})
        self._undo(work, effects)
        return _refusal(work, error)

    def _undo(self, work: Create, effects: list[Effect]) -> None:
        """Nothing came of a create: whatever waits for it finds no collection."""
        shard = work.shard
        assert shard.pending is not None
        shard.is_dropped = True
        effects.append(Uncreated(work.catalog, shard))
        self._turns.put_back(shard.pending.parked)
        self._forget(shard)

    def _dropped(self, work: Drop, effects: list[Effect], error: Exception | None = None) -> Reply:
        """Let go of everything; with ``error`` the store has it still, and its name is held."""
        shard = work.shard
        if not shard.is_dropped:
            effects.append(Ended(shard, "dropped"))
            shard.is_dropped = True
        if hasattr(shard, "window"):
            self._forget(shard)
            shard.let_go()
        return replies.ok(work.ticket, {}) if error is None else _refusal(work, error)


def _refusal(work: Create | Drop | DropGivenUp, error: Exception) -> Reply:
    told = error if isinstance(error, OmenError) else as_error(error, work.ticket.op)
    return replies.refusal(work.ticket, told)
