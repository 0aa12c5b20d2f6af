"""Searches whose answer is shaped: the time that ages and weights in it count to."""

from __future__ import annotations

from dataclasses import replace

from omendb_core.search.query import Query

from .commands import Search


def make_timely(work: Search, now_us: int) -> None:
    """Where its order needs a time, and it was asked with none: that of its rows' clock now."""
    query, collection = work.query, work.collection
    if query.shape.order is not None and query.at is None:
        time_us = collection.window.admission.admitted.time(collection.time_us(now_us))
        work.query = replace(query, at=time_us / 1e6)


def stated(query: Query) -> float | None:
    """The time that its answer states."""
    return None if query.shape.order is None else query.at
