"""Rows against standing queries: which reach a match query, and which enter which list.

All queries are matched in one call of the scan, by score; filters, orders and exclusions then
decide on the pairs that are left. Knows the window's state, the table and the lists; nothing of
what came or left when.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple

import numpy as np

from ..filters.parser import evaluate
from ..model.types import C128, F32, I64, Bool1
from ..scan.interface import Pairs
from ..state import WindowState
from . import ordered_keys
from .live_lists import LiveLists
from .orders import EXPRESSION_NS, PAIR_NS, PIECE_PAIRS
from .round import NO_HITS, Matched, MatchHits, together
from .shapes import NO_ORDER
from .table import NO_FILTER, Table

#: Rows matched in one go: bounds the copy of their vectors.
_MATCHED_AT_ONCE: Final = 4096
#: Rows times queries times dimensions of one piece: 2.2 ms in C; and so many times less in numpy,
#: where a quarter takes 4 ms. A tile's rows at least. In C all rows of a call find a tile's queries
#: in the cache: with a quarter as many 10,000 queries that each take a row in a hundred took a
#: fifth longer.
_PIECE_ELEMENTS: Final = 1 << 29
_LESS_IN_NUMPY: Final = 4
_LEAST_MATCHED: Final = 64
#: A call of the scan has no more than so many times the rows of the last one where queries have
#: orders: it finds any number of pairs. Eight at least.
_MOST_GROWTH: Final = 4
_LEAST_ROWS: Final = 8
#: What ranking pairs takes in one piece.
_PIECE_NS: Final = 2e6
#: Rows for lists with an order that wait to be put in: beyond it they are, before more are matched.
_MOST_ENTERING: Final = 1 << 16
#: How many of them one step puts in: 1 ms where each is for another list.
_STEP_ENTERING: Final = 1 << 11


class _Entering(NamedTuple):
    """Rows for lists with an order: ``handles``, ``slots`` int64 and ``keys`` complex (n,)."""

    handles: I64
    slots: I64
    keys: C128


class _Pairs(NamedTuple):
    """Rows in ``slots`` int64 for queries, ``handles`` int64, with ``scores`` float32; all (n,)."""

    handles: I64
    slots: I64
    scores: F32

    def some(self, which: I64) -> _Pairs:
        """Those at some places."""
        return _Pairs(self.handles[which], self.slots[which], self.scores[which])


class Matching:
    """Matches rows with the queries of one window.

    What enters lists with an order is put in by ``enter``, when all rows are matched or it is much:
    sorting a list once takes as long for ten rows as for one.
    """

    def __init__(self, state: WindowState, table: Table, lists: LiveLists) -> None:
        self._state = state
        self._table = table
        self._lists = lists
        self._entering: list[_Entering] = []
        #: Of the last call of the scan.
        self._last_rows, self._pairs_a_row = 0, 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be put into lists."""
        return not self._entering

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be put into lists that it is time to."""
        return sum(len(one.handles) for one in self._entering) > _MOST_ENTERING

    def clear(self) -> None:
        """Forget what waits to be put into lists."""
        self._entering.clear()

    def enter(self) -> float:
        """Put some of what waits into lists; how much that was of what a step does."""
        if len(self._entering) > 1:
            self._entering = [_Entering(*map(np.concatenate, zip(*self._entering, strict=True)))]
        handles, slots, keys = self._entering[0]
        if np.any(handles[1:] < handles[:-1]):  # else it is what another step has left
            order = np.argsort(handles, kind="stable")
            handles, slots, keys = handles[order], slots[order], keys[order]
        # A list is given all of its rows at once.
        stop = len(handles)
        if stop > _STEP_ENTERING:
            stop = int(np.searchsorted(handles, handles[_STEP_ENTERING - 1], side="right"))
        there = np.flatnonzero(self._table.lists[handles[:stop]])  # the others ended meanwhile
        self._lists.insert_ranked(handles[there], slots[there], keys[there])
        self._entering[0] = _Entering(handles[stop:], slots[stop:], keys[stop:])
        if stop == len(handles):
            self.clear()
        return stop / _STEP_ENTERING

    def match(
        self, slots: I64, touched: Bool1, only: Bool1 | None = None
    ) -> Generator[float, None, Matched]:
        """Match live rows with all queries, or those marked in ``only``: the first of them.

        Yields how much of a step each piece was; queries may end in between. Lists that took rows
        are marked in ``touched``.
        """
        slots = slots[:_MATCHED_AT_ONCE]
        bounds = None
        if self._table.shapes.has_orders:
            bounds = yield from self._lists.orders.bounded_reach(self._table, slots)
        done, hits = 0, []
        while done < len(slots) and not self.is_full:
            reach = self._reach(slots[done:], bounds, only)
            some = slots[done : done + self._rows_at_once(reach)]
            done += len(some)
            hits.append((yield from self._match(some, reach, touched)))
        return Matched(done, together(hits))

    def _reach(self, slots: I64, bounds: F32 | None, only: Bool1 | None) -> F32:
        """The scores from which rows in ``slots`` may matter to queries, by handle."""
        reach = self._table.reach
        if self._table.shapes.has_orders:
            reach = self._lists.orders.reach(self._table, slots)
        if bounds is not None:
            reach = np.maximum(reach, bounds)
        if only is not None:
            reach = np.where(only, reach, np.float32(np.inf))
        return reach

    @property
    def _piece_elements(self) -> int:
        has_shadow = self._table.subscribed.shadow is not None
        return _PIECE_ELEMENTS if has_shadow else max(1, _PIECE_ELEMENTS // _LESS_IN_NUMPY)

    def _rows_at_once(self, reach: F32) -> int:
        """How many rows to match in a piece: few, where queries with an order take many of them."""
        table, shapes = self._table, self._table.shapes
        most = max(_LEAST_MATCHED, self._piece_elements // max(1, table.vectors[: table.used].size))
        if not shapes.has_orders:
            return most
        is_open = (reach == table.reach) & (reach < np.inf) & (shapes.orders != NO_ORDER)
        pairs = max(1.0, float(np.count_nonzero(is_open)), self._pairs_a_row)
        most = min(most, max(_LEAST_MATCHED, _MOST_GROWTH * self._last_rows))
        return min(most, max(_LEAST_ROWS, int(PIECE_PAIRS / pairs)))

    def _match(self, slots: I64, reach: F32, touched: Bool1) -> Generator[float, None, MatchHits]:
        """Match rows in one call of the scan; with what it finds there may be more to do."""
        ring, table, used = self._state.ring, self._table, self._table.used
        found = self._state.scan.pairs_above(
            self._state.definition.metric,
            ring.vectors[slots],
            ring.norms[slots],
            table.subscribed,
            reach[:used],
            table.most[:used],
        )
        self._last_rows, self._pairs_a_row = len(slots), len(found.rows) / len(slots)
        if len(found.crowded):
            self._lists.wait(found.crowded)
        elements: int = len(slots) * table.vectors[:used].size
        pairs = _Pairs(*self._filtered(found, slots))
        ranked: list[tuple[_Pairs, float]] = []
        if table.shapes.has_orders:
            is_ranked = table.shapes.are_ordered(pairs.handles)
            ranked = self._parts(pairs.some(np.flatnonzero(is_ranked)))
            pairs = pairs.some(np.flatnonzero(~is_ranked))
        hits = self._take(pairs, touched)
        yield elements / self._piece_elements + len(found.rows) / PIECE_PAIRS
        for part, share in ranked:
            self._take_ranked(part, touched)
            yield share
        return hits

    def _take(self, pairs: _Pairs, touched: Bool1) -> MatchHits:
        """Put rows into the lists of queries without an order; match queries' hits."""
        handles, slots, scores = pairs
        if not len(handles):
            return NO_HITS
        table = self._table
        matching = table.k[handles] == 0
        seqs = self._state.ring.seqs(slots)
        keys = self._lists.keys_of(scores, seqs)
        live = ~matching & (keys > table.floors[handles])
        if len(table.exclusions):
            self._leave_out(handles, slots, live)
        touched[handles[live]] = True
        self._lists.insert(handles[live], slots[live], keys[live])
        return handles[matching], seqs[matching], scores[matching]

    def _parts(self, pairs: _Pairs) -> list[tuple[_Pairs, float]]:
        """Pairs of queries with an order, those of an expression together, in parts that take a
        piece of work each to be ranked; and how much of one."""
        shapes = self._table.shapes
        if not len(pairs.handles):
            return []
        numbers = shapes.orders[pairs.handles]
        least_ns = len(numbers) * (PAIR_NS + shapes.ns_of(int(numbers[0])))
        if least_ns <= _PIECE_NS and (numbers == numbers[0]).all():  # as a rule
            return [(pairs, least_ns / _PIECE_NS)]
        by_number = np.argsort(numbers, kind="stable")
        distinct, starts, counts = np.unique(
            numbers[by_number], return_index=True, return_counts=True
        )
        each_ns = np.array([PAIR_NS + shapes.ns_of(number) for number in distinct.tolist()])
        takes_ns = np.repeat(each_ns, counts)
        takes_ns[starts] += EXPRESSION_NS
        until = np.cumsum(takes_ns) / _PIECE_NS
        cuts = np.flatnonzero(np.diff(np.floor(until))) + 1
        share = min(1.0, float(until[-1]))
        return [(pairs.some(own), share) for own in np.split(by_number, cuts)]

    def _take_ranked(self, pairs: _Pairs, touched: Bool1) -> None:
        """Note which rows are above the floors of queries with an order."""
        lists, table = self._lists, self._table
        # Some queries may have ended since the pairs were found.
        handles, slots, scores = pairs.some(np.flatnonzero(table.lists[pairs.handles]))
        if not len(handles):
            return
        ranks = lists.orders.ranks(handles, slots, scores)
        keys = lists.ranked_keys_of(handles, ranks, scores, self._state.ring.seqs(slots))
        enters = ordered_keys.are_above(keys, table.shapes.floors[handles])
        enters &= lists.orders.have_places(handles, ranks)
        if len(table.exclusions):
            self._leave_out(handles, slots, enters)
        if enters.any():
            touched[handles[enters]] = True
            self._entering.append(_Entering(handles[enters], slots[enters], keys[enters]))

    def _filtered(self, found: Pairs, slots: I64) -> tuple[I64, I64, F32]:
        """Those pairs whose row passes its query's filter: handles, slots, scores."""
        handles, scores = found.queries, found.scores
        rows = slots[found.rows]
        numbers = self._table.filters[handles]
        passed = numbers == NO_FILTER
        for number in np.unique(numbers[~passed]).tolist():
            filter_ = self._table.distinct_filters.by_number[number]
            of_this = np.flatnonzero(numbers == number)
            passed[of_this] = evaluate(filter_, self._state.columns, rows[of_this])
        return handles[passed], rows[passed], scores[passed]

    def _leave_out(self, handles: I64, slots: I64, live: Bool1) -> None:
        """Clear ``live`` where the query leaves out the row's id."""
        own = np.flatnonzero(live)
        own = own[self._table.excludes[handles[own]]]
        if len(own):
            ids = self._state.ids.of(slots[own])
            live[own] = ~self._table.exclusions.leave_out(handles[own], ids)
