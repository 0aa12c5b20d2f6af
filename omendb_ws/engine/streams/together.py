"""Match queries that are told of their hits together.

Lives on the engine's thread. Most of a server's match queries have a hit or two at a time. By
itself a push takes 35 µs, most of them numpy's for arrays of one element; so hits of many queries
are gathered, looked at and encoded in one go, and each row once, however many it reached. Queries
with anything else to say (the past, a gap, many rows) are told one by one, by ``queues.py``.

Nothing here changes a query: what is told is found first, so that a fault leaves all as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

import numpy as np
from omendb_core.filters.parser import Filter, evaluate
from omendb_core.model.types import F32, I64, Bool1, Include

from ...wire.encoded import Message
from ...wire.rows_together import Together, encode_together
from ..model.shard import Shard
from .hits import WaitingHits

#: Hits of a query that is told with others. A row of a push may take a few KiB.
MOST_ROWS: Final = 8
#: Fewer queries are told one by one: that is as quick.
LEAST_TOGETHER: Final = 4


class Query(Protocol):
    """A match query, as far as this goes."""

    sub: int
    hits: WaitingHits
    done_seq: int
    told_seq: int
    quiet_since_us: int
    shard: Shard

    @property
    def is_plain(self) -> bool:
        """Whether nothing but what waits is to be said."""
        ...

    @property
    def condition(self) -> Filter | None:
        """The filter that rows must pass."""
        ...


class Kind(NamedTuple):
    """What queries that are told together have in common."""

    shard: Shard
    include: Include
    is_binary: bool


class Waiting(NamedTuple):
    """Hits of some queries, flat: ``owners`` int64 are places of queries, ascending."""

    owners: I64
    slots: I64
    scores: F32


def is_plain(query: Query) -> bool:
    """Whether it can be told with others: of few rows that wait, and of nothing else.

    Rows of one of several shards are counted otherwise outside."""
    waiting = len(query.hits)
    if waiting > MOST_ROWS or not query.is_plain or query.shard.place is not None:
        return False
    if not waiting:
        return True
    oldest_seq = query.hits.first_seq
    if query.hits.few is None or oldest_seq is None:
        return False
    return oldest_seq > query.done_seq and oldest_seq >= query.shard.window.first_seq


def told(kind: Kind, queries: Sequence[Query]) -> list[Message | None]:
    """What each is told of all that it has waiting; None: nothing."""
    window = kind.shard.window
    waiting = _passing(kind, queries, _gathered(kind, queries))
    counts = np.bincount(waiting.owners, minlength=len(queries))
    places = np.flatnonzero(counts).tolist()
    found: list[Message | None] = [None] * len(queries)
    if not places:
        return found
    hits = replace(window.state.hits(waiting.slots, kind.include), scores=waiting.scores)
    subs = [queries[place].sub for place in places]
    together = Together(subs, counts[places], window.version, window.last_seq, hits)
    is_text = not kind.is_binary
    for place, data in zip(places, encode_together(together, kind.is_binary), strict=True):
        found[place] = Message((data,), is_text)
    return found


def _gathered(kind: Kind, queries: Sequence[Query]) -> Waiting:
    """All that waits, of rows that are alive."""
    seqs: list[int] = []
    scores: list[float] = []
    counts = []
    for query in queries:
        found = query.hits.few
        if found is not None:
            seqs += found[0]
            scores += found[1]
        counts.append(len(query.hits))
    owners = np.repeat(np.arange(len(queries)), counts)
    ring = kind.shard.window.state.ring
    slots = ring.slots(np.array(seqs, np.uint64))
    waiting = Waiting(owners, slots, np.array(scores, np.float32))
    return _some(waiting, ring.is_live(slots))


def _passing(kind: Kind, queries: Sequence[Query], waiting: Waiting) -> Waiting:
    """Those whose row passes its query's filter still: an update may have given it to others."""
    asked: dict[str, tuple[Filter, list[int]]] = {}
    for place, query in enumerate(queries):
        condition = query.condition
        if condition is not None:
            asked.setdefault(condition.canonical, (condition, []))[1].append(place)
    if not asked or not len(waiting.slots):
        return waiting
    passed = np.ones(len(waiting.slots), np.bool_)
    for condition, places in asked.values():
        own = np.flatnonzero(np.isin(waiting.owners, places))
        passed[own] = evaluate(condition, kind.shard.window.state.columns, waiting.slots[own])
    return _some(waiting, passed)


def _some(waiting: Waiting, which: Bool1) -> Waiting:
    if which.all():
        return waiting
    return Waiting(waiting.owners[which], waiting.slots[which], waiting.scores[which])
