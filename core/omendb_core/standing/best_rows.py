"""The best rows of live queries in their orders: what lists are made of.

All queries of a call that go by score, or decay by the same times, share one scan; those by score
over a wide window one in parts. Those by ``rank`` are looked for in pieces of a millisecond or two:
generators that yield after each, between
which the window must not change, and queries may end. Knows the window's state and the table of
queries; nothing of lists.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from ..model.types import F32, F64, I64, U64
from ..ranking import orders
from ..ranking.shape import Rank
from ..rows.ring import unpack
from ..scan import parts
from ..scan.decayed import Question
from ..scan.interface import TopK
from ..search import bounded, deep
from ..search.masks import Masks
from ..search.query import Query
from ..state import WindowState
from .table import Table


class BestRows(NamedTuple):
    """Rows, query after query, best first: ``counts`` int64 of each, ``slots``, ``scores``, and
    ``ranks`` float64, NaN for null, where the queries have orders."""

    counts: I64
    slots: I64
    scores: F32
    ranks: F64 | None


def best_rows(
    state: WindowState, table: Table, handles: I64, most: I64
) -> Generator[None, None, BestRows]:
    """The ``most[i]`` best rows of each query, in its order; all of one kind of order
    (``Shapes.orders``)."""
    masks = Masks(state)
    mask_of = np.array([_mask(state, table, masks, one) for one in handles.tolist()], np.int64)
    order = table.shapes.of(int(handles[0])).order
    if isinstance(order, Rank):
        return (yield from _ranked(state, table, order, handles, most, masks, mask_of))
    floors, words = table.least_scores(handles), np.stack(masks.words)
    question = Question(table.vectors[handles], most, floors, words, mask_of)
    ring, metric = state.ring, state.definition.metric
    if order is None:
        top = yield from _top_k(state, question)
        return BestRows(top.counts.astype(np.int64), top.slots, top.scores, None)
    times, half_lives = orders.times_by_slot(order, state), table.shapes.half_lives[handles]
    found = state.scan.top_k_decayed(ring, metric, *question, times, half_lives)
    return BestRows(found.counts.astype(np.int64), found.slots, found.scores, found.ranks)


def _top_k(state: WindowState, question: Question) -> Generator[None, None, TopK]:
    """In one scan, or of a wide window in parts."""
    ring, metric = state.ring, state.definition.metric
    if not parts.is_wide(ring):
        return state.scan.top_k(ring, metric, *question)
    in_parts = parts.TopKInParts(state.scan, ring, metric, question)
    rows = parts.step_rows(ring, len(question.queries))
    while not in_parts.is_done:
        in_parts.step(rows)
        yield
    return in_parts.found


def _ranked(
    state: WindowState,
    table: Table,
    order: Rank,
    handles: I64,
    most: I64,
    masks: Masks,
    mask_of: I64,
) -> Generator[None, None, BestRows]:
    """Those of queries with one rank: bounds leave few rows to be scored, as a rule."""
    alike: dict[tuple[int, int, np.float32], list[int]] = {}
    floors, vectors = table.least_scores(handles), table.vectors[handles]
    for place, key in enumerate(zip(mask_of.tolist(), most.tolist(), floors, strict=True)):
        alike.setdefault(key, []).append(place)
    found: dict[int, deep.Rows] = {}
    for (number, count, floor), places in alike.items():
        mask = masks.words[number]
        first = yield from _first(state, order, vectors[places], count, floor, mask)
        found.update(zip(places, first, strict=True))
    rows = [found[place] for place in range(len(handles))]
    slots = np.concatenate([one.slots for one in rows])
    scores = np.concatenate([one.scores for one in rows])
    counts = np.array([len(one.slots) for one in rows], np.int64)
    return BestRows(counts, slots, scores, orders.ranks(order, state, slots, scores))


def answer(state: WindowState, table: Table, handle: int) -> Generator[None, None, BestRows]:
    """What a query answers, however deep its selection has to read; yields after each piece."""
    masks = Masks(state)
    number = _mask(state, table, masks, handle)
    query = Query(None, k=int(table.k[handle]), shape=table.shapes.of(handle))
    floor = table.least_scores(np.array([handle]))[0]
    slots = np.flatnonzero(unpack(masks.words[number], state.ring.used))
    vector = table.vectors[handle].copy()
    found = yield from deep.chosen(state, query, vector, floor, slots)
    return BestRows(np.array([len(found.slots)]), *found)


def _first(
    state: WindowState, order: Rank, vectors: F32, count: int, floor: np.float32, mask: U64
) -> Generator[None, None, list[deep.Rows]]:
    """The first ``count`` rows of ``mask`` (words) for each of ``vectors``."""
    slots: I64 | None = None
    found: list[deep.Rows] = []
    first = yield from bounded.first(state, order, None, vectors, count, floor, mask)
    for vector, rows in zip(vectors, first, strict=True):
        if rows is None:
            if slots is None:
                slots = np.flatnonzero(unpack(mask, state.ring.used))
            rows = yield from _read(deep.in_order(state, order, vector, floor, slots, None), count)
        found.append(rows)
    return found


def _read(
    reading: Iterator[tuple[I64, F32] | None], count: int
) -> Generator[None, None, deep.Rows]:
    """The first ``count`` rows that are read in order."""
    slots, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for some in reading:
        if some is None:
            yield
            continue
        slots.append(some[0])
        scores.append(some[1])
        if sum(map(len, slots)) >= count:
            break
    return deep.Rows(np.concatenate(slots)[:count], np.concatenate(scores)[:count], None)


def _mask(state: WindowState, table: Table, masks: Masks, handle: int) -> int:
    """The number of the mask of the rows that pass a query's filter and exclusions."""
    filter_ = table.distinct_filters.by_number.get(int(table.filters[handle]))
    number = masks.number(filter_, None)
    if not table.excludes[handle]:
        return number
    slots = table.exclusions.slots(handle, state.ids, state.last_seq)
    return masks.without(number, slots) if len(slots) else number
