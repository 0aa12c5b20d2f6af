"""Searches whose order or selection is shaped: rows are read in order until k are taken.

The scan gives the first rows of the order, twice as many each time that a selection has to read
deeper, up to where it is cheaper to score every row (``deep``); under ``rank`` it gives bounds of
scores, and so those rows that may be among the first (``bounded``). All work comes in pieces:
generators, for whoever has others to see to in between.

Reads the window's state and changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple

import numpy as np

from ..model.types import F32, F64, I64, U64
from ..ranking import orders
from ..ranking.selection import Selector
from ..ranking.shape import Decay, Rank
from ..rows.ring import unpack
from ..scan.interface import RankedTopK, TopK
from ..state import WindowState
from . import bounded, deep
from .deep import Rows
from .query import Query

#: Rows that a selection reads first, for each one that it wants.
_READ_FOR_ONE: Final = 2
#: How deep the scan reads, in rows, and of how many one: 1.1 ms for 1,000 of 100,000 x 128, where
#: scoring every row takes 1.6; 11 and 19 ms for 1,000 and 4,000 of a million, where that takes 32.
_LEAST_SCANNED: Final = 1024
_SCANNED_OF_ROWS: Final = 64
_MOST_SCANNED: Final = 4096


class Shaped(NamedTuple):
    """Answers as ``TopK``, in the order of the shape; ``ranks`` float64 beside the scores."""

    top: TopK
    ranks: F64 | None


def top_shaped(
    state: WindowState, query: Query, vectors: F32, floor: np.float32, mask: U64
) -> Generator[None, None, Shaped]:
    """The rows of ``mask`` (words) that each of ``vectors`` float32 (q, dim), prepared, answers.

    ``floor`` is the least score that counts. Yields after each piece of work.
    """
    if not query.shape.selects and not isinstance(query.shape.order, Rank):
        whole = _top(state, query, vectors, query.k, floor, mask)
        yield
        given = whole.ranks if isinstance(whole, RankedTopK) else None
        return Shaped(TopK(whole.counts, whole.slots, whole.scores), given)
    found = yield from _read(state, query, vectors, floor, mask)
    counts = np.array([len(rows.slots) for rows in found], np.uint32)
    if len(found) == 1:
        return Shaped(TopK(counts, found[0].slots, found[0].scores), found[0].ranks)
    ranks = [rows.ranks for rows in found if rows.ranks is not None]
    top = TopK(
        counts,
        np.concatenate([rows.slots for rows in found]),
        np.concatenate([rows.scores for rows in found]),
    )
    return Shaped(top, np.concatenate(ranks) if ranks else None)


def _read(
    state: WindowState, query: Query, vectors: F32, floor: np.float32, mask: U64
) -> Generator[None, None, list[Rows]]:
    """All queries of one call are scanned together, and again those that read deeper."""
    selectors = [Selector(state, query.shape, query.k) for _ in vectors]
    open_, deeper = list(range(len(vectors))), set[int]()
    seen, depth = 0, _first_depth(query)
    while open_ and depth <= max(_first_depth(query), _most_scanned(state)):
        first = yield from _first(state, query, vectors[open_], depth, floor, mask)
        going_on: list[int] = []
        for place, rows in zip(open_, first, strict=True):
            if rows is None:
                deeper.add(place)
                continue
            yield from selectors[place].read_in_pieces(rows.slots[seen:], rows.scores[seen:])
            if not selectors[place].is_done and len(rows.slots) == depth:
                going_on.append(place)
        open_ = going_on
        depth, seen = 2 * depth, depth
    deeper.update(open_)
    slots = np.flatnonzero(unpack(mask, state.ring.used)) if deeper else None
    found: list[Rows] = []
    for place, selector in enumerate(selectors):
        if slots is not None and place in deeper:
            found.append((yield from deep.chosen(state, query, vectors[place], floor, slots)))
        else:
            taken, scores = yield from selector.taken_in_pieces()
            found.append(deep.with_ranks(state, query, taken, scores))
    return found


def _first(
    state: WindowState, query: Query, vectors: F32, depth: int, floor: np.float32, mask: U64
) -> Generator[None, None, list[Rows | None]]:
    """The first ``depth`` rows for each of ``vectors``; None: it takes scoring every row."""
    order = query.shape.order
    if isinstance(order, Rank):
        return (yield from bounded.first(state, order, query.at, vectors, depth, floor, mask))
    top = _top(state, query, vectors, depth, floor, mask)
    yield
    if len(vectors) == 1:
        return [Rows(top.slots, top.scores, None)]
    found: list[Rows | None] = []
    start = 0
    for stop in np.cumsum(top.counts).tolist():
        found.append(Rows(top.slots[start:stop], top.scores[start:stop], None))
        start = stop
    return found


def _top(
    state: WindowState, query: Query, vectors: F32, depth: int, floor: np.float32, mask: U64
) -> TopK | RankedTopK:
    """The first ``depth`` rows by score, or under ``decay``."""
    count = len(vectors)
    question = (
        state.ring,
        state.definition.metric,
        vectors,
        np.full(count, depth, np.int64),
        np.full(count, floor, np.float32),
        mask[None],
        np.zeros(count, np.int64),
    )
    order = query.shape.order
    if not isinstance(order, Decay):
        return state.scan.top_k(*question)
    half_lives = np.full(count, order.half_life_seconds)
    return state.scan.top_k_decayed(*question, orders.times_by_slot(order, state), half_lives)


def _most_scanned(state: WindowState) -> int:
    """Reading deeper, every row is scored."""
    return min(max(_LEAST_SCANNED, state.ring.rows // _SCANNED_OF_ROWS), _MOST_SCANNED)


def _first_depth(query: Query) -> int:
    shape = query.shape
    if not shape.selects:
        return query.k
    if shape.mmr is not None and shape.group is None:
        return shape.mmr.candidates
    return _READ_FOR_ONE * (query.k if shape.mmr is None else shape.mmr.candidates)


def weights_of(state: WindowState, query: Query, slots: I64) -> F32 | None:
    """What the ages of rows take off their scores, float32 (n,); None unless they decay."""
    if not isinstance(query.shape.order, Decay):
        return None
    assert query.at is not None, "a decayed search is made at some time"
    return orders.weights(query.shape.order, state, slots, query.at)
