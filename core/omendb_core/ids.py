"""Which live row has an id: nothing for ``auto``, ``u64_ids`` for ``u64``, a dict for ``str``.

Knows the ring's seqs, slots and live bits; nothing of vectors, metadata or changes. At most one
live row has an id; whoever adds a row kills the one it replaces first.

Invariants (``check``): every live row is found by its id; str ids are held for live rows only.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from . import native, u64_ids
from .errors import BadId
from .ring import Ring
from .types import I64, U64, IdKind, Ids
from .u64_ids import TableIds, TwoTableIds, numbers

#: Reserved for each row with a string id, its text not counted: the slot's reference (8), the
#: dict's entry and its share of the hash index at the loosest a dict gets (120), the dict's integer
#: (32) and the header of a bytes object, rounded up by the allocator (48).
_STR_BYTES_PER_ROW: Final = 208


class RowIds(Protocol):
    """The ids of one window's rows. Built with its ring, and asked while the ring stands still."""

    def find(self, ids: Ids) -> I64:
        """Slots int64 (n,) of the live rows with ``ids``; -1 where there is none. Raises BadId."""

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """Name the rows just appended: ``slots`` int64 (n,) of seqs ``first_seq …``.

        ``ids`` are distinct (None for ``auto``); the rows they replace, and those overwritten, were
        killed and released before.
        """

    def resume(self) -> None:
        """The ring, which has no rows, stands at another seq now: a log starts there."""

    def restore(self, slots: I64, ids: Ids) -> None:
        """Name live rows that a log brings late; nobody else has their ids, nor had since."""

    def of(self, slots: I64) -> Ids:
        """Ids of the rows in ``slots``, live ones: a copy, uint64 (n,) or n strings."""

    def release(self, slots: I64) -> None:
        """The rows in ``slots`` died; called before their slots are assigned again."""

    @property
    def nbytes(self) -> int:
        """Bytes reserved, texts of ids not counted."""

    @property
    def payload_bytes(self) -> int:
        """UTF-8 bytes of the string ids of live rows; 0 for other kinds."""

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""


def make_ids(kind: IdKind, ring: Ring) -> RowIds:
    """Build the ids of ``kind`` for the rows of ``ring``."""
    match kind:
        case "auto":
            return AutoIds(ring)
        case "u64":
            return TableIds(ring) if native.is_used else TwoTableIds(ring)
        case "str":
            return StrIds(ring)


def bytes_for(kind: IdKind, capacity: int) -> int:
    """Bytes that the ids of a window reserve, texts of ids not counted."""
    match kind:
        case "auto":
            return 0
        case "u64":
            return (TableIds if native.is_used else TwoTableIds).bytes_for(capacity)
        case "str":
            return _STR_BYTES_PER_ROW * capacity


def first_duplicate(ids: Ids) -> int | None:
    """Index of the first of ``ids`` that was there before; None if they are distinct."""
    return _first_duplicate_text(ids) if isinstance(ids, list) else u64_ids.first_duplicate(ids)


def _first_duplicate_text(ids: list[str]) -> int | None:
    if len(set(ids)) == len(ids):
        return None
    seen: set[str] = set()
    for row, text in enumerate(ids):
        if text in seen:
            return row
        seen.add(text)
    return None


class AutoIds:
    """The id of a row is its seq."""

    nbytes: Final = 0
    payload_bytes: Final = 0

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        seqs = numbers(ids)
        ring = self._ring
        slots = np.full(len(seqs), -1, np.int64)
        inside = np.flatnonzero(
            (seqs >= np.uint64(ring.first_seq)) & (seqs <= np.uint64(ring.last_seq))
        )
        places = ring.slots(seqs[inside])
        slots[inside] = np.where(ring.is_live(places), places, -1)
        return slots

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """Nothing to do: the ring knows the seqs."""

    def resume(self) -> None:
        """Nothing to do: the ring knows the seqs."""

    def restore(self, slots: I64, ids: Ids) -> None:
        """Nothing to do: the ring knows the seqs."""

    def of(self, slots: I64) -> U64:
        """See RowIds."""
        return self._ring.seqs(slots)

    def release(self, slots: I64) -> None:
        """Nothing to do: the ring knows who is live."""

    def check(self) -> None:
        """Nothing that could be wrong."""


class StrIds:
    """String ids: a dict of the live ones, and the text of each live slot, both as UTF-8.

    UTF-8, because a str can take four times as much memory as its text has bytes.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._texts: list[bytes | None] = [None] * ring.capacity
        self._slots: dict[bytes, int] = {}
        self._text_bytes = 0

    @property
    def nbytes(self) -> int:
        """See RowIds."""
        return bytes_for("str", self._ring.capacity)

    @property
    def payload_bytes(self) -> int:
        """See RowIds."""
        return self._text_bytes

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        get = self._slots.get
        slots = np.array([get(text, -1) for text in _texts(ids)], np.int64)
        slots[~self._ring.is_live(slots)] = -1
        return slots

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """See RowIds."""
        if ids is None:
            raise BadId("ids of this collection are given with the rows")
        for slot, text in zip(slots.tolist(), _texts(ids), strict=True):
            self._texts[slot] = text
            self._slots[text] = slot
            self._text_bytes += len(text)

    def resume(self) -> None:
        """Nothing to do: no row has an id yet."""

    def restore(self, slots: I64, ids: Ids) -> None:
        """See RowIds."""
        self.assign(slots, 0, ids)

    def of(self, slots: I64) -> list[str]:
        """See RowIds."""
        texts = self._texts
        return [(texts[slot] or b"").decode() for slot in slots.tolist()]

    def release(self, slots: I64) -> None:
        """See RowIds."""
        for slot in slots.tolist():
            text = self._texts[slot]
            if text is not None:
                self._texts[slot] = None
                del self._slots[text]
                self._text_bytes -= len(text)

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        ring = self._ring
        live = ring.live_slots(ring.first_seq, ring.last_seq).tolist()
        held = {slot: text for slot, text in enumerate(self._texts) if text is not None}
        assert sorted(held) == sorted(live), "ids are held for other rows than the live ones"
        assert self._slots == {text: slot for slot, text in held.items()}, "dict and slots differ"
        assert self._text_bytes == sum(map(len, held.values())), "text bytes are miscounted"


def _texts(ids: Ids) -> list[bytes]:
    if not isinstance(ids, list):
        raise BadId("ids of this collection are strings, not numbers")
    return [text.encode() for text in ids]
