"""Rows by id, and counts, of collections of several shards: asked of each, and put together.

Each shard answers at a version of its own, which is at least what the connection has seen of it;
the reply says all of them. What is asked of each is the same, so that its answer is its part of the
whole (``sharding/merging.py``).
"""

from __future__ import annotations

from typing import Any, Final

from omendb_core.counting import CountQuery, check_by

from ...catalog.entry import Entry
from ...engine.model import replies
from ...engine.model.shard import Shard
from ...engine.model.ticket import Reply, Ticket
from ...engine.reads import commands as reads
from ...engine.reads.statistics import sharded_stats
from ...sharding.merging import counted_together, found_together
from ...wire import messages as wire
from ...wire import reply_bounds
from ...wire.counts import Counted, counted_over
from ...wire.messages import Found
from ...wire.rows import parse_ids
from ..given import description_bytes
from ..reach import reach
from ..session import Session
from .collections import whole_of
from .gathering import Gather

#: More values than a column can have.
_ALL: Final = 1 << 40


def get(session: Session, request: wire.Get, size: int) -> None:
    """``get``: of each shard the rows that are there if anywhere."""
    collection, visible = reach(session, request.op, request.collection).read
    definition = collection.definition
    ids = parse_ids(request.ids, definition.ids)
    routed = collection.layout.route(ids)
    row_bytes = reply_bounds.most_row_bytes(
        definition, request.include, False, session.context.limits.max_metadata_bytes
    )
    reply_bytes = reply_bounds.ENVELOPE_BYTES + len(ids) * row_bytes
    ticket = session.ticket(request, whole_of(collection), size, reply_bytes)

    def asks(place: int, shard: Shard, part: Ticket) -> reads.Get:
        return reads.Get(part, shard, routed[place].ids, request.include, visible)

    def finish(said: dict[int, Found]) -> Reply:
        answers = list(said.values())
        found, hits = found_together(answers, routed, collection.layout)
        versions = [one.version for one in answers]
        return replies.rows(ticket, Found(sum(versions), found, hits, versions))

    _gather(session, ticket, collection, asks, finish)


def count(session: Session, request: wire.Count, size: int) -> None:
    """``count``: what all have together; of values, each shard says all that it has."""
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    definition = collection.definition
    check_by(request.by, definition)
    query = CountQuery(reached.joined(request.filter), request.by, _ALL)
    reply_bytes = reply_bounds.counts_bytes(
        definition, request.by, request.limit, session.context.limits.max_metadata_bytes
    )
    ticket = session.ticket(request, whole_of(collection), size, reply_bytes)

    def asks(_: int, shard: Shard, part: Ticket) -> reads.Count:
        return reads.Count(part, shard, query)

    def finish(said: dict[int, Counted]) -> Reply:
        answers = list(said.values())
        found = counted_together(answers, request.by, request.limit)
        versions = [one.version for one in answers]
        return replies.counted(ticket, counted_over(versions, found, request.by))

    _gather(session, ticket, collection, asks, finish)


def stats(session: Session, request: wire.Stats, size: int) -> None:
    """``stats`` of a collection: what all of them came to."""
    assert request.collection is not None, "the server has shards of many"
    collection, visible = reach(session, request.op, request.collection).read
    whole = whole_of(collection)
    ticket = session.ticket(request, whole, size, description_bytes(collection))

    def say(now_us: int) -> dict[str, Any]:
        return sharded_stats(whole, now_us, visible)

    session.submit(reads.Ask(ticket, whole, visible, say))


def _gather(session: Session, ticket: Ticket, collection: Entry, asks: Any, finish: Any) -> None:
    shards = list(enumerate(collection.shards))
    Gather(session, ticket).begin(shards, asks, finish, changes=False)
