"""Searches whose answer is shaped: the time that they are of, and how long they may take.

Lives on the engine's thread. How deep a selection reads, only reading tells: what is expected is
the worst, every row read in order, and each held against all that were taken before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from omendb_core.ranking.costs import ns_a_row
from omendb_core.ranking.shape import PLAIN, Rank
from omendb_core.search.query import Query

from ..model.collection import Collection
from .commands import Search

#: Microseconds, measured: to score an element of a row, exactly; to give a row its place,
#: the expression aside; to sort a row in, and have a selection look at it.
_ELEMENT_US: Final = 0.25e-3
_RANKED_ROW_US: Final = 0.1
_READ_ROW_US: Final = 0.4
#: An element of a scan that is one query's alone: of 100,000 x 128 rows 0.25 ms, of a million 5.
_SCANNED_ELEMENT_US: Final = 30e-6


def make_timely(work: Search, now_us: int) -> None:
    """Where its order needs a time, and it was asked with none: that of its rows' clock now."""
    query, collection = work.query, work.collection
    if query.shape.order is not None and query.at is None:
        work.query = replace(query, at=collection.seconds(now_us))


def stated(query: Query) -> float | None:
    """The time that its answer states."""
    return None if query.shape.order is None else query.at


def tick_us(work: Search) -> float:
    """How much of a tick a search of a shape of its own takes, done at once; 0 for all others."""
    if work.query.shape == PLAIN or work.collection.is_dropped:
        return 0.0
    elements = work.collection.window.rows * work.collection.definition.dim
    return elements * _SCANNED_ELEMENT_US + most_us(work.collection, work.query)


def most_us(collection: Collection, query: Query) -> float:
    """How long the shape of ``query`` may take, a scan for it aside."""
    shape = query.shape
    if shape == PLAIN or collection.is_dropped:
        return 0.0
    rows, dim = collection.window.rows, collection.definition.dim
    pairs = 0
    each_row_us = 0.0
    if isinstance(shape.order, Rank):  # decay is the scan's
        pairs += rows
        each_row_us += _RANKED_ROW_US + ns_a_row(shape.order.expression) / 1000
    if shape.selects:
        each_row_us += _READ_ROW_US
        pairs += rows
    if shape.spread is not None:
        pairs += rows * min(query.k, rows)
    if shape.mmr is not None:
        pairs += query.k * min(shape.mmr.candidates, rows)
    queries = 1 if query.vectors is None else len(query.vectors)
    return queries * (rows * each_row_us + pairs * dim * _ELEMENT_US)
