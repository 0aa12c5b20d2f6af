"""Many short lists of keys side by side: what standing queries of like depth keep.

Each list is a row of one matrix, sorted ascending with its empty places in front, so that its best
entries are the row's last ones and sorting many lists is one call. Keys are ``keys`` of rows that
go by score, or ``ordered_keys``. Knows keys and rows of its matrix; nothing of vectors, floors or
windows.

Invariants (``check``): rows sorted; ``counts`` is the number of non-empty places; ``oldest`` the
least offset in the list (``NEVER`` if it is empty).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import native
from ..model.types import F32, F64, I64, U64, Bool1
from ..rows.memory import GrowingArray
from . import keys as plain
from . import ordered_keys as ordered

NEVER: Final = np.uint64(2**63)
#: Places for each unit of depth: a list is cut at four, and takes two of one batch besides.
PLACES_PER_K: Final = 6
_FIRST_ROWS: Final = 16
#: Once there are so many, room is made for as many more at a time, and no longer doubled.
_BYTES_AT_ONCE: Final = 1 << 20

#: ``keys.U64``, or ``ordered_keys.C128``.
Keys: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class KeyKind:
    """How keys of one kind are kept, read and sorted."""

    dtype: type[np.generic]
    no_row: np.generic
    offsets_of: Callable[[Keys], U64]
    scores_of: Callable[[Keys], F32]
    rebased: Callable[[Keys, int], Keys]
    #: Stable sorting of complex numbers takes a third of the time where few are out of order.
    sorting: Literal["quicksort", "stable"]

    def none(self, *shape: int) -> Keys:
        """An array of no rows. Zeros take no memory before they are written to."""
        return (
            np.full(shape, self.no_row, self.dtype) if self.no_row else np.zeros(shape, self.dtype)
        )


PLAIN: Final = KeyKind(
    np.uint64, plain.NO_ROW, plain.offsets_of, plain.scores_of, plain.rebased, "quicksort"
)
ORDERED: Final = KeyKind(
    np.complex128,
    ordered.NO_ROW,
    ordered.offsets_of,
    ordered.scores_of,
    ordered.rebased,
    "stable",
)


class Lists:
    """Lists for queries of depth up to ``most_k``. ``published`` holds what each last answered.

    ``keys`` of ``kind`` (rows, 6 most_k), ``counts`` int64 and ``oldest`` uint64 (rows,),
    ``published`` (rows, most_k), sorted as ``keys`` are.
    """

    def __init__(self, most_k: int, kind: KeyKind = PLAIN) -> None:
        self.most_k = most_k
        self.kind = kind
        self.width = PLACES_PER_K * most_k
        self._growing = (
            GrowingArray((self.width,), kind.dtype, kind.no_row),
            GrowingArray((most_k,), kind.dtype, kind.no_row),
            GrowingArray((), np.int64),
            GrowingArray((), np.uint64, NEVER),
        )
        self._free: list[int] = []
        self._fit(0)

    @property
    def is_empty(self) -> bool:
        """Whether no row is taken."""
        return len(self._free) == len(self.counts)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(a.nbytes for a in (self.keys, self.counts, self.oldest, self.published))

    @staticmethod
    def bytes_for(most_k: int, kind: KeyKind = PLAIN) -> int:
        """Bytes that one list takes, while there is no spare room."""
        return np.dtype(kind.dtype).itemsize * (PLACES_PER_K + 1) * most_k + 16

    def take(self, count: int) -> I64:
        """Rows for ``count`` new, empty lists."""
        if len(self._free) < count:
            self._grow(count - len(self._free))
        return np.array([heapq.heappop(self._free) for _ in range(count)], np.int64)

    def give_back(self, rows: I64) -> None:
        """Empty the lists in ``rows``, for others to take."""
        self.keys[rows] = self.kind.no_row
        self.counts[rows] = 0
        self.oldest[rows] = NEVER
        self.published[rows] = self.kind.no_row
        for row in rows.tolist():
            heapq.heappush(self._free, row)

    def replace(self, rows: I64, keys: Keys, starts: I64, counts: I64) -> None:
        """Make ``counts[i]`` of ``keys`` from ``starts[i]`` on the list ``rows[i]``, distinct.

        At most ``width`` each, in any order.
        """
        places = np.arange(self.width) - (self.width - counts[:, None])
        there = places >= 0
        made = self.kind.none(len(rows), self.width)
        made[there] = keys[(starts[:, None] + places)[there]]
        made.sort(axis=1, kind=self.kind.sorting)
        self.keys[rows] = made
        self._recount(rows)

    def insert(self, rows: I64, keys: Keys) -> I64:
        """Put ``keys[i]`` into the list ``rows[i]``; ``rows`` ascending, pairs distinct.

        Returns the rows whose list has no room for all of theirs; those lists are left as they
        were, and incomplete.
        """
        if native.is_used:
            full_rows = np.empty(len(rows), np.int64)
            count = native.compiled.lists_insert(
                self._flat(self.keys),
                self._is_ordered,
                self.width,
                rows,
                self._flat(keys),
                self.kind.offsets_of(keys),
                self.counts,
                self.oldest,
                full_rows,
            )
            return full_rows[:count]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        touched, coming = rows[starts], np.diff(starts, append=len(rows))
        full = self.counts[touched] + coming > self.width
        rank = np.arange(len(rows)) - np.repeat(starts, coming)
        if full.any():
            fits = ~np.repeat(full, coming)
            rows, rank, keys = rows[fits], rank[fits], keys[fits]
        self.keys[rows, self.width - 1 - self.counts[rows] - rank] = keys
        np.minimum.at(self.oldest, rows, self.kind.offsets_of(keys))
        grown = touched[~full]
        self.counts[grown] += coming[~full]
        self._sort(grown)
        return touched[full]

    def drop(self, rows: I64, dead: Bool1) -> None:
        """Take the entries ``dead`` (rows, width) out of the lists ``rows``."""
        kept = self.keys[rows]
        kept[dead] = self.kind.no_row
        self.keys[rows] = kept
        self._sort(rows)
        self._recount(rows)

    def cut(self, rows: I64, keep: I64) -> Keys:
        """Leave the ``keep`` best in each of ``rows``, which hold more; the best one dropped."""
        kept = self.keys[rows]
        edge = self.width - keep
        dropped: Keys = kept[np.arange(len(rows)), edge - 1]
        kept[np.arange(self.width) < edge[:, None]] = self.kind.no_row
        self.keys[rows] = kept
        self._recount(rows)
        return dropped

    def publish(self, rows: I64, k: I64) -> Bool1:
        """Take each list's ``k`` best as its answer; which of ``rows`` had another one before."""
        if native.is_used:
            changed = np.empty(len(rows), np.uint8)
            native.compiled.lists_publish(
                self._flat(self.keys),
                self._is_ordered,
                self.width,
                rows,
                k,
                self._flat(self.published),
                self.most_k,
                changed,
            )
            return changed.view(np.bool_)
        best = self.keys[rows, self.width - self.most_k :]
        best[np.arange(self.most_k) < (self.most_k - k)[:, None]] = self.kind.no_row
        return self._publish(rows, best)

    def publish_chosen(self, rows: I64, chosen: Bool1) -> Bool1:
        """As ``publish``, but for the entries ``chosen`` (rows, width) out of each list."""
        best = self.kind.none(len(rows), self.most_k)
        row, place = np.nonzero(chosen)
        counts = np.bincount(row, minlength=len(rows))
        ordinal = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        best[row, self.most_k - counts[row] + ordinal] = self.keys[rows[row], place]
        return self._publish(rows, best)

    def _publish(self, rows: I64, best: Keys) -> Bool1:
        changed: Bool1 = (best != self.published[rows]).any(axis=1)
        self.published[rows] = best
        return changed

    def answers(self, rows: I64) -> Keys:
        """The keys last published for each of ``rows``, one after the other, best first."""
        best = self.published[rows][:, ::-1]
        keys: Keys = best[best != self.kind.no_row]
        return keys

    def answer_counts(self, rows: I64) -> I64:
        """How many keys were last published for each of ``rows``."""
        counts: I64 = np.count_nonzero(self.published[rows] != self.kind.no_row, axis=1)
        return counts

    def holding(self, rows: I64, gone: Bool1, first_offset: int) -> Bool1:
        """Which of the lists ``rows`` hold an offset ``o`` with ``gone[o - first_offset]``.

        ``gone`` bool (n + 1,), its last False: the place of all that lies outside.
        """
        # Below first_offset the difference wraps far above n, and empty places do too.
        offsets = self.offsets(rows)
        places = np.minimum(offsets - np.uint64(first_offset), len(gone) - 1)
        holds: Bool1 = gone[places.view(np.int64)].any(axis=1)
        return holds

    def offsets(self, rows: I64) -> U64:
        """Offsets of the entries of ``rows`` (n, width); 0 where there is none."""
        return self.kind.offsets_of(self.keys[rows])

    def entries(self, row: int) -> I64:
        """Places of the entries of a list, best first."""
        return np.arange(self.width - 1, self.width - 1 - self.counts[row], -1)

    def scores(self, row: int) -> F32:
        """Scores of the entries of a list, best first."""
        return self.kind.scores_of(self.keys[row, self.entries(row)])

    def rebase(self, by: int) -> None:
        """Count seqs from a base that is larger by ``by``."""
        self.keys[:] = self.kind.rebased(self.keys, by)
        self.published[:] = self.kind.rebased(self.published, by)
        self._recount(np.arange(len(self.counts)))

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        no_row = self.kind.no_row
        assert (self.keys[:, 1:] >= self.keys[:, :-1]).all(), "a list is not sorted"
        assert ((self.keys != no_row).sum(axis=1) == self.counts).all(), "counts are wrong"
        offsets = np.where(self.keys == no_row, NEVER, self.kind.offsets_of(self.keys))
        assert (offsets.min(axis=1, initial=NEVER) == self.oldest).all(), "oldest is wrong"

    @property
    def _is_ordered(self) -> bool:
        return self.kind.dtype is np.complex128

    def _flat(self, keys: Keys) -> U64 | F64:
        """``keys`` as the extension takes them: a view, of two numbers for each complex one."""
        flat: U64 | F64 = np.ascontiguousarray(keys).reshape(-1)
        return flat.view(np.float64) if self._is_ordered else flat

    def _sort(self, rows: I64) -> None:
        """Sort lists whose ``counts`` entries stand in their last places, as many as the longest of
        them has."""
        first = self.width - int(self.counts[rows].max(initial=0))
        sorted_keys = self.keys[rows, first:]
        sorted_keys.sort(axis=1, kind=self.kind.sorting)
        self.keys[rows, first:] = sorted_keys

    def _recount(self, rows: I64) -> None:
        keys = self.keys[rows]
        empty = keys == self.kind.no_row
        self.counts[rows] = self.width - empty.sum(axis=1)
        self.oldest[rows] = np.where(empty, NEVER, self.kind.offsets_of(keys)).min(axis=1)

    def _grow(self, wanted: int) -> None:
        old = len(self.counts)
        at_once = _BYTES_AT_ONCE // self.bytes_for(self.most_k, self.kind)
        rows = old + max(_FIRST_ROWS, wanted, min(old, at_once))
        self._fit(rows)
        self._free.extend(range(old, rows))  # larger than all, so it stays a heap

    def _fit(self, rows: int) -> None:
        """Have room for so many lists."""
        keys, published, counts, oldest = (growing.fit(rows) for growing in self._growing)
        self.keys: Keys = keys
        self.published: Keys = published
        self.counts: I64 = counts
        self.oldest: U64 = oldest
