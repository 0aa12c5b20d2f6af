"""Which live row has an id: nothing at all for ``auto``, two hash tables for ``u64``, a dict for
``str``.

Knows the ring's seqs, slots and live bits; nothing of vectors, metadata or changes. At most one
live row has an id; whoever adds a row kills the one it replaces first.

u64 ids take no Python per row. Two open-addressing tables stand for two laps of the ring, entries
are ``slot + 1`` and the key is read from the key of that slot. The argument (DESIGN "Ids"):

* Within a lap no slot is overwritten, so the keys behind the table of the current lap are intact,
  and an id has one entry there, moved in place when the id comes again.
* A live row of the lap before has a slot that is not overwritten. Entries of that table whose slot
  *is* overwritten are never removed, so its chains never break; they can only match an id that the
  current lap holds, and that table is asked first.
* When a lap begins, all rows of the lap before the last are overwritten, and their table is cleared
  whole. So nothing is ever deleted from a table, and no table holds more than ``capacity`` entries.

Invariants (``check``): every live row is found by its id; a table holds an id once; str ids are
held for live rows only.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final, Protocol

import numpy as np

from .errors import BadId
from .ring import Ring
from .types import I64, U32, U64, IdKind, Ids

_LOW_32: Final = np.uint64(2**32 - 1)
_HALF: Final = np.uint64(32)

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
            return U64Ids(ring)
        case "str":
            return StrIds(ring)


def bytes_for(kind: IdKind, capacity: int) -> int:
    """Bytes that the ids of a window reserve, texts of ids not counted."""
    match kind:
        case "auto":
            return 0
        case "u64":
            return 8 * (capacity + 1) + 2 * 4 * _table_size(capacity)
        case "str":
            return _STR_BYTES_PER_ROW * capacity


def first_duplicate(ids: Ids) -> int | None:
    """Index of the first of ``ids`` that was there before; None if they are distinct."""
    if isinstance(ids, list):
        return _first_duplicate_text(ids)
    in_order = np.sort(ids)
    if not (in_order[1:] == in_order[:-1]).any():
        return None
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    return int(order[1:][in_order[1:] == in_order[:-1]].min())


def _first_duplicate_text(ids: list[str]) -> int | None:
    if len(set(ids)) == len(ids):
        return None
    seen: set[str] = set()
    for row, text in enumerate(ids):
        if text in seen:
            return row
        seen.add(text)
    return None


def _numbers(ids: Ids) -> U64:
    if isinstance(ids, list):
        raise BadId("ids of this collection are numbers, not strings")
    return ids


class AutoIds:
    """The id of a row is its seq."""

    nbytes: Final = 0
    payload_bytes: Final = 0

    def __init__(self, ring: Ring) -> None:
        self._ring = ring

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        seqs = _numbers(ids)
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


class U64Ids:
    """u64 ids in two tables, as the module's docstring says; 28 bytes a row."""

    payload_bytes: Final = 0

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        #: The id of slot s stands at s + 1, so that a table's entry is its index; 0 is no slot.
        self._keys: U64 = np.zeros(ring.capacity + 1, np.uint64)
        #: The newest lap that has rows, from 0; its table is ``_tables[lap % 2]``.
        self._lap = 0
        self._hash = _Hash(_table_size(ring.capacity))
        self._tables: list[U32] = [np.zeros(self._hash.size, np.uint32) for _ in range(2)]

    @property
    def nbytes(self) -> int:
        """See RowIds."""
        return bytes_for("u64", self._ring.capacity)

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        keys = _numbers(ids)
        places, steps = self._hash(keys)
        entries = self._probe(self._tables[self._lap & 1], keys, places, steps)
        older = np.flatnonzero(entries == 0)
        if len(older):
            entries[older] = self._probe(
                self._tables[self._lap & 1 ^ 1], keys[older], places[older], steps[older]
            )
        slots = entries.astype(np.int64) - 1
        # Slot -1 asks for a bit that exists, and whatever it says, the answer is -1.
        slots[~self._ring.is_live(slots)] = -1
        return slots

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """See RowIds."""
        if ids is None:
            raise BadId("ids of this collection are given with the rows")
        keys = _numbers(ids)
        capacity = self._ring.capacity
        start = (first_seq - 1) % capacity
        # The keys of the next lap overwrite those that the last rows of this one are told by:
        # first all of this lap, then the next.
        count = min(len(keys), capacity - start)
        self._enter((first_seq - 1) // capacity, slots[:count], keys[:count])
        if count < len(keys):
            self._enter((first_seq - 1) // capacity + 1, slots[count:], keys[count:])

    def resume(self) -> None:
        """See RowIds."""
        self._lap = max(0, self._ring.last_seq - 1) // self._ring.capacity

    def restore(self, slots: I64, ids: Ids) -> None:
        """See RowIds. Each row goes into the table of its lap."""
        keys = _numbers(ids)
        self._keys[slots + 1] = keys
        first_of_lap = np.uint64(self._lap * self._ring.capacity + 1)
        is_current = self._ring.seqs(slots) >= first_of_lap
        for lap, rows in ((self._lap, is_current), (self._lap - 1, ~is_current)):
            self._insert(self._tables[lap & 1], keys[rows], (slots[rows] + 1).astype(np.uint32))

    def of(self, slots: I64) -> U64:
        """See RowIds."""
        return self._keys[slots + 1]

    def release(self, slots: I64) -> None:
        """Nothing to do: the ring knows who is live."""

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        ring = self._ring
        live = ring.live_slots(ring.first_seq, ring.last_seq)
        ids = self.of(live)
        assert first_duplicate(ids) is None, "an id has two live rows"
        assert (self.find(ids) == live).all(), "a live row is not found by its id"
        current = self._tables[self._lap & 1]
        entries = current[current > 0]
        assert first_duplicate(self._keys[entries]) is None, "an id stands twice in a table"
        assert len(entries) <= ring.capacity, "a table holds more entries than slots"

    def _enter(self, lap: int, slots: I64, keys: U64) -> None:
        """Enter rows of one lap: consecutive ``slots`` and their distinct ``keys``."""
        if lap != self._lap:
            self._tables[lap & 1].fill(0)
            self._lap = lap
        first = int(slots[0]) + 1
        self._keys[first : first + len(keys)] = keys
        self._insert(self._tables[lap & 1], keys, (slots + 1).astype(np.uint32))

    def _probe(self, table: U32, keys: U64, places: I64, steps: I64) -> U32:
        """Entries uint32 (n,) of ``keys`` in ``table``, 0 where absent. One round a chain link."""
        entries = table[places]
        going = np.flatnonzero((self._keys[entries] != keys) & (entries != 0))
        if not len(going):
            return entries
        keys, places, steps = keys[going], places[going], steps[going]
        while True:
            places = self._hash.next(places, steps)
            found = table[places]
            entries[going] = found
            more = np.flatnonzero((self._keys[found] != keys) & (found != 0))
            if not len(more):
                return entries
            going, keys, places, steps = going[more], keys[more], places[more], steps[more]

    def _insert(self, table: U32, keys: U64, entries: U32) -> None:
        """Enter distinct ``keys``, or move their entries. Of rows that meet at one free place one
        stays, the others go on: to them it is taken."""
        places, steps = self._hash(keys)
        while True:
            found = table[places]
            here = (found == 0) | (self._keys[found] == keys)
            table[places[here]] = entries[here]
            more = np.flatnonzero(table[places] != entries)
            if not len(more):
                return
            keys, entries, steps = keys[more], entries[more], steps[more]
            places = self._hash.next(places[more], steps)


class _Hash:
    """Double hashing into a table of a prime ``size``, salted: any step reaches every place.

    Multipliers and salt are random for each process, so no choice of keys collides on purpose; the
    answers do not depend on them.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._salt = np.uint64(secrets.randbits(64))
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(2)]

    def __call__(self, keys: U64) -> tuple[I64, I64]:
        """First places (0 … size - 1) and steps (1 … size - 1) of ``keys``."""
        mixed = keys ^ self._salt
        for factor in self._factors:
            # Wraps: a multiplication carries low bits up, the shift brings high bits down.
            mixed *= factor
            mixed ^= mixed >> _HALF
        places = (mixed >> _HALF) * np.uint64(self.size) >> _HALF
        steps = ((mixed & _LOW_32) * np.uint64(self.size - 1) >> _HALF) + np.uint64(1)
        return places.view(np.int64), steps.view(np.int64)

    def next(self, places: I64, steps: I64) -> I64:
        """The places after ``places``."""
        places = places + steps
        places -= self.size * (places >= self.size)
        return places


@lru_cache
def _table_size(capacity: int) -> int:
    """Return the largest prime ≤ 5/2 capacity, at least 2: tables are at most 2/5 full (or 1/2).

    Measured in batches of 1,024: fuller tables lose more to long chains than emptier ones to
    memory, and with the keys this is 28 bytes a row.
    """
    size = max(2, capacity * 5 // 2)
    while any(size % factor == 0 for factor in range(2, int(size**0.5) + 1)):
        size -= 1
    return size


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
