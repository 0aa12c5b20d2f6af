"""Match queries begin: those of a tick together, and those of a large SUBSCRIBE in pieces.

Lives on the engine's thread. Taking a query in costs a dozen calls of numpy whether it is one or a
hundred. In pieces (``long_reads.py``) queries are taken in that hear of nothing yet, while
the window goes on; once all are there they begin to listen, at the one version that the reply
names. After a failure, or the end of the connection, those that were taken in are let go, as
streams are that nobody reads any more: some in each tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import numpy as np
from omendb_core.model.errors import Internal
from omendb_core.search.query import prepare_queries

from ...wire import binary_replies
from ...wire.encoded import binary
from ..model import replies
from ..model.ticket import Reply
from ..pieces.long_reads import LongReads, Steps
from .beginning import CatchUp, LetGo, caught_up, prepared_in_pieces
from .commands import Match
from .matches import Matches

#: More queries of one request than these begin in pieces, and how many a piece takes in.
MOST_AT_ONCE: Final = 64
_LEAST_QUERIES: Final = 64
_MOST_QUERIES: Final = 1024


def begin_matches(works: Sequence[Match], matches: Matches, now_us: int) -> list[Reply]:
    """Begin queries of one shard, which has caught up, as they are asked for: those of alike
    requests together. OmenError, and others: none of them has begun."""
    found: list[Reply] = []
    try:
        for _, group in groupby(works, _likeness):
            found += _begin_alike(list(group), matches, now_us)
    except Exception:
        matches.take_out([query for work in works for query in work.queries])
        raise
    return found


def _likeness(work: Match) -> tuple[object, ...]:
    query = work.queries[0]
    return work.from_seq, query.include, query.is_binary


def _begin_alike(works: list[Match], matches: Matches, now_us: int) -> list[Reply]:
    shard, vectors = works[0].shard, [work.vectors for work in works]
    if not all(work.ticket.asker.lane.is_open for work in works):
        raise Internal("the connection is gone")
    prepared = prepare_queries(shard.definition, np.concatenate(vectors))
    queries = [query for work in works for query in work.queries]
    to_seq = matches.start(queries, prepared, works[0].from_seq, now_us)
    return [_reply(work, to_seq) for work in works]


def matches_begin_in_pieces(work: Match) -> bool:
    """Whether the queries of ``work`` begin so."""
    return len(work.queries) > MOST_AT_ONCE


def begin_matches_in_pieces(
    work: Match,
    matches: Matches,
    catch_up: CatchUp,
    long_reads: LongReads,
    let_go: LetGo,
    now_us: int,
) -> Steps:
    """Steps to the reply to ``work``. The first one, which is the caller's, only notes that its
    queries are beginning: whoever closes the steps from then on takes that back.
    """
    shard, queries = work.shard, work.queries
    taken = 0
    has_begun = False
    try:
        for query in queries:
            query.is_beginning = True
        yield False
        shard.refuse_dropped()
        vectors = yield from prepared_in_pieces(shard, work.vectors)
        matches.first_of(queries, work.from_seq)
        size = long_reads.size(_LEAST_QUERIES, _MOST_QUERIES)
        while taken < len(queries):
            yield from caught_up(shard, catch_up)
            piece = slice(taken, taken + size.start())
            taken = min(piece.stop, len(queries))
            matches.take_in(queries[piece], vectors[piece], now_us)
            size.end()
            yield True
        yield from caught_up(shard, catch_up)
        begins_at = matches.first_of(queries, work.from_seq)
        matches.begin(queries, begins_at)
        reply = _reply(work, begins_at - 1)
        has_begun = reply.error is None
        return reply
    finally:
        for query in queries:
            query.is_beginning = False
        if not has_begun:
            let_go(queries[:taken])


def _reply(work: Match, to_seq: int) -> Reply:
    shard = work.shard
    version, subs = shard.window.version, [query.sub for query in work.queries]
    if work.is_binary:
        frame = binary_replies.encode_begun(work.ticket.id, version, subs, to_seq)
        return replies.fitting(work.ticket, binary(frame))
    body = {"sub": subs[0], "epoch": shard.epoch, "version": version, "to_seq": to_seq}
    return replies.ok(work.ticket, body)
