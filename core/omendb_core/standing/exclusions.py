"""Ids that live queries leave out, by handle.

An id is left out whoever has it: rows that come later too. So every row that is about to enter a
list is looked up here, and almost none is found: a table of counts by hash answers for all of them
in one step, and only what it does not rule out is looked for in the ids of the one query.

Where lists are made anew the rows are sought that have the ids of a query now. That texts are
where they were found before is known by the rows' seqs, so that they are not compared again.

Knows ids and handles; nothing of rows but their ids. Invariant (``check``): the table counts
exactly the ids that are kept.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Final, TypeAlias

import numpy as np

from ..model.types import I64, U32, U64, Bool1, Ids
from ..rows.ids import KnownTexts, RowIds, StrIds, keys_of

#: Ids of one query: numbers sorted, texts as a set.
_Kept: TypeAlias = "U64 | frozenset[str]"
#: An odd number without a pattern (Knuth's, of the golden ratio) spreads ids over the table.
_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_LEAST_BITS: Final = 6
_NONE_KEPT: Final[_Kept] = frozenset()
#: What CPython and numpy take for the ids of a query besides the ids: the object, its entry.
_QUERY_BYTES: Final = 320
#: What a text takes besides itself in a set at its loosest.
_ENTRY_BYTES: Final = 64
#: Counts by hash that an id takes at most, before the table shrinks; two at least.
_COUNTS_PER_ID: Final = 8
#: To look for the row of one id: 10,000 texts of 110 characters took 4.7 ms, numbers 0.1; and to
#: see that a text is where it was.
_TEXT_NS: Final = 470.0
_NUMBER_NS: Final = 10.0
_KNOWN_TEXT_NS: Final = 20.0


class Exclusions:
    """The ids that each query leaves out. Empty it takes nothing, and asks nothing of rows."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        #: What is known of texts, and the window's last seq when they were last looked for.
        self._known: dict[int, tuple[KnownTexts, int]] = {}
        self._total = 0
        self._counts: U32 = np.zeros(0, np.uint32)
        self._bytes = 0

    def __len__(self) -> int:
        """How many queries leave something out."""
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return self._bytes + self._counts.nbytes

    @staticmethod
    def bytes_for(ids: Ids | None) -> int:
        """Bytes that the exclusions of one query take."""
        if ids is None or not len(ids):
            return 0
        return _kept_bytes(ids) + 4 * _COUNTS_PER_ID * len(ids)

    def put(self, handle: int, ids: Ids | None) -> None:
        """Leave out ``ids`` for a query from now on, and no others."""
        kept = _kept_of(ids)
        if _are_same(kept, self._kept.get(handle, _NONE_KEPT)):
            return  # what is known of them is
        self._drop(handle)
        if not len(kept):
            return
        self._kept[handle] = kept
        self._total += len(kept)
        self._bytes += _kept_bytes(kept)
        if 2 * self._total > len(self._counts):
            self._resize()
        else:
            np.add.at(self._counts, self._places(kept), np.uint32(1))

    def of(self, handle: int) -> Ids | None:
        """The ids that a query leaves out, distinct; None if there are none."""
        kept = self._kept.get(handle)
        if kept is None:
            return None
        return list(kept) if isinstance(kept, frozenset) else kept

    def slots(self, handle: int, ids: RowIds, last_seq: int) -> I64:
        """Slots int64 (n,) of the live rows that a query leaves out; ``last_seq``: the window's."""
        kept = self._kept.get(handle, _NONE_KEPT)
        if isinstance(kept, frozenset):
            if not kept:
                return np.empty(0, np.int64)
            assert isinstance(ids, StrIds), "texts are not the ids of these rows"
            known = self._known[handle][0] if handle in self._known else KnownTexts(kept)
            slots = ids.find_again(known)
            self._known[handle] = known, last_seq
        else:
            slots = ids.find(kept)
        return slots[slots >= 0]

    def look_up_ns(self, handle: int, last_seq: int) -> float:
        """How long ``slots`` takes for a query, at most."""
        kept = self._kept.get(handle, _NONE_KEPT)
        if not isinstance(kept, frozenset):
            return len(kept) * _NUMBER_NS
        fresh = len(kept)
        if handle in self._known:  # rows that came since may have ids that were not there
            fresh = min(fresh, last_seq - self._known[handle][1])
        return len(kept) * _KNOWN_TEXT_NS + fresh * _TEXT_NS

    def leave_out(self, handles: I64, ids: Ids) -> Bool1:
        """Whether the query ``handles[i]`` leaves out the row that has the id ``ids[i]``."""
        left_out = np.zeros(len(handles), np.bool_)
        maybe = self._counts[self._places(ids)] > 0
        for place in np.flatnonzero(maybe).tolist():
            kept = self._kept.get(int(handles[place]), _NONE_KEPT)
            id_ = ids[place]
            if isinstance(kept, frozenset):
                left_out[place] = id_ in kept
            else:
                at = int(kept.searchsorted(id_))
                left_out[place] = at < len(kept) and kept[at] == id_
        return left_out

    def check(self) -> None:
        """Raise AssertionError if the invariant does not hold."""
        counts = np.zeros_like(self._counts)
        for kept in self._kept.values():
            np.add.at(counts, self._places(kept), np.uint32(1))
        assert np.array_equal(counts, self._counts), "ids that are left out are miscounted"
        assert self._total == sum(map(len, self._kept.values())), "so is their number"
        assert self._bytes == sum(map(_kept_bytes, self._kept.values())), "so are their bytes"

    def _drop(self, handle: int) -> None:
        kept = self._kept.pop(handle, None)
        self._known.pop(handle, None)
        if kept is None:
            return
        self._total -= len(kept)
        self._bytes -= _kept_bytes(kept)
        if _COUNTS_PER_ID * self._total < len(self._counts):
            self._resize()
        else:
            np.subtract.at(self._counts, self._places(kept), np.uint32(1))

    def _resize(self) -> None:
        bits = max(_LEAST_BITS, (2 * self._total).bit_length())
        self._counts = np.zeros(1 << bits if self._total else 0, np.uint32)
        for kept in self._kept.values():
            np.add.at(self._counts, self._places(kept), np.uint32(1))

    def _places(self, ids: Ids | _Kept) -> I64:
        """Where the table counts each of these ids."""
        numbers = ids if isinstance(ids, np.ndarray) else keys_of(ids)
        shift = np.uint64(65 - len(self._counts).bit_length())
        places: I64 = ((numbers * _SPREAD) >> shift).view(np.int64)
        return places


def _kept_of(ids: Ids | None) -> _Kept:
    if ids is None:
        return _NONE_KEPT
    return np.unique(ids) if isinstance(ids, np.ndarray) else frozenset(ids)


def _are_same(kept: _Kept, other: _Kept) -> bool:
    if isinstance(kept, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(kept, other)
    return isinstance(kept, frozenset) and isinstance(other, frozenset) and kept == other


def _kept_bytes(ids: Ids | _Kept) -> int:
    if isinstance(ids, np.ndarray):
        return _QUERY_BYTES + ids.nbytes
    text_bytes = _ENTRY_BYTES + KnownTexts.TEXT_BYTES
    return _QUERY_BYTES + sum(map(getsizeof, ids)) + text_bytes * len(ids)
