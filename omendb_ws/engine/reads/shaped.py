"""Searches whose answer is shaped: the time that they are of, and how long they may take.

Lives on the engine's thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from omendb_core.ranking.shape import PLAIN
from omendb_core.search.query import Query

from ..model.shard import Shard
from ..pieces import shape_costs
from .commands import Search

#: An element of a scan that is one query's alone: of 100,000 x 128 rows 0.25 ms, of a million 5.
_SCANNED_ELEMENT_US: Final = 30e-6


def make_timely(work: Search, now_us: int) -> None:
    """Where its order needs a time, and it was asked with none: that of its rows' clock now."""
    query, shard = work.query, work.shard
    if query.shape.order is not None and query.at is None:
        work.query = replace(query, at=shard.seconds(now_us))


def stated(query: Query) -> float | None:
    """The time that its answer states."""
    return None if query.shape.order is None else query.at


def tick_us(work: Search) -> float:
    """How much of a tick a search of a shape of its own takes, done at once; 0 for all others."""
    if work.query.shape == PLAIN or work.shard.is_dropped:
        return 0.0
    elements = work.shard.window.rows * work.shard.definition.dim
    return elements * _SCANNED_ELEMENT_US + most_us(work.shard, work.query)


def most_us(shard: Shard, query: Query) -> float:
    """How long the shape of ``query`` may take, a scan for it aside."""
    queries = 1 if query.vectors is None else len(query.vectors)
    return queries * shape_costs.most_us(shard, query.shape, query.k)
