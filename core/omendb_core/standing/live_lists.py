"""The lists of a window's live queries: each holds every row above its query's floor.

More than four entries for one of its depth (k, as a rule): cut to two, and the floor rises to the
best one dropped. Fewer than k while something may lie below the floor: the list waits to be made
anew by a scan, and its query says nothing until then (``renewals``). The k-skyband of the
sliding-window literature would be smaller, but is not exact under deletes, replacements and
updates.

An answer is the first k of its list, or what a selection takes out of it. Where a selection takes
fewer than k while something may lie below the floor, the list waits, and is twice as deep then.

Owns the lists, and the base that keys count seqs from. Knows the window's state and the table of
queries; nothing of what changed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

import numpy as np

from ..filters.masks import evaluate
from ..model.budget import Share
from ..model.types import C128, F32, F64, I64, U64, Bool1
from ..ranking.shape import Shape
from ..scoring import score
from ..state import WindowState
from . import ordered_keys as ordered
from .keys import encode, rebased
from .lists import Keys, Lists
from .lists_by_depth import ListsByDepth
from .orders import Orders
from .renewals import CUT_TO, Made, Renewals
from .round import NONE
from .selections import Selections
from .table import Table

#: A list is cut when it is longer than this many times its depth, to CUT_TO times that.
CUT_ABOVE: Final = 4
#: What a selection out of a list costs: 8 and 200 µs, where an answer is taken in 2.
_GROUPED_COST: Final = 4
_SPREAD_COST: Final = 100
#: The base of keys moves up before offsets reach 2**29 (``ordered_keys``).
REBASE_ABOVE: Final = 2**28


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
    """Every live query's list. ``deeper`` is charged with what lists take that became deeper."""

    def __init__(self, state: WindowState, table: Table, deeper: Share) -> None:
        self._state = state
        self._table = table
        self._lists = ListsByDepth(table)
        self.orders = Orders(state, table.shapes)
        self._selections = Selections(state, table)
        self._renewals = Renewals(state, table, self._lists, deeper)
        self.base = 0
        self._listed: Bool1 = np.zeros(0, np.bool_)

    def __iter__(self) -> Iterator[tuple[Lists, I64]]:
        """Lists of each size, and the handle that owns each of their rows."""
        return iter(self._lists)

    @property
    def nbytes(self) -> int:
        """Bytes of all lists."""
        return self._lists.nbytes

    @property
    def renewed(self) -> int:
        """How many lists were made anew (rescans)."""
        return self._renewals.renewed

    @staticmethod
    def bytes_for(k: int, shape: Shape) -> int:
        """Bytes that the list of one query takes, before it has to be deeper."""
        return ListsByDepth.bytes_for(k, is_ordered=shape.order is not None)

    def start(self) -> None:
        """The first query comes: no row is in a list. The window may be at any seq by then."""
        self.base = self._state.first_seq - 1
        self._listed = np.zeros(self._state.definition.capacity, np.bool_)

    def begin(self, handles: I64) -> Generator[None, None, None]:
        """Give live queries their lists, made now; see ``renew_in_pieces``."""
        self._lists.give(handles)
        self.wait(handles)
        yield from self.renew_in_pieces(handles)

    def begin_again(self, handles: I64) -> None:
        """Keep lists for queries that ask something else now, no deeper than new ones."""
        self._renewals.begin_again(handles)

    def remove(self, handles: I64) -> None:
        """Forget queries."""
        self._renewals.remove(handles)
        self._selections.forget(handles)
        self._lists.take_back(handles)

    # -- answers ------------------------------------------------------------------------------

    def answers(self, handles: I64) -> Answers:
        """Answers of several live queries."""
        counts, (offsets, scores, ranks) = self._lists.answers(handles)
        return Answers(counts.tolist(), offsets + np.uint64(self.base), scores, ranks)

    def answer(self, handle: int) -> tuple[U64, F32]:
        """Seqs uint64 (n,) and scores float32 (n,) of a live query's answer, best first."""
        found = self.answers(np.array([handle]))
        return found.seqs, found.scores

    def counts(self, handles: I64) -> I64:
        """How many rows each live query answers."""
        return self._lists.answer_counts(handles)

    def publish(self, handles: I64) -> I64:
        """Take the answers of lists as they are now; the handles of those that differ.

        Of selections that do not find k rows nothing is taken where there may be more: their lists
        wait, to be made anew deeper.
        """
        selecting = self.are_selecting(handles)
        changed = [self._lists.publish(handles[~selecting])]
        for lists, owners in self._lists.of(handles[selecting]):
            chosen = self._selections.choose(lists, owners, self.base)
            is_short = chosen.counts < self._table.k[owners]
            is_short &= self._table.have_floors(owners)
            whole = np.flatnonzero(~is_short)
            places = self._table.places[owners[whole]]
            differs = lists.publish_chosen(places, chosen.entries[whole])
            changed.append(owners[whole[differs]])
            self._renewals.deepen(owners[is_short])
        return np.concatenate(changed)

    def costs_of_publishing(self, handles: I64) -> I64:
        """How much taking each answer costs; of one that is no selection: 1."""
        costs = np.ones(len(handles), np.int64)
        shapes = self._table.shapes
        if shapes.has_selections:
            costs[shapes.selects[handles]] = _GROUPED_COST
            costs[shapes.spreads[handles]] = _SPREAD_COST
        return costs

    def are_selecting(self, handles: I64) -> Bool1:
        """Whose answer is a selection out of its list."""
        return self._table.shapes.are_selecting(handles) & ~self._renewals.are_searched(handles)

    # -- rows come and go ---------------------------------------------------------------------

    def insert(self, handles: I64, slots: I64, keys: U64) -> None:
        """Take rows in that are above the floors of these live queries without an order."""
        self.wait(self._lists.insert(handles, keys))
        self._listed[slots] = True

    def insert_ranked(self, handles: I64, slots: I64, keys: C128) -> None:
        """Take in all rows of a chunk that are above the floors of these queries with an order."""
        full = self._lists.insert(handles, keys)
        self._listed[slots] = True
        if len(full):
            own = np.isin(handles, full)
            self._cut_full(handles[own], keys[own])

    def _cut_full(self, handles: I64, keys: C128) -> None:
        """Take rows in that lists have no room for, together with what they hold, and cut them."""
        owners = np.unique(handles)
        held = [self._lists.keys_of(owner) for owner in owners.tolist()]
        whose = np.concatenate([np.repeat(owners, [len(one) for one in held]), handles])
        every = np.concatenate([*held, keys])
        best_first = np.lexsort((every.imag, every.real, -whose))[::-1]
        whose, every = whose[best_first], every[best_first]
        counts = np.unique(whose, return_counts=True)[1]
        starts = np.cumsum(counts) - counts
        keep = np.minimum(CUT_TO * self._table.depths[owners], counts)
        ordinals = np.arange(len(every)) - np.repeat(starts, counts)
        self._lists.replace(owners, every[ordinals < np.repeat(keep, counts)], keep)
        is_cut = counts > keep
        floors = every[(starts + keep)[is_cut]]
        self._table.raise_ranked_floors(owners[is_cut], floors)

    def keys_of(self, scores: F32, seqs: U64) -> U64:
        """Keys of rows by score and seq."""
        return encode(scores, seqs - np.uint64(self.base))

    def ranked_keys_of(self, handles: I64, ranks: F64, scores: F32, seqs: U64) -> C128:
        """Keys of rows by rank, score and seq, for queries with an order."""
        offsets = seqs - np.uint64(self.base)
        return ordered.encode(ranks, scores, offsets, self.orders.decay(handles))

    def listed(self, slots: I64) -> I64:
        """Those of ``slots`` whose row a list may hold."""
        return slots[self._listed[slots]] if len(self._listed) else NONE

    def note_updated(self) -> None:
        """Columns of rows changed: those may stand elsewhere."""
        self._selections.forget_all()

    def note_new(self, slots: I64) -> None:
        """New rows stand in ``slots``: no list holds them."""
        self._listed[slots] = False

    def cut_and_find_short(self, handles: I64) -> None:
        """Cut lists that have grown too long; those that have become too short wait."""
        table = self._table
        for lists, owners in self._lists.of(handles):
            counts, depths = lists.counts[table.places[owners]], table.depths[owners]
            long = owners[counts > CUT_ABOVE * depths]
            if len(long):
                floors = lists.cut(table.places[long], CUT_TO * table.depths[long])
                open_still = ~np.isin(long, list(self.waiting))
                self._raise_floors(long[open_still], floors[open_still])
            short = owners[counts < table.k[owners]]
            self.wait(short[table.have_floors(short)])

    def _raise_floors(self, handles: I64, floors: Keys) -> None:
        """Set floors, all of one kind."""
        if floors.dtype == np.complex128:
            self._table.raise_ranked_floors(handles, floors)
        else:
            self._table.raise_floors(handles, floors)

    # -- lists made anew ----------------------------------------------------------------------

    @property
    def waiting(self) -> set[int]:
        """Queries whose lists wait to be made anew."""
        return self._renewals.waiting

    @property
    def has_some_to_make(self) -> bool:
        """Whether some wait that nobody makes already."""
        return self._renewals.has_some_to_make

    def wait(self, handles: I64) -> None:
        """These lists are incomplete: nothing goes in, nothing is said, until they are renewed."""
        self._renewals.wait(handles)

    def search_again(self) -> None:
        """The window changed: what no list holds is to be searched for again."""
        self._renewals.search_again()

    def renew_some(self, touched: Bool1) -> Generator[None, None, I64]:
        """Make some of the lists that wait; their handles, marked in ``touched``.

        Yields after each piece of work; queries may end in between.
        """
        handles = self._renewals.next()
        yield from self._make_lists(handles)
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

    def renew_in_pieces(self, handles: I64) -> Generator[None, None, None]:
        """Make the lists of live queries anew, in pieces. The others must have caught up; in
        between the window must not change, nor these queries end."""
        for chunk in self._renewals.chunks(handles):
            while len(chunk):
                with self._renewals.in_hand(chunk):
                    yield from self._make_lists(chunk)
                    self.publish(chunk)
                chunk = self.waiting_of(chunk)

    def _make_lists(self, handles: I64) -> Generator[None, None, None]:
        for made in self._renewals.rows(handles):
            if made is None:
                yield
            elif self._table.lists[made.handles].all():  # else it ended while it was searched
                self._make_some(made)

    def _make_some(self, made: Made) -> None:
        seqs = self._state.ring.seqs(made.rows.slots)
        keys: Keys
        if made.rows.ranks is None:
            keys = self.keys_of(made.rows.scores, seqs)
        else:
            whose = np.repeat(made.handles, made.rows.counts)
            keys = self.ranked_keys_of(whose, made.rows.ranks, made.rows.scores, seqs)
        self._listed[made.rows.slots] = True
        is_over = made.rows.counts > made.most
        last = np.cumsum(made.rows.counts) - 1
        is_kept = np.ones(len(keys), np.bool_)
        is_kept[last[is_over]] = False
        self._lists.replace(made.handles, keys[is_kept], made.rows.counts - is_over)
        self._table.open(made.handles)
        self._raise_floors(made.handles[is_over], keys[last[is_over]])
        self._renewals.have_made(made.handles)
        self._selections.forget(made.handles)

    # -- bookkeeping --------------------------------------------------------------------------

    def rebase_if_due(self) -> None:
        """Move the base of keys up before offsets become too large."""
        if self._state.last_seq - self.base <= REBASE_ABOVE:
            return
        by = self._state.first_seq - 1 - self.base
        self.base += by
        table = self._table
        table.floors[:] = rebased(table.floors, by)
        table.shapes.floors = ordered.rebased(table.shapes.floors, by)
        self._lists.rebase(by)

    def check(self) -> None:
        """Raise AssertionError unless every list is all rows above its floor, in its order, and of
        four times its depth at most."""
        table = self._table
        for lists, handles in self._lists.of(np.arange(table.used)):
            lists.check()
            searched = self._renewals.are_searched(handles)
            for handle in handles[~searched].tolist():
                if handle in self.waiting:
                    continue
                kept = lists.keys[int(table.places[handle])]
                kept = kept[kept != lists.kind.no_row]
                expected = np.sort(self._above_floor(handle))
                assert np.array_equal(expected, kept), "a list is not what is above its floor"
                assert len(kept) <= CUT_ABOVE * table.depths[handle], "a list is too long"

    def _above_floor(self, handle: int) -> Keys:
        """The keys of all rows that pass a query's filter and exclusions, above its floor."""
        table, state = self._table, self._state
        slots = state.ring.live_slots(state.first_seq, state.last_seq)
        filter_ = table.distinct_filters.by_number.get(int(table.filters[handle]))
        if filter_ is not None:
            slots = slots[evaluate(filter_, state.columns, slots)]
        left_out = table.exclusions.of(handle)
        if left_out is not None:
            slots = slots[~np.isin(slots, state.ids.find(left_out))]
        asked = np.broadcast_to(table.vectors[handle], (len(slots), state.definition.dim))
        scores = score.score_pairs(state.definition.metric, state.ring.vectors[slots], asked)
        seqs = state.ring.seqs(slots)
        handles = np.full(len(slots), handle)
        if not table.shapes.are_ordered(handles[:1]).any():
            by_score = self.keys_of(scores, seqs)
            above_score: Keys = by_score[by_score > table.floors[handle]]
            return above_score
        ranks = self.orders.ranks(handles, slots, scores)
        ranked = self.ranked_keys_of(handles, ranks, scores, seqs)
        above = ordered.are_above(ranked, table.shapes.floors[handles])
        above &= self.orders.have_places(handles, ranks) & (scores >= table.least_scores(handles))
        return ranked[above]
