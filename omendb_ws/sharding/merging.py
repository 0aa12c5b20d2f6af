"""Answers of shards made one: to the bit what one window of all their rows says.

A row is among the k best of the union only if it is among the k best of its shard, and what rows
are ordered by (``ranking/orders.py``) is a function of the row and the query. So the k best of what
the shards found are the answer. What shards say counts by their own seqs; here they become those of
the collection. Each shard speaks at a version of its own, and ``versions`` says all of them. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from omendb_core.model.hits_together import joined, picked
from omendb_core.model.types import I64, Bool1, CountsBy, Hits
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Order

from ..wire.counts import Counted
from ..wire.messages import Found, Results
from .numbering import outer_seqs
from .routing import Layout, Routed


def outside(hits: Hits, shard: int, layout: Layout) -> Hits:
    """Rows as a shard says them, by the collection's seqs."""
    seqs = outer_seqs(hits.seqs, shard, layout.shards)
    return replace(hits, seqs=seqs, ids=seqs if layout.ids == "auto" else hits.ids)


def merged(answers: Sequence[Results], layout: Layout, k: int, order: Order | None) -> Results:
    """The k best rows of each query, of what each shard says are its k best."""
    hits = joined([outside(one.hits, shard, layout) for shard, one in enumerate(answers)])
    queries = len(answers[0].counts)
    query = np.concatenate([np.repeat(np.arange(queries), one.counts) for one in answers])
    assert hits.scores is not None, "answers of searches have scores"
    levels = orders.levels(order, hits.ranks, hits.scores, hits.seqs)
    best = np.lexsort((*levels[::-1], -query))[::-1]
    counts = np.bincount(query, minlength=queries)
    place = np.arange(len(best)) - np.repeat(np.cumsum(counts) - counts, counts)
    versions = [one.version for one in answers]
    return Results(
        version=sum(versions),
        counts=np.minimum(counts, k).astype(np.uint32),
        hits=picked(hits, best[place < k]),
        at=answers[0].at,
        versions=versions,
    )


def found_together(
    answers: Sequence[Found],
    routed: Sequence[Routed],
    layout: Layout,
    shards: Sequence[int] | None = None,
) -> tuple[Bool1, Hits]:
    """For each id that was asked for whether it is there, and the rows in the order asked.

    ``shards``: whose answers these are; None: of all, in order.
    """
    numbers = range(layout.shards) if shards is None else shards
    found = np.zeros(sum(len(one.places) for one in routed), np.bool_)
    places: list[I64] = []
    for one, answer in zip(routed, answers, strict=True):
        found[one.places] = answer.found
        places.append(one.places[answer.found])
    pairs = zip(numbers, answers, strict=True)
    hits = joined([outside(one.hits, shard, layout) for shard, one in pairs])
    return found, picked(hits, np.argsort(np.concatenate(places)))


def counted_together(answers: Sequence[Counted], by: str | None, limit: int) -> CountsBy:
    """The counts of all shards; of each, ``by`` lists every value."""
    said = [orjson.loads(b"{%b}" % one.members) for one in answers]
    rows = sum(one["count"] for one in said)
    counts: dict[Any, int] = {}
    if by is not None:
        for one in said:
            for pair in one["by"]:
                counts[pair["value"]] = counts.get(pair["value"], 0) + pair["count"]
    best = sorted(counts.items(), key=_by_count)[:limit]
    listed = [count for _, count in best]
    version = sum(one.version for one in answers)
    return CountsBy(version, rows, [value for value, _ in best], listed, rows - sum(listed))


def _by_count(pair: tuple[Any, int]) -> tuple[int, bool, Any]:
    value, count = pair
    return -count, value is None, 0 if value is None else value
