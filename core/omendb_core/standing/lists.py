"""Many short lists of keys side by side: what standing queries of like ``k`` keep.

Each list is a row of one matrix, sorted ascending with its empty places (0) in front, so that its
best entries are the row's last ones and sorting many lists is one call. Knows keys and rows of its
matrix; nothing of vectors, floors or windows.

Invariants (``check``): rows sorted; ``counts`` is the number of non-empty places; ``oldest`` the
least offset in the list (``NEVER`` if it is empty).
"""

from __future__ import annotations

import heapq
from typing import Final

import numpy as np

from ..model.types import I64, U64, Bool1
from .keys import NO_ROW, offsets_of, rebased

NEVER: Final = np.uint64(2**63)
#: Places for each unit of k: a list is cut at 4 k, and takes 2 k hits of one batch besides.
PLACES_PER_K: Final = 6
_FIRST_ROWS: Final = 16


class Lists:
    """Lists for queries of ``k`` up to ``most_k``. ``published`` holds what each last answered.

    ``keys`` uint64 (rows, 6 most_k), ``counts`` int64 and ``oldest`` uint64 (rows,), ``published``
    uint64 (rows, most_k), sorted as ``keys`` are.
    """

    def __init__(self, most_k: int) -> None:
        self.most_k = most_k
        self.width = PLACES_PER_K * most_k
        self.keys: U64 = np.zeros((0, self.width), np.uint64)
        self.counts: I64 = np.zeros(0, np.int64)
        self.oldest: U64 = np.zeros(0, np.uint64)
        self.published: U64 = np.zeros((0, most_k), np.uint64)
        self._free: list[int] = []

    @property
    def is_empty(self) -> bool:
        """Whether no row is taken."""
        return len(self._free) == len(self.counts)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(a.nbytes for a in (self.keys, self.counts, self.oldest, self.published))

    @staticmethod
    def bytes_for(most_k: int) -> int:
        """Bytes that one list takes, while there is no spare room."""
        return 8 * ((PLACES_PER_K + 1) * most_k + 2)

    def take(self, count: int) -> I64:
        """Rows for ``count`` new, empty lists."""
        while len(self._free) < count:
            self._grow()
        return np.array([heapq.heappop(self._free) for _ in range(count)], np.int64)

    def give_back(self, rows: I64) -> None:
        """Empty the lists in ``rows``, for others to take."""
        self.keys[rows] = NO_ROW
        self.counts[rows] = 0
        self.oldest[rows] = NEVER
        self.published[rows] = NO_ROW
        for row in rows.tolist():
            heapq.heappush(self._free, row)

    def replace(self, rows: I64, keys: U64, starts: I64, counts: I64) -> None:
        """Make ``counts[i]`` of ``keys`` from ``starts[i]`` on the list ``rows[i]``, distinct.

        At most ``width`` each, in any order.
        """
        places = np.arange(self.width) - (self.width - counts[:, None])
        there = places >= 0
        made = np.zeros((len(rows), self.width), np.uint64)
        made[there] = keys[(starts[:, None] + places)[there]]
        made.sort(axis=1)
        self.keys[rows] = made
        self._recount(rows)

    def insert(self, rows: I64, keys: U64) -> I64:
        """Put ``keys[i]`` into the list ``rows[i]``; ``rows`` ascending, pairs distinct.

        Returns the rows whose list has no room for all of theirs; those lists are left as they
        were, and incomplete.
        """
        touched, starts, coming = np.unique(rows, return_index=True, return_counts=True)
        full = self.counts[touched] + coming > self.width
        rank = np.arange(len(rows)) - np.repeat(starts, coming)
        fits = ~np.repeat(full, coming)
        rows, rank = rows[fits], rank[fits]
        self.keys[rows, self.width - 1 - self.counts[rows] - rank] = keys[fits]
        self._sort(touched[~full])
        return touched[full]

    def drop(self, rows: I64, dead: Bool1) -> None:
        """Take the entries ``dead`` (rows, width) out of the lists ``rows``."""
        kept = self.keys[rows]
        kept[dead] = NO_ROW
        self.keys[rows] = kept
        self._sort(rows)

    def cut(self, rows: I64, keep: I64) -> U64:
        """Leave the ``keep`` best in each of ``rows``, which hold more; the best one dropped."""
        kept = self.keys[rows]
        edge = self.width - keep
        dropped: U64 = kept[np.arange(len(rows)), edge - 1]
        kept[np.arange(self.width) < edge[:, None]] = NO_ROW
        self.keys[rows] = kept
        self._recount(rows)
        return dropped

    def publish(self, rows: I64, k: I64) -> Bool1:
        """Take each list's ``k`` best as its answer; which of ``rows`` had another one before."""
        best = self.keys[rows, self.width - self.most_k :]
        best[np.arange(self.most_k) < (self.most_k - k)[:, None]] = NO_ROW
        changed: Bool1 = (best != self.published[rows]).any(axis=1)
        self.published[rows] = best
        return changed

    def answers(self, rows: I64) -> U64:
        """The keys last published for each of ``rows``, one after the other, best first."""
        best = self.published[rows][:, ::-1]
        keys: U64 = best[best != NO_ROW]
        return keys

    def answer_counts(self, rows: I64) -> I64:
        """How many keys were last published for each of ``rows``."""
        counts: I64 = np.count_nonzero(self.published[rows], axis=1)
        return counts

    def holding(self, rows: I64, gone: Bool1, first_offset: int) -> Bool1:
        """Which of the lists ``rows`` hold an offset ``o`` with ``gone[o - first_offset]``.

        ``gone`` bool (n + 1,), its last False: the place of all that lies outside.
        """
        # Below first_offset the difference wraps far above n, and empty places do too.
        offsets = offsets_of(self.keys[rows])
        places = np.minimum(offsets - np.uint64(first_offset), len(gone) - 1)
        holds: Bool1 = gone[places.view(np.int64)].any(axis=1)
        return holds

    def rebase(self, by: int) -> None:
        """Count seqs from a base that is larger by ``by``."""
        self.keys = rebased(self.keys, by)
        self.published = rebased(self.published, by)
        self._recount(np.arange(len(self.counts)))

    def check(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert (self.keys[:, 1:] >= self.keys[:, :-1]).all(), "a list is not sorted"
        assert ((self.keys != NO_ROW).sum(axis=1) == self.counts).all(), "counts are wrong"
        offsets = np.where(self.keys == NO_ROW, NEVER, offsets_of(self.keys))
        assert (offsets.min(axis=1, initial=NEVER) == self.oldest).all(), "oldest is wrong"

    def _sort(self, rows: I64) -> None:
        sorted_keys = self.keys[rows]
        sorted_keys.sort(axis=1)
        self.keys[rows] = sorted_keys
        self._recount(rows)

    def _recount(self, rows: I64) -> None:
        keys = self.keys[rows]
        empty = keys == NO_ROW
        self.counts[rows] = self.width - empty.sum(axis=1)
        self.oldest[rows] = np.where(empty, NEVER, offsets_of(keys)).min(axis=1)

    def _grow(self) -> None:
        old = len(self.counts)
        new = max(_FIRST_ROWS, 2 * old)
        self.keys = _enlarged(self.keys, new)
        self.counts = np.concatenate([self.counts, np.zeros(new - old, np.int64)])
        self.published = _enlarged(self.published, new)
        self.oldest = _enlarged(self.oldest, new)
        self.oldest[old:] = NEVER
        for row in range(old, new):
            heapq.heappush(self._free, row)


def _enlarged(array: U64, rows: int) -> U64:
    larger = np.zeros((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
