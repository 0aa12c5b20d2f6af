"""Selections over several shards: ``group``, ``spread`` and ``mmr``, exact over all of them.

A selection reads rows in order and decides by what it has taken. So it needs the order of all
shards' rows, as deep as it reads; ``ahead`` is how much of that is known. Each shard says its first
rows. Behind the last row of one that has more nobody knows what comes: there the known order ends,
and the shards are asked deeper. What is known goes into a window of its own, and the selection is
that of any window (``ranking/selection.py``), by the same bits.

``group`` is asked of the shards too, where nothing else decides: a row that has no room in its
shard's group has none in the union's. Pure; work comes in pieces.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from omendb_core.model.budget import Budget, Share
from omendb_core.model.change import AddChange
from omendb_core.model.hits_together import picked
from omendb_core.model.types import F32, I64, Definition, Hits, Include
from omendb_core.ranking.selection import Selector
from omendb_core.ranking.shape import Shape
from omendb_core.rows.metadata import from_metadata
from omendb_core.scan.interface import Scan
from omendb_core.search.query import Query
from omendb_core.state import reserved_bytes
from omendb_core.window import Window

from ..wire.messages import Results

#: How many times as deep the shards are asked where that was not enough.
DEEPER: Final = 4
#: How many rows, and elements of their vectors, one query's known order may have.
MOST_ROWS: Final = 1 << 16
MOST_ELEMENTS: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Selecting:
    """One search whose shape selects; ``definition`` is the collection's."""

    query: Query
    definition: Definition
    shards: int

    @property
    def field(self) -> str:
        """What a refusal names."""
        shape = self.query.shape
        return "group" if shape.group else "spread" if shape.spread else "mmr"

    def first_depth(self) -> int:
        """How many rows each shard is asked for at first."""
        mmr = self.query.shape.mmr
        return self.query.k if mmr is None else mmr.candidates

    def may_ask(self, depth: int) -> bool:
        """Whether so much of each shard may be known at once."""
        return may_ask(depth, self.shards, self.definition)

    def asked(self, depth: int) -> Query:
        """What each shard is asked: its first rows, with what decides on them."""
        shape, include = self.query.shape, self.query.include
        needs_vectors = shape.spread is not None or shape.mmr is not None
        return replace(
            self.query,
            k=depth,
            shape=of_each(shape),
            include=Include(
                include.metadata or shape.group is not None, include.vector or needs_vectors
            ),
            max_hits=None,
        )


def may_ask(depth: int, shards: int, definition: Definition) -> bool:
    """Whether so many rows of each shard may be known at once."""
    rows = depth * shards
    return rows <= MOST_ROWS and rows * definition.dim <= MOST_ELEMENTS


def of_each(shape: Shape) -> Shape:
    """What each shard is asked where all of them are asked for ``shape``."""
    return Shape(order=shape.order, group=shape.group if shape.spread is None else None)


def ahead(answers: Sequence[Results], merged: Results, depth: int, shards: int) -> list[int]:
    """How many of the merged rows of each query are the union's first, for sure.

    ``merged`` holds all rows of ``answers``, whose shards were asked for ``depth``.
    """
    of = (merged.hits.seqs - 1) % shards
    known, start = [], 0
    for query, count in enumerate(merged.counts.tolist()):
        end, most = start + count, count
        for shard, one in enumerate(answers):
            if int(one.counts[query]) >= depth:  # it has more
                most = min(most, int(np.flatnonzero(of[start:end] == shard)[-1]) + 1)
        known.append(most)
        start = end
    return known


def selected(
    selecting: Selecting,
    merged: Results,
    known: list[int],
    is_all: list[bool],
    scan: Scan,
    budget: Budget,
) -> Generator[None, None, Results | None]:
    """The answer; None if some query has to read deeper. Quota.

    ``is_all``: the known rows of a query are all that there are. Yields after each piece of work.
    """
    places_taken: list[I64] = []
    start = 0
    for count, rows, all_ in zip(merged.counts.tolist(), known, is_all, strict=True):
        places = np.arange(start, start + rows)
        query = selecting.query
        rows_known = Known(picked(merged.hits, places), all_, selecting.definition)
        found = yield from taken(query.shape, query.k, rows_known, scan, budget)
        if found is None:
            return None
        places_taken.append(start + found)
        start += count
        yield
    counts = np.array([len(one) for one in places_taken], np.uint32)
    hits = picked(merged.hits, np.concatenate(places_taken))
    include = selecting.query.include
    return replace(
        merged,
        counts=counts,
        hits=replace(
            hits,
            metadata=hits.metadata if include.metadata else None,
            vectors=hits.vectors if include.vector else None,
        ),
    )


class Known(NamedTuple):
    """The first rows of a query for sure, best first, of a collection that ``definition`` is of;
    ``is_all``: there are no others."""

    hits: Hits
    is_all: bool
    definition: Definition


def taken(
    shape: Shape, k: int, known: Known, scan: Scan, budget: Budget
) -> Generator[None, None, I64 | None]:
    """Places of the rows that are taken, in the order of taking; None: it reads deeper. Quota."""
    hits, count = known.hits, len(known.hits.seqs)
    if not count:
        return np.empty(0, np.int64) if known.is_all else None
    assert hits.scores is not None, "answers of searches have scores"
    window = _window(shape, known, scan, budget)
    selector = Selector(window.state, shape, k)
    yield from selector.read_in_pieces(np.arange(count), hits.scores)
    if not selector.is_done and not known.is_all:
        return None
    places, _ = yield from selector.taken_in_pieces()
    return places


def _window(shape: Shape, known: Known, scan: Scan, budget: Budget) -> Window:
    """The rows as a window whose slots are their places."""
    group, hits, count = shape.group, known.hits, len(known.hits.seqs)
    vectors: F32 = np.zeros((count, 1), np.float32) if hits.vectors is None else hits.vectors
    columns = {} if group is None else {group.column: known.definition.columns[group.column]}
    definition = Definition(
        dim=vectors.shape[1],
        capacity=count,
        metric=known.definition.metric,
        ids="auto",
        columns=columns,
    )
    share = Share(budget, "this selection takes")
    share.resize(reserved_bytes(definition, scan))
    window = Window(definition, None, scan, share)
    rows: list[Any] = [_object(one) for one in hits.metadata or ()] if columns else []
    change = AddChange(
        version=1,
        time_us=0,
        first_seq=1,
        vectors=np.ascontiguousarray(vectors),
        ids=None,
        columns=from_metadata(rows, columns) if columns else {},
        payloads=None,
        producer=None,
        batch=None,
    )
    window.apply(change)
    return window


def _object(metadata: bytes | dict[str, Any]) -> Any:
    return orjson.loads(metadata) if isinstance(metadata, bytes) else metadata
