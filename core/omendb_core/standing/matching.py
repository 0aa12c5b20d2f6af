"""Rows against standing queries: which reach a match query, and which enter which list.

All queries are matched in one call of the scan, by score; filters, orders and exclusions then
decide on the pairs that are left. Knows the window's state, the table and the lists; nothing of
what came or left when.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..filters.parser import evaluate
from ..model.types import C128, F32, I64, Bool1
from ..scan.interface import Pairs
from ..state import WindowState
from . import ordered_keys
from .live_lists import LiveLists
from .round import NO_HITS, MatchHits
from .shapes import NO_ORDER
from .table import NO_FILTER, Table

#: Rows for lists with an order that wait to be put in: beyond it they are, before more are matched.
_MOST_ENTERING: Final = 1 << 16
#: How many of them one step puts in: 1 ms where each is for another list.
_STEP_ENTERING: Final = 1 << 11
#: What it takes to score a row for a query with an order, and to compare its rank with the floor,
#: the expression aside; and what one call may take of it where nothing is left out by its score.
_PAIR_NS: Final = 150.0
_MATCH_NS: Final = 3e6
_LEAST_ROWS: Final = 8


class _Entering(NamedTuple):
    """Rows for lists with an order: ``handles``, ``slots`` int64 and ``keys`` complex (n,)."""

    handles: I64
    slots: I64
    keys: C128


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

    def match(self, slots: I64, touched: Bool1, only: Bool1 | None = None) -> tuple[int, MatchHits]:
        """Match live rows with all queries, or those marked in ``only``, as many as take a step.

        How many that were, and match queries' hits. Lists that took rows are marked in ``touched``.
        """
        reach = self._reach(slots)
        slots = slots[: self._rows_at_once(len(slots), reach)]
        return len(slots), self._match(slots, reach, touched, only)

    def _rows_at_once(self, most: int, reach: F32) -> int:
        """How many rows to match: few, where many queries with an order may take any of them."""
        table, shapes = self._table, self._table.shapes
        if not shapes.has_orders:
            return most
        is_open = (reach == table.reach) & (reach < np.inf) & (shapes.orders != NO_ORDER)
        each_ns = np.count_nonzero(is_open) * (_PAIR_NS + shapes.dearest_ns)
        return max(_LEAST_ROWS, int(_MATCH_NS / max(1.0, each_ns)))

    def _match(self, slots: I64, reach: F32, touched: Bool1, only: Bool1 | None) -> MatchHits:
        ring, table, used = self._state.ring, self._table, self._table.used
        if only is not None:
            reach = np.where(only, reach, np.float32(np.inf))
        found = self._state.scan.pairs_above(
            self._state.definition.metric,
            ring.vectors[slots],
            ring.norms[slots],
            table.subscribed,
            reach[:used],
            table.most[:used],
        )
        if len(found.crowded):
            self._lists.wait(found.crowded)
        if not len(found.rows):
            return NO_HITS
        handles, rows, scores = self._filtered(found, slots)
        matching = table.k[handles] == 0
        is_live = ~matching
        if table.shapes.has_orders:
            is_ranked = table.shapes.are_ordered(handles)
            own = np.flatnonzero(is_ranked)
            self._take_ranked(handles[own], rows[own], scores[own], touched)
            is_live &= ~is_ranked
        seqs = ring.seqs(rows)
        keys = self._lists.keys_of(scores, seqs)
        live = is_live & (keys > table.floors[handles])
        if len(table.exclusions):
            self._leave_out(handles, rows, live)
        touched[handles[live]] = True
        self._lists.insert(handles[live], rows[live], keys[live])
        return handles[matching], seqs[matching], scores[matching]

    def _take_ranked(self, handles: I64, slots: I64, scores: F32, touched: Bool1) -> None:
        """Note which rows are above the floors of queries with an order."""
        lists, table = self._lists, self._table
        ranks = lists.orders.ranks(handles, slots, scores)
        keys = lists.ranked_keys_of(handles, ranks, scores, self._state.ring.seqs(slots))
        enters = ordered_keys.are_above(keys, table.shapes.floors[handles])
        enters &= lists.orders.have_places(handles, ranks)
        if len(table.exclusions):
            self._leave_out(handles, slots, enters)
        if enters.any():
            touched[handles[enters]] = True
            self._entering.append(_Entering(handles[enters], slots[enters], keys[enters]))

    def _reach(self, slots: I64) -> F32:
        """The scores from which rows in ``slots`` may matter to queries, by handle."""
        if not self._table.shapes.has_orders:
            return self._table.reach
        return self._lists.orders.reach(self._table, slots)

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
