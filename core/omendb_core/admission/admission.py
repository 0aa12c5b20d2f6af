"""Admission: from what a client asks to a change that says everything.

An add is admitted, and logged, before the changes ahead of it are applied, as expiry is. A delete
or an update looks rows up, and is admitted while no add is ahead of it (else ``NotCaughtUp``). One
whose rows are compared with those that are there (``judge``) is admitted when nothing is.
Reads the window's state and never writes to it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..model.budget import Share
from ..model.change import (
    AddChange,
    AddRequest,
    Change,
    DeleteChange,
    ExpireChange,
    NotCaughtUp,
    Repeated,
    UpdateChange,
    UpdateRequest,
)
from ..model.errors import NotFound, OmenError
from ..model.logged import Checkpoint
from ..model.types import I64, Definition, Ids, WindowLimits
from ..novelty.unless_near import CheckedRows, Judgement, UnlessNear
from ..rows.metadata import from_metadata
from ..state import WindowState
from .admitted import Admitted
from .checks import check_ids, checked_payloads, dictionary_bytes, str_id_bytes
from .guard import FREE, Guard, hidden, refuse_hidden, refuse_unwritable
from .pending import NOTHING, Coming, Pending
from .quotas import Quotas
from .whole import checked_rows

#: Seqs that one change takes out by their age: a millisecond or two. All that are due at once may
#: be a whole window, if the server was away for longer than they last.
MOST_EXPIRED: Final = 8192


class Admission:
    """Admits changes to one window; what it has come to is in ``admitted``."""

    def __init__(self, state: WindowState, limits: WindowLimits, share: Share) -> None:
        self._state = state
        self.definition = state.definition
        self.limits = limits
        self.admitted = Admitted(limits.max_producers)
        self._pending = Pending()
        self.quotas = Quotas(state, limits, self.admitted, self._pending, share)

    # -- the changes --------------------------------------------------------------------------

    def add(
        self,
        request: AddRequest,
        now_us: int,
        judgement: Judgement | None = None,
        guard: Guard = FREE,
    ) -> AddChange | Repeated | None:
        """The change that an add becomes, or what is known of a batch that is there already.

        The batch is looked at before the rows (PROTOCOL section 4). With a ``judgement`` of
        ``judge`` that is through, only its ``taken`` rows; None if that is none, and there is no
        batch to remember. Raises the OmenError that it names; Forbidden, with ``row``, by
        ``guard``; Quota beyond ``max_payload_bytes`` or the budget; NotCaughtUp where only a window
        that has caught up can tell whether it is.
        """
        if request.producer is not None:
            repeated = self._repeated(request)
            if repeated is not None:
                return repeated
        if judgement is None:
            rows = checked_rows(request.rows, self.definition, self.limits, guard)
        else:
            self._refuse_behind(judgement)
            rows = judgement.taken_rows()
        if guard.visible is not None:
            self._refuse_hidden(request, guard)
        is_empty = not len(rows.vectors)
        if is_empty and request.producer is None:
            return None
        change = self._add_change(request, rows, now_us)
        id_bytes = str_id_bytes(change.ids)
        coming = self.quotas.coming(change.payloads, dictionary_bytes(change.columns))
        growth_bytes = self._state.ids.growth(id_bytes, len(change.vectors))
        growth_bytes += self.admitted.producers.growth(change.producer)
        if id_bytes or growth_bytes:
            coming = Coming(coming.payload + id_bytes, coming.taken + growth_bytes)
        if coming.taken:
            self.quotas.refuse_beyond_quotas(coming, lambda: self._going(change))
        # Of an empty one the producer is all that comes, and that is there when it is admitted.
        self._admit(change, NOTHING if is_empty else coming)
        return change

    def judge(
        self, request: AddRequest, unless_near: UnlessNear, guard: Guard = FREE
    ) -> Judgement | Repeated:
        """What ``add`` is to be given, once it is through; or what is known of the batch.

        Raises what ``add`` raises of faults in the request; NotCaughtUp until every change
        ahead of it is applied.
        """
        repeated = self._repeated(request)
        if repeated is not None:
            return repeated
        rows = checked_rows(request.rows, self.definition, self.limits, guard)
        self._refuse_unapplied()
        return Judgement(self._state, rows, unless_near)

    def delete(self, ids: Ids, now_us: int, guard: Guard = FREE) -> DeleteChange | None:
        """The change that removes those of ``ids`` that are there; None if none is. NotCaughtUp."""
        self._refuse_behind_adds()
        slots = self._found(ids, guard)
        seqs = np.sort(self._state.ring.seqs(slots[slots >= 0]))
        if (seqs[1:] == seqs[:-1]).any():  # ids that stand in the request twice
            seqs = np.unique(seqs)
        seqs = seqs[~self._pending.is_dying(seqs)]
        if not len(seqs):
            return None
        change = DeleteChange(
            version=self.admitted.version + 1, time_us=self.admitted.time(now_us), seqs=seqs
        )
        self._admit(change)
        return change

    def update(self, request: UpdateRequest, now_us: int, guard: Guard = FREE) -> UpdateChange:
        """The change that replaces the metadata of rows; always a change.

        Raises NotFound, DuplicateId, BadMetadata, TooLarge or Forbidden with ``row``, and Quota;
        NotCaughtUp.
        """
        self._refuse_behind_adds()
        if self.definition.ids == "auto":
            check_ids(request.ids, Definition(1, 1, ids="u64"), len(request.metadata))
        else:
            check_ids(request.ids, self.definition, len(request.metadata))
        payloads = checked_payloads(request.payloads, self.limits.max_metadata_bytes)
        slots = self._found(request.ids, guard)
        seqs = self._state.ring.seqs(slots)
        absent = np.flatnonzero((slots < 0) | self._pending.is_dying(seqs))
        if len(absent):
            row = int(absent[0])
            raise NotFound(f"no row has the id {request.ids[row]!s}", row=row)
        columns = request.typed
        if columns is None:
            columns = from_metadata(request.metadata, self.definition.columns)
        if guard.written is not None:
            refuse_unwritable(guard.written, columns, self.definition.columns, len(slots))
        coming = self.quotas.coming(payloads, dictionary_bytes(columns))
        if coming.taken:
            going = self._state.payloads.sizes
            self.quotas.refuse_beyond_quotas(coming, lambda: int(going(slots).sum()))
        change = UpdateChange(
            version=self.admitted.version + 1,
            time_us=self.admitted.time(now_us),
            seqs=seqs,
            columns=columns,
            payloads=payloads,
        )
        self._admit(change, coming)
        return change

    def expire(self, now_us: int) -> ExpireChange | None:
        """The change that takes out what is older than ``ttl_seconds``; None if nothing is.

        It may say less than it could while adds are ahead of it, and where many rows are due;
        never more.
        """
        now_us = self.admitted.time(now_us)
        first_seq = min(self._first_due(now_us), self._state.first_seq + MOST_EXPIRED)
        if first_seq <= self._state.first_seq:
            return None
        change = ExpireChange(
            version=self.admitted.version + 1, time_us=now_us, first_seq=first_seq
        )
        self._admit(change)
        return change

    def has_due(self, now_us: int) -> bool:
        """Whether rows that are applied are older than ``ttl_seconds``."""
        return self._first_due(self.admitted.time(now_us)) > self._state.first_seq

    def _first_due(self, time_us: int) -> int:
        """The first seq that is not older than ``ttl_seconds`` at that time."""
        if self.definition.ttl_seconds is None:
            return 0
        return self._state.first_seq_after(time_us - round(self.definition.ttl_seconds * 1e6))

    # -- what became of them ------------------------------------------------------------------

    @property
    def has_caught_up(self) -> bool:
        """Whether everything that was admitted is applied."""
        return self._state.version == self.admitted.version

    def applied(self, version: int) -> None:
        """The change ``version`` is applied."""
        self._pending.applied(version)
        self.quotas.account()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Stand where ``checkpoint`` stands; what was admitted since will never be applied."""
        self.admitted.resume(checkpoint)
        self._pending.clear()
        self.quotas.account()

    # -- parts --------------------------------------------------------------------------------

    def _repeated(self, request: AddRequest) -> Repeated | None:
        if request.producer is None or request.batch is None:
            return None
        return self.admitted.producers.look(request.producer, request.batch)

    def _refuse_behind(self, judgement: Judgement) -> None:
        """What it says must hold for the window that the add will find."""
        assert judgement.is_through, "rows are left to be judged"
        if not self.has_caught_up or judgement.version != self._state.version:
            raise NotCaughtUp

    def _found(self, ids: Ids, guard: Guard) -> I64:
        """Slots of ``ids`` int64 (n,); -1 where there is no row, or none for the writer."""
        if guard.visible is not None:
            self._refuse_unapplied()
        slots = self._state.ids.find(ids)
        slots[hidden(guard, self._state, slots)] = -1
        return slots

    def _refuse_unapplied(self) -> None:
        """What passes a filter is known of a window that has caught up."""
        if not self.has_caught_up:
            raise NotCaughtUp

    def _refuse_hidden(self, request: AddRequest, guard: Guard) -> None:
        """Forbidden for a row whose id is that of one which is not there for the writer."""
        ids = None if isinstance(request.rows, OmenError) else request.rows.ids
        if ids is None:
            return
        self._refuse_unapplied()
        refuse_hidden(guard, self._state, self._state.ids.find(ids))

    def _add_change(self, request: AddRequest, rows: CheckedRows, now_us: int) -> AddChange:
        return AddChange(
            version=self.admitted.version + (len(rows.vectors) > 0),
            time_us=self.admitted.time(now_us),
            first_seq=self.admitted.last_seq + 1,
            vectors=rows.vectors,
            ids=rows.ids,
            columns=rows.columns,
            payloads=rows.payloads,
            producer=request.producer,
            batch=request.batch,
        )

    def _admit(self, change: Change, coming: Coming = NOTHING) -> None:
        """Remember a change as admitted; after a fault nothing is."""
        self._pending.admitted(change, coming)
        try:
            self.admitted.observe(change)
        except BaseException:
            self._pending.applied(change.version)
            raise

    def _going(self, change: AddChange) -> int:
        """Payload bytes of the rows that leave when a window that has caught up applies it."""
        state = self._state
        leaving = state.ring.overwritten(len(change.vectors))
        if change.ids is not None:
            found = state.ids.find(change.ids)
            leaving = np.union1d(leaving, found[found >= 0])
        going = int(state.payloads.sizes(leaving).sum())
        if self.definition.ids == "str":
            going += str_id_bytes(state.ids.of(leaving))
        return going

    def _refuse_behind_adds(self) -> None:
        if self.admitted.last_seq != self._state.last_seq:
            raise NotCaughtUp
