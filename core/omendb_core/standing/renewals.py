"""Which lists of live queries are made anew next, how deep, and of which rows.

Lists wait in turns, many are made in one scan, and no call takes long. A selection that skips much
has its list made twice as deep each time; beyond ``DEEPEST``, or what memory allows, none is kept
for it any more: whenever the window has changed it is *searched*, as deep as it has to read, and
its list is its answer.

Owns who waits, who is searched, and what deeper lists are charged with. Knows the window's state
and the table; how keys are made is for the lists.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import numpy as np

from ..model.budget import Share
from ..model.errors import Quota
from ..model.types import I64, Bool1
from ..ranking.shape import PLAIN
from ..state import WindowState
from .best_rows import BestRows, answer, best_rows
from .lists_by_depth import ListsByDepth
from .round import NONE
from .table import Table
from .turns_of_filters import TurnsOfFilters

#: A list is made, and cut, to this many times its depth.
CUT_TO: Final = 2
#: Lists made anew in one ``advance``; the others wait for the next. Fewer over wide windows: the
#: scan for them is bounded, to about 4 ms (170 µs a query of 100,000 × 128 and k = 10, on a busy
#: machine), but for the least with which it is still worth its pass over memory.
RENEWED_AT_ONCE: Final = 256
_RENEWED_ELEMENTS: Final = 1 << 28
_RENEWED_NS: Final = 4e6
_LEAST_RENEWED: Final = 8
#: What a query with an order, and one that is searched, count for in that.
_DECAYED_COST: Final = 2
_RANKED_COST: Final = 8
_SEARCHED_COST: Final = 64
#: The depth up to which lists are kept, if k is not larger: then a list takes 50 KiB, or 100 with
#: an order, and sorting it 0.1 ms.
DEEPEST: Final = 1024
#: After so many searches it is tried whether a list of that depth is enough again.
_TRIED_AGAIN: Final = 64
#: For so many pieces of a search, of a millisecond or so, an advance goes by without one.
_PIECES_TO_REST: Final = 8


class Made(NamedTuple):
    """Rows for lists: at most ``most`` for each of ``handles``, and one more as its floor."""

    handles: I64
    most: I64
    rows: BestRows


class Renewals:
    """``waiting``: queries whose lists wait. ``renewed`` counts lists that were made anew."""

    def __init__(
        self, state: WindowState, table: Table, lists: ListsByDepth, deeper: Share
    ) -> None:
        self._state = state
        self._table = table
        self._lists = lists
        self._deeper = deeper
        self._turns = TurnsOfFilters(state, table.distinct_filters)
        self.waiting: set[int] = set()
        #: Those of them that somebody makes already.
        self._in_hand: set[int] = set()
        self._searched: dict[int, int] = {}
        self._next = 0
        self._rest = 0
        self.renewed = 0

    def wait(self, handles: I64) -> None:
        """See ``LiveLists.wait``."""
        self.waiting.update(handles.tolist())
        self._table.close(handles)

    def search_again(self) -> None:
        """See ``LiveLists.search_again``."""
        self.waiting.update(self._searched)

    def are_searched(self, handles: I64) -> Bool1:
        """Which queries have no list but their answer."""
        if not self._searched:
            return np.zeros(len(handles), np.bool_)
        return np.isin(handles, list(self._searched))

    def remove(self, handles: I64) -> None:
        """Forget queries."""
        gone = handles.tolist()
        self.waiting.difference_update(gone)
        for handle in gone:
            self._searched.pop(handle, None)
        self._charge(
            -sum(self._extra_bytes(handle, int(self._table.depths[handle])) for handle in gone)
        )

    @property
    def has_some_to_make(self) -> bool:
        """See ``LiveLists.has_some_to_make``."""
        return not self.waiting <= self._in_hand

    @contextmanager
    def in_hand(self, handles: I64) -> Iterator[None]:
        """Nobody else makes these lists."""
        self._in_hand.update(handles.tolist())
        try:
            yield
        finally:
            self._in_hand.difference_update(handles.tolist())

    # -- whose turn it is ---------------------------------------------------------------------

    def next(self) -> I64:
        """Those of the waiting whose lists are to be made now."""
        if not self.waiting:
            return NONE
        elements = max(1, self._state.rows) * self._state.definition.dim
        most = min(RENEWED_AT_ONCE, max(_LEAST_RENEWED, _RENEWED_ELEMENTS // elements))
        free = self.waiting - self._in_hand
        if not free:
            return NONE
        waiting = np.sort(np.fromiter(free, np.int64, len(free)))
        waiting = np.roll(waiting, -int(np.searchsorted(waiting, self._next)))
        numbers = self._table.filters[waiting]
        handles = waiting[np.isin(numbers, self._turns.ready(np.unique(numbers)))]
        if self._rest:
            self._rest -= 1
            handles = handles[~self.are_searched(handles)]
        handles = handles[:most]
        costs = np.cumsum(self._costs(handles, most))
        handles = handles[: max(1, int(np.searchsorted(costs, most, side="right")))]
        if len(handles):
            self._next = int(handles[-1]) + 1
        return handles

    def chunks(self, handles: I64) -> Iterator[I64]:
        """``handles`` in parts that one scan is made for."""
        for start in range(0, len(handles), RENEWED_AT_ONCE):
            yield handles[start : start + RENEWED_AT_ONCE]

    def _costs(self, handles: I64, most: int) -> I64:
        """What each counts for; lists that count for ``most`` together take ``_RENEWED_NS``."""
        costs = np.ones(len(handles), np.int64)
        if self._table.shapes.has_orders:
            ordered = self._table.shapes.are_ordered(handles)
            costs[ordered] = _RANKED_COST
            costs[ordered & ~np.isnan(self._table.shapes.half_lives[handles])] = _DECAYED_COST
        costs[self.are_searched(handles)] = _SEARCHED_COST
        last_seq = self._state.last_seq
        for place in np.flatnonzero(self._table.excludes[handles]).tolist():
            looked_up_ns = self._table.exclusions.look_up_ns(int(handles[place]), last_seq)
            costs[place] += round(looked_up_ns * most / _RENEWED_NS)
        return costs

    # -- what lists are made of ---------------------------------------------------------------

    def rows(self, handles: I64) -> Generator[Made | None, None, None]:
        """The best rows of queries, each kind of order apart; None after a piece of work."""
        searched = self.are_searched(handles)
        listed = handles[~searched]
        kinds = self._table.shapes.orders_of(listed)
        for kind in np.unique(kinds).tolist():
            yield from self._best(listed[kinds == kind])
        for handle in handles[searched].tolist():
            yield from self._search(handle)

    def have_made(self, handles: I64) -> None:
        """Lists are as the window is now."""
        self.waiting.difference_update(handles.tolist())
        self._table.close(handles[self.are_searched(handles)])
        self.renewed += len(handles)

    def _best(self, handles: I64) -> Generator[Made | None, None, None]:
        most = CUT_TO * self._table.depths[handles]
        found = yield from best_rows(self._state, self._table, handles, most + 1)
        yield Made(handles, most, found)

    def _search(self, handle: int) -> Generator[Made | None, None, None]:
        """The answer of a query that has no list; now and then a list is tried again.

        Nobody else's lists, and no change, get ahead of a search: so the longer one took, the more
        advances pass before the next.
        """
        own = np.array([handle])
        self._searched[handle] += 1
        if self._searched[handle] % _TRIED_AGAIN == 0 and self._keep_again(handle):
            yield from self._best(own)
            return
        reading = answer(self._state, self._table, handle)
        pieces = 0
        while True:
            try:
                next(reading)
            except StopIteration as end:
                found: BestRows = end.value
                break
            pieces += 1
            yield None
        self._rest = pieces // _PIECES_TO_REST
        yield Made(own, self._table.k[own], found)

    # -- deeper lists -------------------------------------------------------------------------

    def deepen(self, handles: I64) -> None:
        """Selections found too few rows in these lists: they wait, to be made twice as deep."""
        table = self._table
        for handle in handles.tolist():
            depth, k = int(table.depths[handle]), int(table.k[handle])
            deeper = 2 * depth
            if deeper > max(DEEPEST, k) or not self._can_pay(handle, depth, deeper):
                self._searched[handle] = 0
                self._charge(-self._extra_bytes(handle, depth))
                deeper = k
            self._set_depth(handle, deeper)
        self.wait(handles)

    def _set_depth(self, handle: int, depth: int) -> None:
        """Give a query an empty list of another depth, which was paid for."""
        own = np.array([handle])
        self._lists.take_back(own)
        self._table.set_depths(own, np.array([depth]))
        self._lists.give(own)

    def begin_again(self, handles: I64) -> None:
        """See ``LiveLists.begin_again``. After a fault: once more."""
        table = self._table
        for handle in handles[
            self.are_searched(handles) | (table.depths[handles] > table.k[handles])
        ]:
            one = int(handle)
            self._searched.pop(one, None)
            self._charge(-self._extra_bytes(one, int(table.depths[one])))
            self._set_depth(one, int(table.k[one]))

    def _keep_again(self, handle: int) -> bool:
        """Keep a list for a query that was searched, if there is memory."""
        depth = int(self._table.k[handle])
        deepest = depth
        while 2 * deepest <= DEEPEST:
            deepest *= 2
        if not self._can_pay(handle, depth, deepest):
            return False
        del self._searched[handle]
        self._set_depth(handle, deepest)
        return True

    def _can_pay(self, handle: int, depth: int, deeper: int) -> bool:
        """Pay for a deeper list, if there is memory."""
        try:
            self._charge(self._extra_bytes(handle, deeper) - self._extra_bytes(handle, depth))
        except Quota:
            return False
        return True

    def _extra_bytes(self, handle: int, depth: int) -> int:
        """What a list of this depth takes more than one of k."""
        shape = self._table.shapes.of(handle)
        if shape == PLAIN or not self._table.lists[handle]:
            return 0
        is_ordered, k = shape.order is not None, int(self._table.k[handle])
        deep_bytes = self._lists.bytes_for(depth, is_ordered=is_ordered)
        return deep_bytes - self._lists.bytes_for(k, is_ordered=is_ordered)

    def _charge(self, more_bytes: int) -> None:
        if more_bytes:
            self._deeper.resize(self._deeper.taken_bytes + more_bytes)
