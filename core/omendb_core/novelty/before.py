"""The best row before each of some rows of a window: by score, then seq, among those that count.

Those are the live rows with lower seqs, all or the ``last`` many seqs before the row, that pass a
filter; and, for the rows of an add that was just applied, the rows that left by it (``Gone``), but
for the one that the row replaced.

Rows are looked at in pieces of a few in a row. What all of a piece have before them is compared
with them in one scan; the rest, among each other and at the edge of ``last``, pair by pair.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..filters.masks import evaluate
from ..filters.tree import Filter
from ..model.change import AddChange
from ..model.types import F32, I64, U64, Bool1, Definition, Ids
from ..rows.ids import StrIds
from ..rows.payloads import KeptPayloads
from ..rows.ring import Ring, pack
from ..rows.u64_ids import numbers
from ..scan.choice import shadow_for
from ..scoring import score
from ..state import WindowState
from .nearest import NOWHERE, nearest_in_ring, vectors_of_piece

#: How far apart the seqs of a piece may be, in pieces, where ``last`` bounds what counts: so many
#: more rows stand at the edge of it, and are compared one by one.
_WIDTH: Final = 4
#: Elements of rows that left which are put into a ring at once: 1.2 ms.
_TAKEN_ELEMENTS: Final = 1 << 20
_NONE: Final = np.empty(0, np.int64)


class Best(NamedTuple):
    """``scores`` float32 (n,), -inf where there is none; ``seqs`` uint64 (n,), 0 then."""

    scores: F32
    seqs: U64


def _distinct(slots: I64) -> I64:
    """Ascending."""
    slots.sort()
    is_new = np.ones(len(slots), np.bool_)
    np.not_equal(slots[1:], slots[:-1], out=is_new[1:])
    return slots[is_new]


class Gone:
    """The rows that leave by an add: taken down before it is applied, by ascending ``seqs``.

    ``replaced`` int64 (n,): by row of the add, the place here of the one that it replaces.
    """

    def __init__(self, state: WindowState, change: AddChange) -> None:
        ring = state.ring
        leaving = ring.overwritten(len(change.vectors))
        found = np.full(len(change.vectors), NOWHERE, np.int64)
        if change.ids is not None:
            found = state.ids.find(change.ids)
        is_replaced = found >= 0
        leaving = _distinct(np.concatenate([leaving, found[is_replaced]]))
        # The oldest row's slot is the first by seq.
        first = int(np.searchsorted(leaving, ring.last_seq % ring.capacity))
        self.slots = np.concatenate([leaving[first:], leaving[:first]])
        self.seqs: U64 = ring.seqs(self.slots)
        self._texts: KeptPayloads | None = None
        self._numbers: U64 | None = None
        if isinstance(state.ids, StrIds):
            self._texts = state.ids.kept(self.slots)
        else:
            self._numbers = numbers(state.ids.of(self.slots))
        self._vectors = ring.vectors[self.slots]
        self._ring: Ring | None = None
        self.replaced = found
        places = np.empty(ring.capacity, np.int64)  # by slot; of others never written
        places[self.slots] = np.arange(len(self.slots))
        self.replaced[is_replaced] = places[found[is_replaced]]

    def __len__(self) -> int:
        return len(self.seqs)

    def passing(self, state: WindowState, filter_: Filter | None) -> Bool1:
        """Which of them pass; to be asked before the add is applied."""
        if filter_ is None:
            return np.ones(len(self), np.bool_)
        return evaluate(filter_, state.columns, self.slots)

    def ids(self, places: I64) -> Ids:
        """The ids of some of them."""
        if self._numbers is not None:
            return self._numbers[places]
        assert self._texts is not None, "ids of neither kind"
        return [text.decode() for text in self._texts.of(places)]

    def ring(self, state: WindowState) -> Ring:
        """A ring of their own, in which each has its place for its slot."""
        while not self.take_in_some(state):
            pass
        assert self._ring is not None, "nothing left"
        return self._ring

    def take_in_some(self, state: WindowState) -> bool:
        """Put some of them into their ring; whether all of them are in it."""
        definition = state.definition
        if self._ring is None:
            own = Definition(definition.dim, len(self), definition.metric)
            self._ring = Ring(len(self), definition.dim, shadow_for(state.scan, own))
        taken = self._ring.last_seq
        count = max(1, _TAKEN_ELEMENTS // definition.dim)
        if taken < len(self):
            self._ring.append(self._vectors[taken : taken + count])
        return self._ring.last_seq == len(self)


class Before:
    """What counts for rows of a window: with ``gone``, of the add from ``first_seq`` on."""

    def __init__(
        self,
        state: WindowState,
        filter_: Filter | None,
        last: int | None,
        gone: Gone | None = None,
        gone_pass: Bool1 | None = None,
        first_seq: int = 0,
    ) -> None:
        self._state = state
        self._filter = filter_
        self._last = last
        self._gone = gone if gone is not None and len(gone) else None
        self._gone_pass = gone_pass
        self._first_seq = first_seq

    def piece_of(self, seqs: U64) -> U64:
        """The first of these rows, ascending: as many as are looked at in one piece."""
        rows = self._state.ring.used + (0 if self._gone is None else len(self._gone))
        size = vectors_of_piece(rows, self._state.definition.dim)
        piece = seqs[:size]
        if self._last is not None and len(piece):
            widest = piece[0] + np.uint64(_WIDTH * size)
            piece = piece[: int(np.searchsorted(piece, widest, side="right"))]
        return piece

    def best(self, seqs: U64) -> Best:
        """For the rows of one piece, live and ascending."""
        best = Best(np.full(len(seqs), -np.inf, np.float32), np.zeros(len(seqs), np.uint64))
        first, last = int(seqs[0]), int(seqs[-1])
        #: What all of them have before them begins here, and ends before the first of them.
        common = 1 if self._last is None else max(1, last - self._last)
        vectors = self._state.ring.vectors[self._state.ring.slots(seqs)]
        self._look_in_window(best, vectors, common, first - 1)
        self._look_at_pairs(best, vectors, seqs, common)
        if self._gone is not None:
            self._look_at_gone(best, vectors, seqs, common, self._gone)
        return best

    def is_ready(self) -> bool:
        """Whether ``best`` has what it needs; if not, this was a piece of making it."""
        return self._gone is None or self._gone.take_in_some(self._state)

    def ids(self, seqs: U64) -> Ids:
        """The ids of rows that ``best`` has named; of 0 whatever."""
        state, gone = self._state, self._gone
        if not len(seqs):
            return state.ids.of(_NONE)
        is_gone = np.zeros(len(seqs), np.bool_)
        place = _NONE
        if gone is not None:
            place = np.minimum(np.searchsorted(gone.seqs, seqs), len(gone) - 1)
            is_gone = gone.seqs[place] == seqs
        is_there = ~is_gone & (seqs > 0)
        live = state.ids.of(state.ring.slots(seqs[is_there]))
        if isinstance(live, list):
            texts = np.full(len(seqs), "", object)
            texts[is_there] = live
            if gone is not None:
                texts[is_gone] = gone.ids(place[is_gone])
            return texts.tolist()
        found = np.zeros(len(seqs), np.uint64)
        found[is_there] = live
        if gone is not None:
            found[is_gone] = gone.ids(place[is_gone])
        return found

    def _words(self, first_seq: int, last_seq: int) -> U64:
        """Mask words of the live rows of a stretch that pass."""
        ring = self._state.ring
        words = ring.live_words & ring.words_from(first_seq, last_seq)
        return words if self._filter is None else words & self._state.masks.words(self._filter)

    def _look_in_window(self, best: Best, vectors: F32, first_seq: int, last_seq: int) -> None:
        state = self._state
        words = self._words(first_seq, last_seq)
        found = nearest_in_ring(state.scan, state.ring, state.definition.metric, vectors, words)
        has = np.flatnonzero(found.places != NOWHERE)
        _take(best, has, found.scores[has], state.ring.seqs(found.places[has]))

    def _look_at_pairs(self, best: Best, vectors: F32, seqs: U64, common: int) -> None:
        """Rows of the piece among each other, and those at the edge of ``last``."""
        state = self._state
        slots = state.ring.slots(seqs)
        if self._last is not None:
            edge = state.ring.live_slots(int(seqs[0]) - self._last, min(common, int(seqs[0])) - 1)
            if self._filter is not None:
                edge = edge[evaluate(self._filter, state.columns, edge)]
            slots = np.concatenate([edge, slots])
        others = state.ring.seqs(slots)
        row, other = _where(self._counts(seqs, others))
        scores = score.score_chosen(
            state.definition.metric, state.ring.vectors, slots[other], vectors, row
        )
        _take(best, row, scores, others[other])

    def _counts(self, seqs: U64, others: U64) -> Bool1:
        """Which ``others`` (m,) are before each of ``seqs`` (n,), and not too far; (n, m)."""
        counts: Bool1 = others < seqs[:, None]
        if self._last is not None:
            counts &= others + np.uint64(self._last) >= seqs[:, None]
        return counts

    def _look_at_gone(self, best: Best, vectors: F32, seqs: U64, common: int, gone: Gone) -> None:
        state, metric = self._state, self._state.definition.metric
        counts = gone.seqs >= np.uint64(common)
        if self._gone_pass is not None:
            counts &= self._gone_pass
        ring = gone.ring(state)
        replaced = gone.replaced[(seqs - np.uint64(self._first_seq)).astype(np.int64)]
        found = nearest_in_ring(state.scan, ring, metric, vectors, pack(counts), but=replaced)
        has = np.flatnonzero(found.places != NOWHERE)
        _take(best, has, found.scores[has], gone.seqs[found.places[has]])
        if self._last is None:
            return
        at_edge = gone.seqs < np.uint64(common)
        if self._gone_pass is not None:
            at_edge &= self._gone_pass
        edge = np.flatnonzero(at_edge)
        pairs = self._counts(seqs, gone.seqs[edge]) & (edge != replaced[:, None])
        row, other = _where(pairs)
        scores = score.score_chosen(metric, ring.vectors, edge[other], vectors, row)
        _take(best, row, scores, gone.seqs[edge[other]])


def _where(marks: Bool1) -> tuple[I64, I64]:
    """Row and column of each mark (n, m), row by row."""
    return np.divmod(np.flatnonzero(marks), max(1, marks.shape[1]))


def _take(best: Best, which: I64, scores: F32, seqs: U64) -> None:
    """Take in candidates (m,) of the rows ``which``."""
    if not len(which):
        return
    order = np.lexsort((seqs, scores, which))
    order = order[np.flatnonzero(np.diff(which[order], append=-1))]
    rows, scores, seqs = which[order], scores[order], seqs[order]
    is_better = scores > best.scores[rows]
    is_better |= (scores == best.scores[rows]) & (seqs > best.seqs[rows])
    rows = rows[is_better]
    best.scores[rows], best.seqs[rows] = scores[is_better], seqs[is_better]
