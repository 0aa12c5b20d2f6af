"""Ids that live queries leave out, by handle.

An id is left out whoever has it: rows that come later too. So every row that is about to enter a
list is looked up here, and almost none is found: a table of counts by hash answers for all of them
in one step, and only what it does not rule out is looked for in the ids of the one query.

Knows ids and handles; nothing of rows but their ids. Invariant (``check``): the table counts
exactly the ids that are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof
from typing import Final, TypeAlias

import numpy as np

from ..model.types import I64, U32, U64, Bool1, Ids

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
#: To look for the row of one id: 10,000 texts of 110 characters took 4.7 ms, numbers 0.1.
_TEXT_NS: Final = 470.0
_NUMBER_NS: Final = 10.0


class Exclusions:
    """The ids that each query leaves out. Empty it takes nothing, and asks nothing of rows."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
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
        self._drop(handle)
        kept = _kept_of(ids)
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

    def look_up_ns(self, handle: int) -> float:
        """How long it takes to look for the rows that have the ids of a query."""
        kept = self._kept.get(handle, _NONE_KEPT)
        return len(kept) * (_TEXT_NS if isinstance(kept, frozenset) else _NUMBER_NS)

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
        numbers = ids if isinstance(ids, np.ndarray) else _hashes(ids)
        shift = np.uint64(65 - len(self._counts).bit_length())
        places: I64 = ((numbers * _SPREAD) >> shift).view(np.int64)
        return places


def _kept_of(ids: Ids | None) -> _Kept:
    if ids is None:
        return _NONE_KEPT
    return np.unique(ids) if isinstance(ids, np.ndarray) else frozenset(ids)


def _kept_bytes(ids: Ids | _Kept) -> int:
    if isinstance(ids, np.ndarray):
        return _QUERY_BYTES + ids.nbytes
    return _QUERY_BYTES + sum(map(getsizeof, ids)) + _ENTRY_BYTES * len(ids)


def _hashes(texts: Iterable[str]) -> U64:
    return np.array([hash(text) for text in texts], np.int64).view(np.uint64)
