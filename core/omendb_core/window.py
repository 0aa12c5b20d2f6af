"""One collection's window: what it holds, what is admitted to it, and the queries that stand on it.

The facade that the server sees. It has one owner at a time (DESIGN "One writer"). ``admit_*`` turn
requests into changes, ``apply`` makes them visible; whatever is replayed (``replay``) gives the
same window again, to the bit. Invariants: ``check``.
"""

from __future__ import annotations

from collections.abc import Generator

from .admission.admission import Admission
from .admission.guard import FREE, Guard
from .filters.parser import Filter
from .model.budget import UNLIMITED, Share
from .model.change import (
    AddChange,
    AddRequest,
    Change,
    DeleteChange,
    ExpireChange,
    Repeated,
    UpdateChange,
    UpdateRequest,
)
from .model.errors import OmenError
from .model.logged import Checkpoint
from .model.types import F32, I64, Bool1, Definition, Hits, Ids, Include, WindowLimits
from .novelty.novelty import Novelty
from .novelty.unless_near import Judgement, UnlessNear
from .rows.append import append
from .scan.choice import choose
from .scan.interface import Scan
from .search.query import Answer, Query
from .search.search import AllInParts, PlainInParts, search, search_all, search_in_pieces
from .standing.matcher import Matcher
from .state import NOTHING, WindowState


class Window:
    """The newest ``capacity`` rows of a stream; see the module.

    ``state`` holds the rows, ``admission`` what is admitted, ``standing`` the standing queries,
    ``novelty`` those who hear how new each row is. ``share`` is its part of a budget, which has
    ``reserved_bytes`` for it already: what is reserved goes back when the window does, with its
    last reference. Nothing in it refers to it.
    """

    def __init__(
        self,
        definition: Definition,
        limits: WindowLimits | None = None,
        scan: Scan | None = None,
        share: Share | None = None,
    ) -> None:
        self.definition = definition
        share = share or Share(UNLIMITED, "")
        self.state = WindowState(definition, scan or choose())
        deeper = Share(share.budget, "deeper lists of live queries take")
        self.standing = Matcher(self.state, deeper)
        self.novelty = Novelty(self.state)
        self.admission = Admission(self.state, limits or WindowLimits(), share)
        self.share = share  # the last: it goes after what it stands for

    # -- what it is now -----------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The version of the last change applied."""
        return self.state.version

    @property
    def last_seq(self) -> int:
        """The newest sequence number; 0 before the first row."""
        return self.state.ring.last_seq

    @property
    def first_seq(self) -> int:
        """The oldest sequence number that the window may still hold (PROTOCOL section 3)."""
        return self.state.ring.first_seq

    @property
    def rows(self) -> int:
        """How many rows are live."""
        return self.state.ring.rows

    @property
    def nbytes(self) -> int:
        """Bytes reserved, payloads not counted."""
        return self.state.reserved_bytes

    @property
    def taken_bytes(self) -> int:
        """Bytes that all of it takes: what is reserved, and what hangs on rows and producers."""
        return self.admission.quotas.taken_bytes

    @property
    def payload_bytes(self) -> int:
        """Bytes of metadata, string ids and dictionaries now."""
        return self.state.payload_bytes

    @property
    def has_caught_up(self) -> bool:
        """Whether everything that was admitted is applied."""
        return self.admission.has_caught_up

    # -- admit: see ``Admission`` -------------------------------------------------------------

    def admit_add(
        self,
        request: AddRequest,
        now_us: int,
        judgement: Judgement | None = None,
        guard: Guard = FREE,
    ) -> AddChange | Repeated | None:
        """See ``Admission.add``."""
        return self.admission.add(request, now_us, judgement, guard)

    def judge_add(
        self, request: AddRequest, unless_near: UnlessNear, guard: Guard = FREE
    ) -> Judgement | Repeated:
        """See ``Admission.judge``."""
        return self.admission.judge(request, unless_near, guard)

    def admit_delete(self, ids: Ids, now_us: int, guard: Guard = FREE) -> DeleteChange | None:
        """See ``Admission.delete``."""
        return self.admission.delete(ids, now_us, guard)

    def admit_update(
        self, request: UpdateRequest, now_us: int, guard: Guard = FREE
    ) -> UpdateChange:
        """See ``Admission.update``."""
        return self.admission.update(request, now_us, guard)

    def admit_expire(self, now_us: int) -> ExpireChange | None:
        """See ``Admission.expire``."""
        return self.admission.expire(now_us)

    def rewind(self, checkpoint: Checkpoint) -> None:
        """Forget what was admitted behind ``checkpoint``, where the window stands."""
        assert checkpoint.version == self.version, "something behind the checkpoint is applied"
        self.admission.resume(checkpoint)

    def refuse_beyond_budget(self) -> None:
        """See ``Quotas.refuse_beyond_budget``."""
        self.admission.quotas.refuse_beyond_budget()

    # -- apply --------------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Make an admitted change visible. Never refuses; in order of versions, each once."""
        state = self.state
        match change:
            case AddChange():
                self._apply_add(change)
            case DeleteChange():
                slots = state.ring.slots(change.seqs)
                self.standing.note_gone(slots)
                self._kill(slots)
                state.deleted += len(slots)
            case UpdateChange():
                slots = state.ring.slots(change.seqs)
                state.columns.clear(slots)
                state.payloads.clear(slots)
                state.columns.write(slots, change.columns)
                state.payloads.write(slots, change.payloads)
                self.standing.note_updated(change.seqs)
                state.note_update(slots, change.version)
            case ExpireChange():
                slots = state.ring.live_slots(state.first_seq, change.first_seq - 1)
                self._kill(slots)
                state.ring.expire(change.first_seq)
                state.expired += len(slots)
        state.version = change.version
        self.admission.applied(change.version)

    def _apply_add(self, change: AddChange) -> None:
        if not len(change.vectors):
            return
        state = self.state
        if self.novelty.groups:
            self.novelty.note_add(change)
        left = append(state.ring, state.ids, state.times_us, change)
        self.standing.note_gone(left.replaced)
        self._forget(left.evicted)
        self._forget(left.replaced)
        state.evicted += len(left.evicted)
        state.replaced += len(left.replaced)
        if change.columns or change.payloads or state.keeps_metadata:
            slots = state.ring.slots_of(change.first_seq, len(change.vectors))
            state.columns.write(slots, change.columns)
            state.payloads.write(slots, change.payloads)
            state.note_new(slots)

    def _kill(self, slots: I64) -> None:
        if len(slots):
            self.state.ring.kill(slots)
            self.state.ids.release(slots)
            self._forget(slots)

    def _forget(self, slots: I64) -> None:
        """Drop the metadata of rows that died."""
        if len(slots):
            self.state.columns.clear(slots)
            self.state.payloads.clear(slots)

    # -- read ---------------------------------------------------------------------------------

    def search(self, queries: list[Query]) -> list[Answer | OmenError]:
        """Exact top-k of every query, in one scan; an error in the place of a bad one."""
        return search(self.state, queries)

    def search_in_parts(self, query: Query) -> PlainInParts:
        """The same for one plain query, some rows at a time; see ``search.PlainInParts``."""
        return PlainInParts(self.state, query)

    def search_all_in_parts(self, vectors: F32, k: I64) -> AllInParts:
        """``search_all``, some rows at a time; see ``search.AllInParts``."""
        return AllInParts(self.state, vectors, k)

    def search_in_pieces(self, query: Query) -> Generator[None, None, Answer]:
        """The same for one query, in pieces; see ``search.search_in_pieces``."""
        return search_in_pieces(self.state, query)

    def search_all(self, vectors: F32, k: I64) -> Answer:
        """Exact top-k of all live rows for many vectors; see ``search.search_all``."""
        return search_all(self.state, vectors, k)

    def count(self, filter_: Filter | None = None) -> int:
        """See ``WindowState.count``."""
        return self.state.count(filter_)

    def get(self, ids: Ids, include: Include, visible: Filter | None = None) -> tuple[Bool1, Hits]:
        """See ``WindowState.get``."""
        return self.state.get(ids, include, visible)

    def read(
        self,
        from_seq: int,
        max_rows: int,
        max_payload_bytes: int,
        filter_: Filter | None = None,
        include: Include = NOTHING,
    ) -> tuple[Hits, int]:
        """See ``WindowState.read``."""
        return self.state.read(from_seq, max_rows, max_payload_bytes, filter_, include)

    def check(self) -> None:
        """Verify every invariant of the window and its parts; AssertionError names the broken."""
        self.state.check()
        admitted = self.admission.admitted
        assert self.version == admitted.version, "admitted but not applied"
        assert self.last_seq == admitted.last_seq, "seqs admitted but not applied"
