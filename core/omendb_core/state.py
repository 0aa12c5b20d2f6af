"""What a window holds, under one version: the parts that say what is live, and how they are read.

Searches, standing queries and admission read it; only ``Window.apply`` and ``replay`` write. Knows
nothing of them, so that each may hold it without a circle: a window goes with its last reference.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .filters.mask_cache import MaskCache
from .filters.masks import evaluate
from .filters.parser import Filter
from .model.types import I64, U64, Bool1, Definition, Hits, Ids, Include
from .rows.columns import Columns
from .rows.extremes import Extremes
from .rows.ids import bytes_for as ids_bytes_for
from .rows.ids import make_ids
from .rows.payloads import Payloads
from .rows.ring import Ring
from .scan.choice import has_shadow, shadow_for
from .scan.interface import Scan

NOTHING: Final = Include()
#: How many seqs one step of ``read`` looks at: bounds the work of a filter that passes few rows.
READ_SPAN_ROWS: Final = 16_384


class WindowState:
    """The parts of a window. ``version`` is that of the last change applied.

    ``times_us`` int64 (capacity,): when the row of each slot was accepted; they never decrease
    along the seqs of the window. ``evicted``, ``expired``, ``replaced`` and ``deleted`` count the
    rows that left, by reason.
    """

    def __init__(self, definition: Definition, scan: Scan) -> None:
        self.definition = definition
        self.scan = scan
        self.ring = Ring(definition.capacity, definition.dim, shadow_for(scan, definition))
        self.ids = make_ids(definition.ids, self.ring)
        self.columns = Columns(definition.columns, definition.capacity)
        self.masks = MaskCache(self.columns)
        self.extremes = Extremes(self.columns)
        self.payloads = Payloads(definition.capacity)
        self.times_us: I64 = np.zeros(definition.capacity, np.int64)
        self.version = 0
        self._last_update = 0
        self._update_versions: U64 = np.zeros(0, np.uint64)
        self.evicted = self.expired = self.replaced = self.deleted = 0
        self.reserved_bytes = reserved_bytes(definition, scan)

    # -- how much there is --------------------------------------------------------------------

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
    def payload_bytes(self) -> int:
        """Bytes of metadata, string ids and dictionaries now."""
        return self.payloads.payload_bytes + self.ids.payload_bytes + self.columns.payload_bytes

    @property
    def taken_bytes(self) -> int:
        """Bytes that all of it takes: what is reserved, and what hangs on rows."""
        return (
            self.reserved_bytes
            + self.payloads.nbytes
            + self.ids.text_bytes
            + self.columns.taken_bytes
        )

    @property
    def oldest_time_us(self) -> int | None:
        """When the oldest live row was accepted; None if there is none."""
        slot = self.ring.oldest_live()
        return None if slot is None else int(self.times_us[slot])

    def first_seq_after(self, time_us: int) -> int:
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

    # -- rows ---------------------------------------------------------------------------------

    def count(self, filter_: Filter | None = None) -> int:
        """How many live rows pass the filter."""
        if filter_ is None:
            return self.rows
        words = self.masks.words(filter_) & self.ring.live_words
        return int(np.bitwise_count(words).sum())

    def get(self, ids: Ids, include: Include, visible: Filter | None = None) -> tuple[Bool1, Hits]:
        """Which of ``ids`` are there, bool (n,), and those rows, in order (copies).

        Rows that do not pass ``visible`` are not.
        """
        slots = self.ids.find(ids)
        found = slots >= 0
        if visible is not None:
            found[found] = evaluate(visible, self.columns, slots[found])
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

    # -- written by who applies changes -------------------------------------------------------

    def note_update(self, slots: I64, version: int) -> None:
        """The metadata of the rows in ``slots`` was updated by the change ``version``."""
        if not self._last_update:
            self._update_versions = np.zeros(self.definition.capacity, np.uint64)
        self._update_versions[slots] = version
        self._last_update = version

    def note_new(self, slots: I64) -> None:
        """New rows stand in ``slots``: nothing of them was updated."""
        if self._last_update:
            self._update_versions[slots] = 0

    @property
    def keeps_metadata(self) -> bool:
        """Whether a new row's slot may hold something of the row before: columns, or an update."""
        return bool(self.columns.types) or self._last_update > 0

    def check(self) -> None:
        """Verify every invariant of the parts; AssertionError names the broken one."""
        self.ring.check()
        self.ids.check()
        self.columns.check()
        self.masks.check(self.ring.live_words)
        self.extremes.check(self.ring.live_slots(self.first_seq, self.last_seq))
        self.payloads.check()
        live = self.ring.live_slots(self.first_seq, self.last_seq)
        assert len(live) == self.rows, "live rows outside first_seq … last_seq"
        assert bool((self.ids.find(self.ids.of(live)) == live).all()), "an id finds another row"
        self._check_times()
        dead = np.setdiff1d(np.arange(self.definition.capacity), live)
        assert not any(self.payloads.of(dead)), "a dead row keeps its payload"

    def _check_times(self) -> None:
        """Of what a log no longer had when the window was read back, some times are 0."""
        used = self.ring.used
        oldest_first = np.roll(self.times_us[:used], -self.last_seq % used if used else 0)
        before, times = np.split(oldest_first, [used - (self.last_seq - self.first_seq + 1)])
        assert bool((np.diff(times) >= 0).all()), "acceptance times decrease"
        assert not len(times) or bool((before <= times[0]).all()), "an older row is newer"


def reserved_bytes(definition: Definition, scan: Scan) -> int:
    """What a window of this definition takes, payloads not counted, in bytes."""
    shadowed = has_shadow(scan, definition)
    return (
        Ring.bytes_for(definition.capacity, definition.dim, has_shadow=shadowed)
        + ids_bytes_for(definition.ids, definition.capacity)
        + Columns.bytes_for(definition.columns, definition.capacity)
        + Extremes.bytes_for(definition.columns, definition.capacity)
        + (MaskCache.bytes_for(definition.capacity) if definition.columns else 0)
        + (8 + 8) * definition.capacity  # times; versions of updates, once there are any
    )
