"""Which rows a live query over several shards takes, where its shape selects.

Lives on the engine's thread. A selection reads an order that no shard knows; the parts' lists know
its first rows, and behind the last row of a part that has more nobody knows what comes
(``sharding/selecting.py``). Where the selection is not done by then, its parts are made anew, with
lists some times as long, and stay so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from omendb_core.model.budget import UNLIMITED
from omendb_core.model.errors import Unsupported
from omendb_core.model.types import Include

from ...sharding.selecting import DEEPER, Known, may_ask, taken
from .gathered_query import GatheredQuery, PartQuery
from .gathered_rows import Rows, best_rows, hits_of
from .live import LiveQueries


def answer(query: GatheredQuery, parts: Sequence[PartQuery], live: LiveQueries) -> Rows:
    """What ``query`` answers by its ``parts``, whose shards have caught up; they may be asked
    deeper for it. Quota, Unsupported."""
    if not query.shape.selects:
        return best_rows(parts, query.k)
    while True:
        found = _selected(query, parts)
        if found is not None:
            return found
        _deepen(query, parts, live)


def _selected(query: GatheredQuery, parts: Sequence[PartQuery]) -> Rows | None:
    """None: it reads deeper."""
    rows = best_rows(parts, None)
    depth = parts[0].query.k
    assert depth is not None, "a live query has a k"
    known, is_all = len(rows.seqs), True
    for shard in range(len(parts)):
        own = np.flatnonzero(rows.shards == shard)
        if len(own) >= depth:  # it has more
            known, is_all = min(known, int(own[-1]) + 1), False
    ahead = rows.at(np.arange(known))
    shape, definition = query.shape, query.shard.definition
    asked = Include(metadata=shape.group is not None, vector=shape.spread is not None)
    hits = hits_of(parts, ahead, asked)
    scan = parts[0].shard.window.state.scan
    selecting = taken(shape, query.k, Known(hits, is_all, definition), scan, UNLIMITED)
    while True:
        try:
            next(selecting)
        except StopIteration as end:
            return None if end.value is None else ahead.at(end.value)


def _deepen(query: GatheredQuery, parts: Sequence[PartQuery], live: LiveQueries) -> None:
    """Ask the parts for more rows. Quota, Unsupported: they are as they were."""
    before, first = parts[0].query.k, parts[0]
    assert before is not None, "a live query has a k"
    depth = min(DEEPER * before, first.shard.definition.capacity + 1)
    if not may_ask(depth, len(parts), query.shard.definition):
        raise Unsupported(
            f"{'group' if query.shape.group else 'spread'}: it reads deeper than {before} rows of"
            " each shard, which is not supported where a collection has several shards yet"
        )
    if query.deeper is not None:
        bytes_for = first.shard.window.standing.bytes_for
        own_bytes = bytes_for(depth, first.query.shape) - bytes_for(query.k, first.query.shape)
        query.deeper.resize(max(0, own_bytes) * len(parts))
    for part in parts:
        standing = part.shard.window.standing
        vectors = standing.table.vectors[np.array([part.handle], np.int64)]
        asked = replace(part.query, k=depth)
        handles = standing.add([asked], vectors).tolist()
        live.take_out([part])
        part.query = asked
        live.begin([part], handles)
