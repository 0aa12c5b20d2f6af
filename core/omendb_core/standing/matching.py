"""Rows against standing queries: which reach a match query, and which enter which list.

All queries are matched in one call of the scan, by score; filters, orders and exclusions then
decide on the pairs that are left. Knows the window's state, the table and the lists; nothing of
what came or left when.
"""

from __future__ import annotations

import numpy as np

from ..filters.parser import evaluate
from ..model.types import F32, I64, Bool1
from ..scan.interface import Pairs
from ..state import WindowState
from . import ordered_keys
from .live_lists import LiveLists
from .round import NO_HITS, MatchHits
from .table import NO_FILTER, Table


class Matching:
    """Matches rows with the queries of one window."""

    def __init__(self, state: WindowState, table: Table, lists: LiveLists) -> None:
        self._state = state
        self._table = table
        self._lists = lists

    def match(self, slots: I64, touched: Bool1, only: Bool1 | None = None) -> MatchHits:
        """Match live rows with all queries, or those marked in ``only``; match queries' hits.

        Lists that took rows are marked in ``touched``.
        """
        ring, table, used = self._state.ring, self._table, self._table.used
        reach = self._reach(slots)
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
        """Put rows into the lists of queries with an order, where they are above the floor."""
        lists, table = self._lists, self._table
        ranks = lists.orders.ranks(handles, slots, scores)
        keys = lists.ranked_keys_of(handles, ranks, scores, self._state.ring.seqs(slots))
        enters = ordered_keys.are_above(keys, table.shapes.floors[handles])
        enters &= lists.orders.have_places(handles, ranks)
        if len(table.exclusions):
            self._leave_out(handles, slots, enters)
        touched[handles[enters]] = True
        lists.insert_ranked(handles[enters], slots[enters], keys[enters])

    def _reach(self, slots: I64) -> F32:
        """The scores from which rows in ``slots`` may matter to queries, by handle."""
        if not self._table.shapes.has_orders:
            return self._table.reach
        return self._lists.orders.reach(self._table.reach, slots)

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
