"""Searches whose order or selection is shaped: rows are read in order until k are taken.

By score alone the scan gives the first rows of the order, twice as many each time that a selection
has to read deeper. Under ``decay`` and ``rank`` every row that passes is scored.

Reads the window's state and changes nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, F64, I64, U64
from ..ranking import orders
from ..ranking.selection import Selector
from ..ranking.shape import Decay, Order
from ..rows.ring import unpack
from ..scan.interface import TopK
from ..scoring import score
from ..state import WindowState
from .query import Query

#: Rows that a selection reads first, for each one that it wants.
_READ_FOR_ONE: Final = 2


class _Rows(NamedTuple):
    """Rows of one query, in order; ``ranks`` where an order gives them."""

    slots: I64
    scores: F32
    ranks: F64 | None


class Shaped(NamedTuple):
    """Answers as ``TopK``, in the order of the shape; ``ranks`` float64 beside the scores."""

    top: TopK
    ranks: F64 | None


def top_shaped(
    state: WindowState, query: Query, vectors: F32, floor: np.float32, mask: U64
) -> Shaped:
    """The rows of ``mask`` (words) that each of ``vectors`` float32 (q, dim), prepared, answers.

    ``floor`` is the least score that counts.
    """
    order = query.shape.order
    if order is None:
        found = _by_score(state, query, vectors, floor, mask)
    else:
        slots = np.flatnonzero(unpack(mask, state.ring.used))
        found = [_ordered(state, query, order, vector, floor, slots) for vector in vectors]
    counts = np.array([len(rows.slots) for rows in found], np.uint32)
    ranks = [rows.ranks for rows in found if rows.ranks is not None]
    top = TopK(
        counts,
        np.concatenate([rows.slots for rows in found]),
        np.concatenate([rows.scores for rows in found]),
    )
    return Shaped(top, np.concatenate(ranks) if ranks else None)


def _by_score(
    state: WindowState, query: Query, vectors: F32, floor: np.float32, mask: U64
) -> list[_Rows]:
    """By score: all queries of one call are scanned together, and again those that read deeper."""
    selectors = [Selector(state, query.shape, query.k) for _ in vectors]
    found: list[_Rows] = [_Rows(np.empty(0, np.int64), np.empty(0, np.float32), None)] * len(
        vectors
    )
    depth = _first_depth(query)
    is_open = np.arange(len(vectors))
    while len(is_open):
        count = len(is_open)
        top = state.scan.top_k(
            state.ring,
            state.definition.metric,
            vectors[is_open],
            np.full(count, depth, np.int64),
            np.full(count, floor, np.float32),
            mask[None],
            np.zeros(count, np.int64),
        )
        going_on: list[int] = []
        ends = np.cumsum(top.counts)
        for place, end, length in zip(
            is_open.tolist(), ends.tolist(), top.counts.tolist(), strict=True
        ):
            rows = _Rows(top.slots[end - length : end], top.scores[end - length : end], None)
            seen = len(found[place].slots)
            selectors[place].read(rows.slots[seen:], rows.scores[seen:])
            found[place] = rows
            if not selectors[place].is_done and length == depth:
                going_on.append(place)
        is_open = np.array(going_on, np.int64)
        depth *= 2
    return [_chosen(rows, selector) for rows, selector in zip(found, selectors, strict=True)]


def _ordered(
    state: WindowState, query: Query, order: Order, vector: F32, floor: np.float32, slots: I64
) -> _Rows:
    """By an order of its own: every row is scored."""
    scores = score.score_chosen(
        state.definition.metric,
        state.ring.vectors,
        slots,
        vector[None],
        np.zeros(len(slots), np.int64),
    )
    near = np.flatnonzero(scores >= floor)
    slots, scores = slots[near], scores[near]
    rows = _Rows(slots, scores, orders.ranks(order, state, slots, scores, query.at))
    selector = Selector(state, query.shape, query.k)
    depth, seen = _first_depth(query), 0
    while True:
        first = _first(state, order, rows, depth)
        selector.read(first.slots[seen:], first.scores[seen:])
        if selector.is_done or len(first.slots) < depth:
            return _chosen(first, selector)
        depth, seen = 2 * depth, depth


def _first(state: WindowState, order: Order, rows: _Rows, depth: int) -> _Rows:
    """The first ``depth`` rows in order."""
    slots, scores, ranks = rows
    assert ranks is not None
    ranked = np.flatnonzero(~np.isnan(ranks))
    if depth < len(ranked):
        least = np.partition(ranks[ranked], len(ranked) - depth)[len(ranked) - depth]
        some = np.flatnonzero(ranks >= least)
        slots, scores, ranks = slots[some], scores[some], ranks[some]
    best = orders.in_order(order, ranks, scores, state.ring.seqs(slots))[:depth]
    return _Rows(slots[best], scores[best], ranks[best])


def _first_depth(query: Query) -> int:
    shape = query.shape
    if not shape.selects:
        return query.k
    if shape.mmr is not None and shape.group is None:
        return shape.mmr.candidates
    return _READ_FOR_ONE * (query.k if shape.mmr is None else shape.mmr.candidates)


def _chosen(rows: _Rows, selector: Selector) -> _Rows:
    places = selector.taken()
    return _Rows(
        rows.slots[places],
        rows.scores[places],
        None if rows.ranks is None else rows.ranks[places],
    )


def weights_of(state: WindowState, query: Query, slots: I64) -> F32 | None:
    """What the ages of rows take off their scores, float32 (n,); None unless they decay."""
    if not isinstance(query.shape.order, Decay):
        return None
    assert query.at is not None, "a decayed search is made at some time"
    return orders.weights(query.shape.order, state, slots, query.at)
