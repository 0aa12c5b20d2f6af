"""Which live row has a u64 id, without Python per row: ``ids.RowIds`` twice, in C and in numpy.

Knows the ring's seqs, slots and live bits. Both are salted with numbers that are random for each
process or table, so that no choice of ids collides on purpose; answers do not depend on them.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Final

import numpy as np

from .. import native
from ..model.errors import BadId
from ..model.types import I64, U32, U64, Ids
from .memory import Untouched
from .ring import Ring

_LOW_32: Final = np.uint64(2**32 - 1)
_HALF: Final = np.uint64(32)


def numbers(ids: Ids) -> U64:
    """``ids`` if they are numbers. Raises BadId."""
    if isinstance(ids, list):
        raise BadId("ids of this collection are numbers, not strings")
    return ids


def given(ids: Ids | None) -> U64:
    """``ids`` of rows if there are any, and they are numbers. Raises BadId."""
    if ids is None:
        raise BadId("ids of this collection are given with the rows")
    return numbers(ids)


def first_duplicate(ids: U64) -> int | None:
    """Index of the first of ``ids`` that was there before; None if they are distinct."""
    if native.is_used:
        row = native.compiled.first_duplicate(native.readable(ids), _SALTS)
        return None if row < 0 else row
    in_order = np.sort(ids)
    if not (in_order[1:] == in_order[:-1]).any():
        return None
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    return int(order[1:][in_order[1:] == in_order[:-1]].min())


def _random_salts() -> U64:
    return np.array([secrets.randbits(64) for _ in range(3)], np.uint64)


_SALTS: Final = _random_salts()


class TableIds:
    """u64 ids in C, in one table of exactly the live rows (``native/id_table.h``); 24 bytes a row.

    Rows are taken out as they die, so nothing is ever cleared whole, which takes 10 ms a lap of
    ten million rows. ``arrays`` (keys, places, salts) are what ``native`` calls a table.

    Invariants (``check``): the table holds each live row once, and nothing else.
    """

    payload_bytes: Final = 0
    text_bytes: Final = 0

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._keys: U64 = np.zeros(ring.capacity, np.uint64)
        self._places: U32 = np.zeros(_place_count(ring.capacity), np.uint32)
        self.arrays = (self._keys, self._places, _random_salts())
        self.untouched = Untouched(self._places)

    @property
    def nbytes(self) -> int:
        """See RowIds."""
        return self.bytes_for(self._ring.capacity)

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """Bytes that the ids of such a window reserve."""
        return 8 * capacity + 4 * _place_count(capacity)

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        keys = native.readable(numbers(ids))
        slots = np.empty(len(keys), np.int64)
        native.compiled.ids_find(self.arrays, keys, slots)
        return slots

    def assign(self, slots: I64, first_seq: int, ids: Ids | None) -> None:
        """See RowIds."""
        self.restore(slots, given(ids))

    def resume(self) -> None:
        """Nothing to do: no row has an id yet."""

    def restore(self, slots: I64, ids: Ids) -> None:
        """See RowIds."""
        keys = native.readable(numbers(ids))
        native.compiled.ids_enter(self.arrays, keys, slots, np.empty(len(keys), np.int64))

    def of(self, slots: I64) -> U64:
        """See RowIds."""
        return self._keys[slots]

    def release(self, slots: I64) -> None:
        """See RowIds."""
        native.compiled.ids_remove(self.arrays, slots)

    def growth(self, payload_bytes: int, count: int) -> int:
        """See RowIds."""
        return 0

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        ring = self._ring
        live = ring.live_slots(ring.first_seq, ring.last_seq)
        held = np.sort(self._places[self._places > 0].astype(np.int64) - 1)
        assert np.array_equal(held, np.sort(live)), "the table does not hold the live rows"
        ids = self.of(live)
        assert first_duplicate(ids) is None, "an id has two live rows"
        assert (self.find(ids) == live).all(), "a live row is not found by its id"


def _place_count(capacity: int) -> int:
    """Places of a table: at most a quarter is taken, so that little follows what is taken out.

    A row out and a row in, by places a row, in windows of 100,000 and of a million rows: with 2.5,
    40 and 75 ns; with 4, 26 and 53 ns (``id_table.c`` in batches of 256).
    """
    return 4 * capacity


class TwoTableIds:
    """u64 ids in numpy, in two tables; 28 bytes a row.

    Two open-addressing tables stand for two laps of the ring, entries are ``slot + 1`` and the key
    is read from the key of that slot:

    * Within a lap no slot is overwritten, so the keys behind the table of the current lap are
      intact, and an id has one entry there, moved in place when the id comes again.
    * A live row of the lap before has a slot that is not overwritten. Entries of that table whose
      slot *is* overwritten are never removed, so its chains never break; they can only match an id
      that the current lap holds, and that table is asked first.
    * When a lap begins, all rows of the lap before the last are overwritten, and their table is
      cleared whole. So nothing is ever deleted from a table, which numpy could not do for many rows
      at once, and no table holds more than ``capacity`` entries.

    Invariants (``check``): every live row is found by its id; a table holds an id once.
    """

    payload_bytes: Final = 0
    text_bytes: Final = 0

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        #: The id of slot s stands at s + 1, so that a table's entry is its index; 0 is no slot.
        self._keys: U64 = np.zeros(ring.capacity + 1, np.uint64)
        #: The newest lap that has rows, from 0; its table is ``_tables[lap % 2]``.
        self._lap = 0
        self._hash = _Hash(_prime_size(ring.capacity))
        self._tables: list[U32] = [np.zeros(self._hash.size, np.uint32) for _ in range(2)]
        self.untouched = Untouched(self._tables[0])

    @property
    def nbytes(self) -> int:
        """See RowIds."""
        return self.bytes_for(self._ring.capacity)

    @staticmethod
    def bytes_for(capacity: int) -> int:
        """Bytes that the ids of such a window reserve."""
        return 8 * (capacity + 1) + 2 * 4 * _prime_size(capacity)

    def find(self, ids: Ids) -> I64:
        """See RowIds."""
        keys = numbers(ids)
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
        keys = given(ids)
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
        keys = numbers(ids)
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

    def growth(self, payload_bytes: int, count: int) -> int:
        """See RowIds."""
        return 0

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
def _prime_size(capacity: int) -> int:
    """Return the largest prime ≤ 5/2 capacity, at least 2: tables are at most 2/5 full (or 1/2).

    Measured in batches of 1,024: fuller tables lose more to long chains than emptier ones to
    memory, and with the keys this is 28 bytes a row.
    """
    size = max(2, capacity * 5 // 2)
    while any(size % factor == 0 for factor in range(2, int(size**0.5) + 1)):
        size -= 1
    return size
