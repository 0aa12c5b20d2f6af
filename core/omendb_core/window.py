"""One collection's window: ring, ids, columns, payloads and times under one version.

The facade that the server sees. It has one owner at a time (DESIGN "One writer"). ``admit_*`` turn
requests into changes, ``apply`` makes them visible; whatever is replayed through ``replay`` gives
the same window again, to the bit. Invariants: ``check``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .admission import Admission, check_ids, checked_payloads, dictionary_bytes, str_id_bytes
from .ahead import NOTHING as NOTHING_COMING
from .ahead import Ahead, Coming
from .append import append
from .budget import UNLIMITED, Share
from .change import (
    AddChange,
    AddRequest,
    Behind,
    Change,
    DeleteChange,
    ExpireChange,
    Repeated,
    UpdateChange,
    UpdateRequest,
)
from .columns import Columns
from .errors import NotFound, OmenError, Quota
from .filters import Filter, evaluate
from .ids import bytes_for as ids_bytes_for
from .ids import make_ids
from .kernels.scan import Scan, choose, has_shadow, shadow_for
from .live import Standing
from .mask_cache import MaskCache
from .metadata import from_metadata
from .packed import PackedPayloads
from .payloads import Payloads
from .query import NOTHING, Answer, Query, search, search_all
from .replay import Checkpoint, KeptRows, replay
from .ring import Ring
from .types import F32, I64, U64, Bool1, Definition, Hits, Ids, Include, WindowLimits

#: How many seqs one step of ``read`` looks at: bounds the work of a filter that passes few rows.
READ_SPAN_ROWS = 16_384


class Window:
    """The newest ``capacity`` rows of a stream; see the module.

    ``evicted``, ``expired``, ``replaced`` and ``deleted`` count the rows that left, by reason.
    ``share`` is its part of a budget, which has ``reserved_bytes`` for it already: what is
    reserved goes back when the window does, with its last reference. Nothing in it refers to it.
    """

    def __init__(
        self,
        definition: Definition,
        limits: WindowLimits | None = None,
        scan: Scan | None = None,
        share: Share | None = None,
    ) -> None:
        self.definition = definition
        self.limits = limits or WindowLimits()
        self.scan = scan or choose()
        self.admission = Admission(definition, self.limits)
        shadow = shadow_for(self.scan, definition)
        self.ring = Ring(definition.capacity, definition.dim, shadow)
        self.ids = make_ids(definition.ids, self.ring)
        self.columns = Columns(definition.columns, definition.capacity)
        self.masks = MaskCache(self.columns)
        self.payloads = Payloads(definition.capacity)
        self.times_us: I64 = np.zeros(definition.capacity, np.int64)
        self.standing = Standing(self)
        self.version = 0
        self._ahead = Ahead()
        self._last_update = 0
        self._update_versions: U64 = np.zeros(0, np.uint64)
        self.evicted = self.expired = self.replaced = self.deleted = 0
        self._reserved_bytes = reserved_bytes(definition, self.scan)
        self.share = share or Share(UNLIMITED, "")  # the last: it goes after what it stands for

    # -- what it is now -----------------------------------------------------------------------

    @property
    def last_seq(self) -> int:
        """The newest sequence number; 0 before the first row."""
        return self.ring.last_seq

    @property
    def first_seq(self) -> int:
        """The oldest sequence number that the window may still hold (PROTOCOL section 3)."""
        return self.ring.first_seq

    @property
    def rows(self) -> int:
        """How many rows are live."""
        return self.ring.rows

    @property
    def nbytes(self) -> int:
        """Bytes reserved, payloads not counted."""
        return self._reserved_bytes

    @property
    def taken_bytes(self) -> int:
        """Bytes that all of it takes: what is reserved, and what hangs on rows and producers."""
        return (
            self._reserved_bytes
            + self.payloads.nbytes
            + self.ids.text_bytes
            + self.columns.taken_bytes
            + self.admission.producers.nbytes
        )

    @property
    def payload_bytes(self) -> int:
        """Bytes of metadata, string ids and dictionaries now."""
        return self.payloads.payload_bytes + self.ids.payload_bytes + self.columns.payload_bytes

    @property
    def oldest_time_us(self) -> int | None:
        """When the oldest live row was accepted; None if there is none."""
        slots = self.ring.live_slots(self.first_seq, self.last_seq)
        return int(self.times_us[slots[0]]) if len(slots) else None

    @property
    def has_caught_up(self) -> bool:
        """Whether everything that was admitted is applied."""
        return self.version == self.admission.version

    # -- admit --------------------------------------------------------------------------------
    # Adds and expiry may be admitted before the changes ahead of them are applied. The others look
    # rows up, and may be while no add is ahead of them.

    def admit_add(self, request: AddRequest, now_us: int) -> AddChange | Repeated:
        """Validate an add; its change, or what is known of a batch that is there already.

        Raises the OmenError of PROTOCOL section 4, and Quota beyond ``max_payload_bytes``; Behind
        where only a window that has caught up can tell whether it is.
        """
        change = self.admission.add(request, now_us)
        if isinstance(change, AddChange):
            id_bytes = str_id_bytes(change.ids)
            coming = self._coming(change.payloads, dictionary_bytes(change.columns))
            coming = Coming(
                coming.payload + id_bytes,
                coming.taken
                + self.ids.growth(id_bytes, len(change.vectors))
                + self.admission.producers.growth(change.producer),
            )
            self._refuse_over_quotas(coming, lambda: self._going(change))
            self._admitted(change, coming)
        return change

    def admit_delete(self, ids: Ids, now_us: int) -> DeleteChange | None:
        """The change that removes those of ``ids`` that are there; None if none is. Behind."""
        self._refuse_behind_adds()
        slots = self.ids.find(ids)
        seqs = np.sort(self.ring.seqs(slots[slots >= 0]))
        if (seqs[1:] == seqs[:-1]).any():  # ids that stand in the request twice
            seqs = np.unique(seqs)
        seqs = seqs[~self._ahead.is_dying(seqs)]
        if not len(seqs):
            return None
        change = DeleteChange(
            version=self.admission.version + 1,
            time_us=self.admission.time(now_us),
            seqs=seqs,
        )
        self._admitted(change)
        return change

    def admit_update(self, request: UpdateRequest, now_us: int) -> UpdateChange:
        """The change that replaces the metadata of rows; always a change.

        Raises NotFound, DuplicateId, BadMetadata or TooLarge with ``row``, and Quota; Behind.
        """
        self._refuse_behind_adds()
        if self.definition.ids == "auto":
            check_ids(request.ids, Definition(1, 1, ids="u64"), len(request.metadata))
        else:
            check_ids(request.ids, self.definition, len(request.metadata))
        payloads = checked_payloads(request.payloads, self.limits.max_metadata_bytes)
        slots = self.ids.find(request.ids)
        seqs = self.ring.seqs(slots)
        absent = np.flatnonzero((slots < 0) | self._ahead.is_dying(seqs))
        if len(absent):
            row = int(absent[0])
            raise NotFound(f"no row has the id {request.ids[row]!s}", row=row)
        columns = from_metadata(request.metadata, self.definition.columns)
        coming = self._coming(payloads, dictionary_bytes(columns))
        self._refuse_over_quotas(coming, lambda: int(self.payloads.sizes(slots).sum()))
        change = UpdateChange(
            version=self.admission.version + 1,
            time_us=self.admission.time(now_us),
            seqs=seqs,
            columns=columns,
            payloads=payloads,
        )
        self._admitted(change, coming)
        return change

    def admit_expire(self, now_us: int) -> ExpireChange | None:
        """The change that takes out what is older than ``ttl_seconds``; None if nothing is.

        It may say less than it could while adds are ahead of it, never more.
        """
        if self.definition.ttl_seconds is None:
            return None
        now_us = self.admission.time(now_us)
        first_seq = self._first_seq_after(now_us - round(self.definition.ttl_seconds * 1e6))
        if first_seq <= self.first_seq:
            return None
        change = ExpireChange(
            version=self.admission.version + 1, time_us=now_us, first_seq=first_seq
        )
        self._admitted(change)
        return change

    def _admitted(self, change: Change, coming: Coming = NOTHING_COMING) -> None:
        """Remember a change as admitted; after a fault nothing is."""
        self._ahead.admitted(change, coming)
        try:
            self.admission.observe(change)
        except BaseException:
            self._ahead.applied(change.version)
            raise

    def _first_seq_after(self, time_us: int) -> int:
        """The first seq accepted after ``time_us``; last_seq + 1 if there is none.

        Times never decrease along the seqs, which lie in the ring as at most two sorted runs.
        """
        first_seq, last_seq = self.first_seq, self.last_seq
        if first_seq > last_seq:
            return first_seq
        first, last = (int(s) for s in self.ring.slots(np.array([first_seq, last_seq], np.uint64)))
        runs = [(first, last + 1)]
        if last < first:
            runs = [(first, self.definition.capacity), (0, last + 1)]
        passed = sum(
            int(np.searchsorted(self.times_us[start:stop], time_us, side="right"))
            for start, stop in runs
        )
        return first_seq + passed

    def _going(self, change: AddChange) -> int:
        """Payload bytes of the rows that leave when a window that has caught up applies it."""
        leaving = self.ring.overwritten(len(change.vectors))
        if change.ids is not None:
            found = self.ids.find(change.ids)
            leaving = np.union1d(leaving, found[found >= 0])
        going = int(self.payloads.sizes(leaving).sum())
        if self.definition.ids == "str":
            going += str_id_bytes(self.ids.of(leaving))
        return going

    def _refuse_behind_adds(self) -> None:
        if self.admission.last_seq != self.last_seq:
            raise Behind

    def _coming(self, payloads: PackedPayloads | None, text_bytes: int) -> Coming:
        """What payloads, and texts of so many bytes, bring with them."""
        if payloads is None:
            return Coming(text_bytes, text_bytes)
        growth = self.payloads.growth(len(payloads.data), len(payloads))
        return Coming(len(payloads.data) + text_bytes, growth + text_bytes)

    def _refuse_over_quotas(self, coming: Coming, going: Callable[[], int]) -> None:
        """Quota if what comes does not fit once payloads of ``going`` bytes have left; Behind.

        Its memory is set aside then.
        """
        if coming.taken:
            self._refuse_over_payload_quota(coming.payload, going)
            self._take(coming, going)

    def _refuse_over_payload_quota(self, coming: int, going: Callable[[], int]) -> None:
        most, held = self.limits.max_payload_bytes, self.payload_bytes
        if held + self._ahead.coming.payload + coming <= most:
            return
        if not self.has_caught_up:
            raise Behind
        growth = coming - going()
        if growth > 0 and held + growth > most:
            raise Quota(
                f"metadata and ids: {held} bytes held and {growth} more are over "
                f"max_payload_bytes ({most})"
            )

    def _take(self, coming: Coming, going: Callable[[], int]) -> None:
        what = "metadata, ids and texts of these rows take"
        wanted_bytes = self._ahead.coming.taken + coming.taken
        try:
            self.share.resize(self.taken_bytes + wanted_bytes, what=what)
        except Quota:
            if not self.has_caught_up:
                raise Behind from None
            self.payloads.compact()
            # A stream goes on where as much leaves as comes.
            gone = going()
            growth = coming.taken - gone if coming.payload > gone else 0
            self.share.resize(self.taken_bytes + growth, what=what)

    def account(self) -> None:
        """Bring ``share`` to what is held now, and is on its way."""
        self.share.settle(self.taken_bytes + self._ahead.coming.taken)

    def refuse_beyond_budget(self) -> None:
        """Quota if more is taken of the budget than there is, and nothing here can be let go of.

        For a replay, whose changes were admitted by another process.
        """
        if self.share.budget.is_exceeded:
            self.payloads.compact()
            self.account()
            self.share.budget.refuse_excess("metadata, ids and texts of this window take")

    # -- apply --------------------------------------------------------------------------------

    def apply(self, change: Change) -> None:
        """Make an admitted change visible. Never refuses; in order of versions, each once."""
        match change:
            case AddChange():
                self._apply_add(change)
            case DeleteChange():
                slots = self.ring.slots(change.seqs)
                self.standing.note_gone(slots)
                self._kill(slots)
                self.deleted += len(slots)
            case UpdateChange():
                slots = self.ring.slots(change.seqs)
                self.columns.clear(slots)
                self.payloads.clear(slots)
                self.columns.write(slots, change.columns)
                self.payloads.write(slots, change.payloads)
                self.standing.note_updated(change.seqs)
                self._note_update(slots, change.version)
            case ExpireChange():
                slots = self.ring.live_slots(self.first_seq, change.first_seq - 1)
                self._kill(slots)
                self.ring.expire(change.first_seq)
                self.expired += len(slots)
        self.version = change.version
        self._ahead.applied(change.version)
        self.account()

    def replay(self, change: Change | KeptRows) -> None:
        """Take in what a log holds next, and was not admitted here; see ``replay``."""
        replay(self, change)

    def _apply_add(self, change: AddChange) -> None:
        left = append(self.ring, self.ids, self.times_us, change)
        self.standing.note_gone(left.replaced)
        self._forget(left.evicted)
        self._forget(left.replaced)
        self.evicted += len(left.evicted)
        self.replaced += len(left.replaced)
        if change.columns or change.payloads or self.columns.types or self._last_update:
            slots = self.ring.slots_of(change.first_seq, len(change.vectors))
            self.columns.write(slots, change.columns)
            self.payloads.write(slots, change.payloads)
            if self._last_update:
                self._update_versions[slots] = 0

    def _note_update(self, slots: I64, version: int) -> None:
        if not self._last_update:
            self._update_versions = np.zeros(self.definition.capacity, np.uint64)
        self._update_versions[slots] = version
        self._last_update = version

    def _kill(self, slots: I64) -> None:
        if len(slots):
            self.ring.kill(slots)
            self.ids.release(slots)
            self._forget(slots)

    def _forget(self, slots: I64) -> None:
        """Drop the metadata of rows that died."""
        if len(slots):
            self.columns.clear(slots)
            self.payloads.clear(slots)

    def rewind(self, checkpoint: Checkpoint) -> None:
        """Forget what was admitted behind ``checkpoint``, where the window stands."""
        assert checkpoint.version == self.version, "something behind the checkpoint is applied"
        self.admission.resume(checkpoint)
        self._ahead.clear()
        self.account()

    # -- read ---------------------------------------------------------------------------------

    def search(self, queries: list[Query]) -> list[Answer | OmenError]:
        """Exact top-k of every query, in one scan; an error in the place of a bad one."""
        return search(self, queries)

    def search_all(self, vectors: F32, k: I64) -> Answer:
        """Exact top-k of all live rows for many vectors; see ``query.search_all``."""
        return search_all(self, vectors, k)

    def count(self, filter_: Filter | None = None) -> int:
        """How many live rows pass the filter."""
        if filter_ is None:
            return self.rows
        words = self.masks.words(filter_) & self.ring.live_words
        return int(np.bitwise_count(words).sum())

    def get(self, ids: Ids, include: Include) -> tuple[Bool1, Hits]:
        """Which of ``ids`` are there, bool (n,), and those rows, in order (copies)."""
        slots = self.ids.find(ids)
        found = slots >= 0
        return found, self.hits(slots[found], include)

    def read(
        self,
        from_seq: int,
        max_rows: int,
        max_payload_bytes: int,
        filter_: Filter | None = None,
        include: Include = NOTHING,
    ) -> tuple[Hits, int]:
        """Live rows from ``from_seq`` (≥ first_seq) on, in seq order, and how far that got.

        At most ``max_rows`` rows and, beyond the first, ``max_payload_bytes`` of payloads where
        metadata is included. Every row up to the returned seq was looked at.
        """
        to_seq = min(self.last_seq, from_seq + READ_SPAN_ROWS - 1)
        slots = self.ring.live_slots(from_seq, to_seq)
        if filter_ is not None:
            slots = slots[evaluate(filter_, self.columns, slots)]
        keep = min(len(slots), max_rows)
        if include.metadata and keep:
            sizes = np.cumsum(self.payloads.sizes(slots[:keep]))
            keep = max(1, int(np.searchsorted(sizes, max_payload_bytes, side="right")))
        if keep < len(slots):
            slots = slots[:keep]
            to_seq = int(self.ring.seqs(slots[-1:])[0])
        return self.hits(slots, include), to_seq

    def updated_after(self, version: int) -> bool:
        """Whether the metadata of any row was updated after ``version``."""
        return self._last_update > version

    def update_versions(self, seqs: U64) -> U64:
        """When the metadata of each of these live rows was last updated; 0: never."""
        if not self._last_update:
            return np.zeros(len(seqs), np.uint64)
        return self._update_versions[self.ring.slots(seqs)]

    def hits(self, slots: I64, include: Include) -> Hits:
        """The rows in ``slots`` as an answer holds them, unscored (copies)."""
        return Hits(
            ids=self.ids.of(slots),
            seqs=self.ring.seqs(slots),
            metadata=self.metadata(slots) if include.metadata else None,
            vectors=self.ring.vectors[slots] if include.vector else None,
        )

    def metadata(self, slots: I64) -> list[bytes | dict[str, Any]]:
        """Each row's metadata: the payload as it came, or an object of its non-null columns."""
        found: list[bytes | dict[str, Any]] = []
        payloads = self.payloads.of(slots)
        bare = [place for place, payload in enumerate(payloads) if payload is None]
        found.extend(payload if payload is not None else {} for payload in payloads)
        if bare and self.definition.columns:
            for place, made in zip(bare, self.columns.objects(slots[bare]), strict=True):
                found[place] = made
        return found

    def check(self) -> None:
        """Verify every invariant of the window and its parts; AssertionError names the broken."""
        self.ring.check()
        self.ids.check()
        self.columns.check()
        self.masks.check(self.ring.live_words)
        self.payloads.check()
        assert self.version == self.admission.version, "admitted but not applied"
        assert self.last_seq == self.admission.last_seq, "seqs admitted but not applied"
        live = self.ring.live_slots(self.first_seq, self.last_seq)
        assert len(live) == self.rows, "live rows outside first_seq … last_seq"
        assert bool((self.ids.find(self.ids.of(live)) == live).all()), "an id finds another row"
        assert bool((np.diff(self.times_us[live]) >= 0).all()), "acceptance times decrease"
        dead = np.setdiff1d(np.arange(self.definition.capacity), live)
        assert not any(self.payloads.of(dead)), "a dead row keeps its payload"


def reserved_bytes(definition: Definition, scan: Scan) -> int:
    """What a window of this definition takes, payloads not counted, in bytes."""
    shadowed = has_shadow(scan, definition)
    return (
        Ring.bytes_for(definition.capacity, definition.dim, has_shadow=shadowed)
        + ids_bytes_for(definition.ids, definition.capacity)
        + Columns.bytes_for(definition.columns, definition.capacity)
        + (MaskCache.bytes_for(definition.capacity) if definition.columns else 0)
        + (8 + 8) * definition.capacity  # times; versions of updates, once there are any
    )
