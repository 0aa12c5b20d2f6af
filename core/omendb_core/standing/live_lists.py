"""The lists of a window's live queries: each holds every row above its query's floor.

More than 4 k entries: cut to 2 k, and the floor rises to the best one dropped. Fewer than k while
something may lie below the floor: the list waits to be made anew by a scan, many at a time, and its
query says nothing until then. The k-skyband of the sliding-window literature would be smaller, but
is not exact under deletes, replacements and updates.

Owns the lists, and the base that keys count seqs from. Knows the window's state and the table of
queries; nothing of what changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from ..filters.masks import evaluate
from ..model.types import F32, F64, I64, U64, Bool1
from ..scoring import score
from ..search.masks import Masks
from ..state import WindowState
from .keys import NO_ROW, encode, offsets_of, rebased, scores_of
from .lists import Lists
from .lists_by_k import ListsByK
from .round import NONE
from .table import Table
from .turns_of_filters import TurnsOfFilters

#: A list is cut when it is longer than this many k …
CUT_ABOVE: Final = 4
#: … to this many.
CUT_TO: Final = 2
#: Lists made anew in one ``advance``; the others wait for the next. Fewer over wide windows: the
#: scan for them is bounded, to about 4 ms (170 µs a query of 100,000 × 128 and k = 10, on a busy
#: machine), but for the least with which it is still worth its pass over memory.
RENEWED_AT_ONCE: Final = 256
_RENEWED_ELEMENTS: Final = 1 << 28
_LEAST_RENEWED: Final = 8
#: The base of keys moves up before offsets reach 2**32.
REBASE_ABOVE: Final = 2**31


class Answers(NamedTuple):
    """What live queries answer: ``counts`` the length of each; their rows flat, best first.

    ``seqs`` uint64, ``scores`` float32; ``ranks`` float64, NaN for null, None if no query of these
    has an order.
    """

    counts: list[int]
    seqs: U64
    scores: F32
    ranks: F64 | None


class LiveLists:
    """Every live query's list. ``renewed`` counts the lists made anew (rescans)."""

    def __init__(self, state: WindowState, table: Table) -> None:
        self._state = state
        self._table = table
        self._lists_by_k = ListsByK(table)
        self._turns = TurnsOfFilters(state, table.distinct_filters)
        self.base = 0
        self.waiting: set[int] = set()
        self._listed: Bool1 = np.zeros(0, np.bool_)
        self.renewed = 0

    def __iter__(self) -> Iterator[tuple[Lists, I64]]:
        """Lists of each size, and the handle that owns each of their rows."""
        return iter(self._lists_by_k)

    @property
    def nbytes(self) -> int:
        """Bytes of all lists."""
        return self._lists_by_k.nbytes

    @staticmethod
    def bytes_for(k: int) -> int:
        """Bytes that the list of one query takes."""
        return ListsByK.bytes_for(k)

    def start(self) -> None:
        """The first query comes: no row is in a list. The window may be at any seq by then."""
        self.base = self._state.first_seq - 1
        self._listed = np.zeros(self._state.definition.capacity, np.bool_)

    def begin(self, handles: I64) -> None:
        """Give live queries their lists, made now."""
        self._lists_by_k.give(handles)
        self.renew(handles)

    def remove(self, handles: I64) -> None:
        """Forget queries."""
        self._lists_by_k.take_back(handles)
        self.waiting.difference_update(handles.tolist())

    # -- answers ------------------------------------------------------------------------------

    def answers(self, handles: I64) -> Answers:
        """Answers of several live queries."""
        counts, keys = self._lists_by_k.answers(handles)
        seqs = offsets_of(keys) + np.uint64(self.base)
        return Answers(counts.tolist(), seqs, scores_of(keys), None)

    def answer(self, handle: int) -> tuple[U64, F32]:
        """Seqs uint64 (n,) and scores float32 (n,) of a live query's answer, best first."""
        found = self.answers(np.array([handle]))
        return found.seqs, found.scores

    def counts(self, handles: I64) -> I64:
        """How many rows each live query answers."""
        return self._lists_by_k.answer_counts(handles)

    def publish(self, handles: I64) -> I64:
        """Take the answers of lists as they are now; the handles of those that differ."""
        return self._lists_by_k.publish(handles)

    # -- rows come and go ---------------------------------------------------------------------

    def insert(self, handles: I64, slots: I64, keys: U64) -> None:
        """Take rows in that are above the floors of these live queries."""
        self.wait(self._lists_by_k.insert(handles, keys))
        self._listed[slots] = True

    def keys_of(self, scores: F32, seqs: U64) -> U64:
        """Keys of rows by score and seq."""
        return encode(scores, seqs - np.uint64(self.base))

    def listed(self, slots: I64) -> I64:
        """Those of ``slots`` whose row a list may hold."""
        return slots[self._listed[slots]] if len(self._listed) else NONE

    def note_new(self, slots: I64) -> None:
        """New rows stand in ``slots``: no list holds them."""
        self._listed[slots] = False

    def cut_and_find_short(self, handles: I64) -> None:
        """Cut lists that have grown too long; those that have become too short wait."""
        table = self._table
        for lists, owners in self._lists_by_k.of(handles):
            k, counts = table.k[owners], lists.counts[table.places[owners]]
            long = owners[counts > CUT_ABOVE * k]
            if len(long):
                floors = lists.cut(table.places[long], CUT_TO * table.k[long])
                open_still = ~np.isin(long, list(self.waiting))
                table.raise_floors(long[open_still], floors[open_still])
            self.wait(owners[(counts < k) & (table.floors[owners] > table.bases[owners])])

    # -- lists made anew ----------------------------------------------------------------------

    def wait(self, handles: I64) -> None:
        """These lists are incomplete: nothing goes in, nothing is said, until they are renewed."""
        self.waiting.update(handles.tolist())
        self._table.reach[handles] = np.inf

    def renew_some(self, touched: Bool1) -> I64:
        """Make some of the lists that wait; their handles, marked in ``touched``."""
        if not self.waiting:
            return NONE
        elements = max(1, self._state.rows) * self._state.definition.dim
        most = min(RENEWED_AT_ONCE, max(_LEAST_RENEWED, _RENEWED_ELEMENTS // elements))
        waiting = np.sort(np.fromiter(self.waiting, np.int64, len(self.waiting)))
        numbers = self._table.filters[waiting]
        handles = waiting[np.isin(numbers, self._turns.ready(np.unique(numbers)))][:most]
        if not len(handles):
            return NONE
        self._make_lists(handles)
        touched[handles] = True
        return handles

    def is_waiting(self, handle: int) -> bool:
        """Whether a live query's list waits to be made anew: its answer is an old one.

        The ``advance`` that makes it says that the query changed.
        """
        return handle in self.waiting

    def waiting_of(self, handles: I64) -> I64:
        """Those of ``handles`` whose list waits to be made anew."""
        if not self.waiting:
            return NONE
        return handles[np.isin(handles, list(self.waiting))]

    def renew(self, handles: I64) -> None:
        """Make the lists of live queries anew, now. The others must have caught up."""
        for start in range(0, len(handles), RENEWED_AT_ONCE):
            chunk = handles[start : start + RENEWED_AT_ONCE]
            self._make_lists(chunk)
            self._lists_by_k.publish(chunk)

    def _make_lists(self, handles: I64) -> None:
        """Scan for the best 2 k + 1 rows: 2 k make the list, the last one is its floor."""
        table, state = self._table, self._state
        masks = Masks(state)
        mask_of = np.array([self._mask(masks, handle) for handle in handles.tolist()], np.int64)
        most = CUT_TO * table.k[handles]
        top = state.scan.top_k(
            state.ring,
            state.definition.metric,
            table.vectors[handles],
            most + 1,
            scores_of(table.bases[handles]),
            np.stack(masks.words),
            mask_of,
        )
        keys = self.keys_of(top.scores, state.ring.seqs(top.slots))
        self._listed[top.slots] = True
        counts = top.counts.astype(np.int64)
        is_over = counts > most
        last = np.cumsum(counts) - 1
        floors = table.bases[handles]
        floors[is_over] = keys[last[is_over]]
        is_kept = np.ones(len(keys), np.bool_)
        is_kept[last[is_over]] = False
        self._lists_by_k.replace(handles, keys[is_kept], counts - is_over)
        table.raise_floors(handles, floors)
        self.waiting.difference_update(handles.tolist())
        self.renewed += len(handles)

    def _mask(self, masks: Masks, handle: int) -> int:
        """The number of the mask of the rows that pass a query's filter and exclusions."""
        table = self._table
        number = masks.number(
            table.distinct_filters.by_number.get(int(table.filters[handle])), None
        )
        ids = table.exclusions.of(handle)
        if ids is None:
            return number
        slots = self._state.ids.find(ids)
        slots = slots[slots >= 0]
        return masks.without(number, slots) if len(slots) else number

    # -- bookkeeping --------------------------------------------------------------------------

    def rebase_if_due(self) -> None:
        """Move the base of keys up before offsets reach 2**32."""
        if self._state.last_seq - self.base <= REBASE_ABOVE:
            return
        by = self._state.first_seq - 1 - self.base
        self.base += by
        self._table.floors = rebased(self._table.floors, by)
        self._lists_by_k.rebase(by)

    def check(self) -> None:
        """Raise AssertionError unless every list is all rows above its floor, and 4 k at most."""
        table, state = self._table, self._state
        slots = state.ring.live_slots(state.first_seq, state.last_seq)
        offsets = state.ring.seqs(slots) - np.uint64(self.base)
        for lists, handles in self._lists_by_k.of(np.arange(table.used)):
            lists.check()
            for handle in handles.tolist():
                if handle in self.waiting:
                    continue
                asked = np.broadcast_to(table.vectors[handle], (len(slots), state.definition.dim))
                scores = score.score_pairs(
                    state.definition.metric, state.ring.vectors[slots], asked
                )
                keys = encode(scores, offsets)
                above = keys > table.floors[handle]
                filter_ = table.distinct_filters.by_number.get(int(table.filters[handle]))
                if filter_ is not None:
                    above &= evaluate(filter_, state.columns, slots)
                left_out = table.exclusions.of(handle)
                if left_out is not None:
                    above &= ~np.isin(slots, state.ids.find(left_out))
                kept = lists.keys[int(table.places[handle])]
                kept = kept[kept != NO_ROW]
                assert np.array_equal(np.sort(keys[above]), kept), "a list is not what is above"
                assert len(kept) <= CUT_ABOVE * table.k[handle], "a list is too long"
