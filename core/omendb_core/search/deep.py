"""Reading an order to its end: every row is scored, and the rows come out in order, bit by bit.

For orders that no scan knows, and selections that read deep. Work comes in pieces of a millisecond
or so: generators that yield None after each. What is sorted is little at a time, as whoever reads
may be done early: rows are parted around a pivot, the better ones again, until they are few (a
quicksort that begins with the best). Ties are parted by what tells them apart. Reads the window's
state, which must not change between two pieces.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..model.types import F32, F64, I64
from ..ranking import costs, orders
from ..ranking.selection import Selector
from ..ranking.shape import Order, Rank
from ..scoring import score
from ..state import WindowState
from .query import Query

#: Elements scored, and rows ranked, in a piece: 0.5 ms for 32,768 rows of 128.
_PIECE_ELEMENTS: Final = 4 << 20
_PIECE_ROWS: Final = 32 << 10
#: What the values of a piece's rows should take, of an expression that takes long.
_PIECE_NS: Final = 2e6
#: So many rows are sorted at once, at first and at most (2 ms).
_FIRST_SORTED_ROWS: Final = 256
_MOST_SORTED_ROWS: Final = 16 << 10
#: Of about so many rows one tells where to part the others, and the share that is to be better:
#: twice as many as are sorted at once, within these bounds.
_SAMPLE_ROWS: Final = 512
_LEAST_SHARE: Final = 1 / 64
_MOST_SHARE: Final = 1 / 4


class Rows(NamedTuple):
    """Rows of one query; ``ranks`` where an order gives them."""

    slots: I64
    scores: F32
    ranks: F64 | None


def chosen(
    state: WindowState,
    query: Query,
    vector: F32,
    floor: np.float32,
    slots: I64,
) -> Generator[None, None, Rows]:
    """The rows of ``slots`` that ``vector`` (dim,), prepared, answers, in the order of taking."""
    selector = Selector(state, query.shape, query.k)
    order = query.shape.order
    for found in in_order(state, order, vector, floor, slots, query.at):
        if found is None:
            yield
            continue
        yield from selector.read_in_pieces(*found)
        if selector.is_done:
            break
    taken, scores = yield from selector.taken_in_pieces()
    return with_ranks(state, query, taken, scores)


def with_ranks(state: WindowState, query: Query, slots: I64, scores: F32) -> Rows:
    """Rows with the ranks that the query's order gives them."""
    order = query.shape.order
    ranks = None if order is None else orders.ranks(order, state, slots, scores, query.at)
    return Rows(slots, scores, ranks)


def in_order(
    state: WindowState,
    order: Order | None,
    vector: F32,
    floor: np.float32,
    slots: I64,
    at: float | None,
) -> Iterator[tuple[I64, F32] | None]:
    """All rows of ``slots`` that score at least ``floor``, best first; None after a piece."""
    step = max(1, min(_PIECE_ROWS, _PIECE_ELEMENTS // state.definition.dim, _rows_ranked(order)))
    found = np.empty(len(slots), np.int64)
    levels: list[NDArray[Any]] = []
    count = 0
    for start in range(0, len(slots), step):
        rows = ranked(state, order, vector, floor, slots[start : start + step], at)
        parts = orders.levels(order, rows.ranks, rows.scores, state.ring.seqs(rows.slots))
        levels = levels or [np.empty(len(slots), part.dtype) for part in (rows.scores, *parts)]
        here = slice(count, count + len(rows.slots))
        found[here] = rows.slots
        for level, part in zip(levels, (rows.scores, *parts), strict=True):
            level[here] = part
        count += len(rows.slots)
        yield None
    for places in _descending(levels[1:], count):
        yield None if places is None else (found[places], levels[0][places])


def _rows_ranked(order: Order | None) -> int:
    """How many rows are ranked in a piece."""
    if isinstance(order, Rank):
        return int(_PIECE_NS / costs.ns_a_row(order.expression))
    return _PIECE_ROWS


def ranked(
    state: WindowState,
    order: Order | None,
    vector: F32,
    floor: np.float32,
    slots: I64,
    at: float | None,
) -> Rows:
    """The rows of ``slots`` that score at least ``floor`` and have a place in the order."""
    scores = score.score_chosen(
        state.definition.metric,
        state.ring.vectors,
        slots,
        vector[None],
        np.zeros(len(slots), np.int64),
    )
    near = np.flatnonzero(scores >= floor)
    slots, scores = slots[near], scores[near]
    if order is None:
        return Rows(slots, scores, None)
    ranks = orders.ranks(order, state, slots, scores, at)
    placed = orders.placed(order, ranks)
    return Rows(slots[placed], scores[placed], ranks[placed])


class _Run(NamedTuple):
    """Rows that are alike in the levels before ``level``: their places, in parts."""

    level: int
    parts: list[I64]

    @property
    def rows(self) -> int:
        return sum(map(len, self.parts))


def _descending(levels: list[NDArray[Any]], count: int) -> Iterator[I64 | None]:
    """Places 0 … count - 1, by ``levels`` descending, some at a time; None after a piece.

    The last level tells all rows apart.
    """
    parts = [
        np.arange(start, min(start + _PIECE_ROWS, count)) for start in range(0, count, _PIECE_ROWS)
    ]
    runs, sorted_rows = [_Run(0, parts)], _FIRST_SORTED_ROWS
    while runs:
        run = runs.pop()
        if run.rows <= sorted_rows:
            if run.rows:
                places = np.concatenate(run.parts)
                keys = [level[places] for level in reversed(levels[run.level :])]
                yield places[np.lexsort(keys)[::-1]] if keys else places  # one row
                sorted_rows = min(2 * sorted_rows, _MOST_SORTED_ROWS)
            continue
        values = levels[run.level]
        pivot = _pivot(values, run, 2 * sorted_rows)
        better, alike, worse = [], [], []
        for places in run.parts:
            found = values[places]
            better.append(places[found > pivot])
            alike.append(places[found == pivot])
            worse.append(places[found < pivot])
            yield None
        runs += [
            _Run(run.level, worse), _Run(run.level + 1, alike), _Run(run.level, better),
        ]  # fmt: skip


def _pivot(values: NDArray[Any], run: _Run, wanted: int) -> Any:
    """A value of the run that about ``wanted`` rows of it are better than."""
    step = max(1, run.rows // _SAMPLE_ROWS)
    sample = np.sort(np.concatenate([values[places[::step]] for places in run.parts]))
    share = min(max(wanted / run.rows, _LEAST_SHARE), _MOST_SHARE)
    return sample[int(len(sample) * (1 - share))]
