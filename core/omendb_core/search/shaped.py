"""Searches whose order or selection is shaped: rows are read in order until k are taken.

The scan gives the first rows of the order (``first_rows``), four times as many each time that a
selection has to read deeper, up to where it is cheaper to score every row (``deep``). Under
``rank`` it gives bounds of scores, and so those rows that may be among the first (``bounded``). All
work comes in pieces: generators, for whoever has others to see to in between.

Reads the window's state and changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

import numpy as np

from ..model.types import F32, I64
from ..ranking import orders
from ..ranking.selection import Selector
from ..ranking.shape import Decay, Rank
from ..rows.ring import unpack
from ..scan.interface import TopK
from ..state import WindowState
from . import bounded, deep
from .deep import Rows
from .first_rows import FirstRows, Part, first_depth, first_rows
from .query import Query

#: How many times as deep a selection reads where that was not enough. 2 takes as long where little
#: more is wanted, and up to twice as long where much more is.
_DEEPER: Final = 4
#: How deep the scan reads, in rows, and of how many one: 1.1 ms for 1,000 of 100,000 x 128, where
#: scoring every row takes 1.6; 11 and 19 ms for 1,000 and 4,000 of a million, where that takes 32.
_LEAST_SCANNED: Final = 1024
_SCANNED_OF_ROWS: Final = 64
_MOST_SCANNED: Final = 4096


def top_shaped(
    state: WindowState, part: Part, first: FirstRows | None = None
) -> Generator[None, None, FirstRows]:
    """The rows that ``part`` answers, in the order of its shape. Yields after each piece of work.

    ``first``: those that are read first, where they are known.
    """
    shape = part.query.shape
    if not shape.selects and not isinstance(shape.order, Rank):
        if first is None:
            [first] = first_rows(state, [part], [first_depth(part.query)])
            yield
        return first
    found = yield from _read(state, part, first)
    counts = np.array([len(rows.slots) for rows in found], np.uint32)
    if len(found) == 1:
        return FirstRows(TopK(counts, found[0].slots, found[0].scores), found[0].ranks)
    ranks = [rows.ranks for rows in found if rows.ranks is not None]
    top = TopK(
        counts,
        np.concatenate([rows.slots for rows in found]),
        np.concatenate([rows.scores for rows in found]),
    )
    return FirstRows(top, np.concatenate(ranks) if ranks else None)


def _read(
    state: WindowState, part: Part, first: FirstRows | None
) -> Generator[None, None, list[Rows]]:
    """All vectors of a part are scanned for together, and again those that read deeper."""
    query, vectors = part.query, part.vectors
    if not query.shape.selects:
        return (yield from _read_first(state, part))
    selectors = [Selector(state, query.shape, query.k) for _ in vectors]
    open_, deeper = list(range(len(vectors))), set[int]()
    seen, depth = 0, first_depth(query)
    while open_ and depth <= max(first_depth(query), _most_scanned(state)):
        if first is None:
            some = part if len(open_) == len(vectors) else part._replace(vectors=vectors[open_])
            read = yield from _first(state, some, depth)
        else:
            read, first = _by_vector(first.top), None
        going_on: list[int] = []
        for place, rows in zip(open_, read, strict=True):
            if rows is None:
                deeper.add(place)
                continue
            yield from selectors[place].read_in_pieces(rows.slots[seen:], rows.scores[seen:])
            if not selectors[place].is_done and len(rows.slots) == depth:
                going_on.append(place)
        open_ = going_on
        depth, seen = _DEEPER * depth, depth
    deeper.update(open_)
    slots = np.flatnonzero(unpack(part.mask, state.ring.used)) if deeper else None
    found: list[Rows] = []
    for place, selector in enumerate(selectors):
        if slots is not None and place in deeper:
            found.append((yield from deep.chosen(state, query, vectors[place], part.floor, slots)))
        else:
            taken, scores = yield from selector.taken_in_pieces()
            found.append(deep.with_ranks(state, query, taken, scores))
    return found


def _read_first(state: WindowState, part: Part) -> Generator[None, None, list[Rows]]:
    """The same where the first k rows are taken: they come with their ranks."""
    read = yield from _first(state, part, part.query.k)
    if None not in read:
        return [rows for rows in read if rows is not None]
    slots = np.flatnonzero(unpack(part.mask, state.ring.used))
    found: list[Rows] = []
    for rows, vector in zip(read, part.vectors, strict=True):
        if rows is None:
            rows = yield from deep.chosen(state, part.query, vector, part.floor, slots)
        found.append(rows)
    return found


def _first(
    state: WindowState, part: Part, depth: int
) -> Generator[None, None, Sequence[Rows | None]]:
    """The first ``depth`` rows for each vector; None: it takes scoring every row."""
    query = part.query
    order = query.shape.order
    if isinstance(order, Rank):
        return (
            yield from bounded.first(
                state, order, query.at, part.vectors, depth, part.floor, part.mask
            )
        )
    [found] = first_rows(state, [part], [depth])
    yield
    return _by_vector(found.top)


def _by_vector(top: TopK) -> list[Rows]:
    if len(top.counts) == 1:
        return [Rows(top.slots, top.scores, None)]
    found: list[Rows] = []
    start = 0
    for stop in np.cumsum(top.counts).tolist():
        found.append(Rows(top.slots[start:stop], top.scores[start:stop], None))
        start = stop
    return found


def _most_scanned(state: WindowState) -> int:
    """Reading deeper, every row is scored."""
    return min(max(_LEAST_SCANNED, state.ring.rows // _SCANNED_OF_ROWS), _MOST_SCANNED)


def weights_of(state: WindowState, query: Query, slots: I64) -> F32 | None:
    """What the ages of rows take off their scores, float32 (n,); None unless they decay."""
    if not isinstance(query.shape.order, Decay):
        return None
    assert query.at is not None, "a decayed search is made at some time"
    return orders.weights(query.shape.order, state, slots, query.at)
