"""Changes of collections of several shards: each shard does what is for it, by itself.

A change is atomic in each shard, and not over shards (PROTOCOL section 3). So whatever can be found
wrong with a request's rows without a window is found before any shard hears of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from omendb_core.admission.whole import checked_rows
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.errors import OmenError, TooLarge, Unsupported
from omendb_core.model.types import I64

from ...access.stamps import stamp_updates
from ...catalog.entry import Entry
from ...engine.model import replies
from ...engine.model.shard import Shard
from ...engine.model.ticket import Reply, Ticket
from ...engine.writes import commands as writes
from ...sharding.numbering import outer_seq
from ...sharding.splitting import rows_at, updates_at
from ...wire import messages as wire
from ...wire.messages import Added
from ...wire.rows import parse_ids, parse_updates
from ..given import given_rows
from ..reach import Reach, reach
from ..session import Session
from .collections import whole_of
from .gathering import Gather


def add(session: Session, request: wire.Add, size: int) -> None:
    """``add``: its rows go to their shards, a numbered batch to all: each knows its number then."""
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    if request.unless_near is not None:
        raise Unsupported("unless_near: not supported where a collection has several shards yet")
    rows, places = _spread(session, request, reached)
    producer = session.who.producer(request.producer)
    is_numbered = request.producer is not None
    shards = [
        (place, shard)
        for place, shard in enumerate(collection.shards)
        if is_numbered or len(places[place])
    ]
    ticket = session.ticket(request, whole_of(collection), size)

    def asks(place: int, shard: Shard, part: Ticket) -> writes.Add:
        own = rows if isinstance(rows, OmenError) else rows_at(rows, places[place])
        asked = AddRequest(own, producer, request.batch)
        return writes.Add(part, shard, reached.guard, asked, request.binary)

    def finish(said: dict[int, Added]) -> Reply:
        return replies.added(ticket, _added(said, places, collection), request.binary)

    gather = Gather(session, ticket, _locating(None if isinstance(rows, OmenError) else places))
    gather.begin(shards, asks, finish, changes=True)


def _spread(
    session: Session, request: wire.Add, reached: Reach
) -> tuple[RowBatch | OmenError, list[I64]]:
    """The rows, and the places of each shard's; or what is wrong with them, of a numbered batch.

    Such a batch may be there already, which its shards know.
    """
    layout = reached.collection.layout
    rows = given_rows(session, request.rows, reached)
    try:
        definition, limits = reached.collection.definition, session.context.catalog.window_limits
        checked = checked_rows(rows, definition, limits, reached.guard)
        if checked.ids is not None:
            of = layout.shards_of(checked.ids)
        else:
            number = session.spread_adds if request.batch is None else request.batch
            of = np.full(len(checked.vectors), number % layout.shards, np.int64)
        places = layout.places(of)
        _refuse_wider(places, reached.collection)
    except OmenError as error:
        if request.producer is None:
            raise
        return error.with_traceback(None), [np.empty(0, np.int64)] * layout.shards
    session.spread_adds += request.batch is None
    return rows, places


def _refuse_wider(places: list[I64], collection: Entry) -> None:
    most, capacity = max(map(len, places)), collection.shards[0].definition.capacity
    if most > capacity:
        raise TooLarge(f"{most} rows for one shard in one add; at most {capacity} here")


def _added(said: dict[int, Added], places: list[I64], collection: Entry) -> Added:
    """What the shards acknowledged; of those that were not asked only the version counts."""
    count = len(collection.shards)
    versions = whole_of(collection).versions
    listed = []
    for shard, one in said.items():
        versions[shard] = one.version
        seqs = [
            None if seq is None else outer_seq(seq, shard, count)
            for seq in (one.first_seq, one.last_seq)
        ]
        body = {"shard": shard, "first_seq": seqs[0], "last_seq": seqs[1], "version": one.version}
        listed.append(body)
    had_rows = [one for shard, one in said.items() if len(places[shard])] or list(said.values())
    duplicate = all(one.duplicate for one in had_rows)
    return Added(sum(versions), None, None, duplicate, shards=listed)


def delete(session: Session, request: wire.Delete, size: int) -> None:
    """``delete``."""
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    routed = collection.layout.route(parse_ids(request.ids, collection.definition.ids))
    shards = [(n, shard) for n, shard in enumerate(collection.shards) if len(routed[n].places)]

    def asks(place: int, shard: Shard, part: Ticket) -> writes.Delete:
        return writes.Delete(part, shard, reached.guard, routed[place].ids)

    def body(said: dict[int, Any]) -> dict[str, Any]:
        return _versions(said, collection) | {
            "deleted": sum(one["deleted"] for one in said.values())
        }

    if not shards:
        session.ok(request.id, body({}))
        return
    ticket = session.ticket(request, whole_of(collection), size)
    gather = Gather(session, ticket)
    gather.begin(shards, asks, lambda said: replies.ok(ticket, body(said)), changes=True)


def update(session: Session, request: wire.Update, size: int) -> None:
    """``update``."""
    reached = reach(session, request.op, request.collection)
    collection, rows = reached.collection, request.rows
    if isinstance(rows, list):
        rows = parse_updates(rows, collection.definition, session.context.limits)
    updates = stamp_updates(rows, reached.stamp)
    routed = collection.layout.route(updates.ids)
    shards = [(n, shard) for n, shard in enumerate(collection.shards) if len(routed[n].places)]

    def asks(place: int, shard: Shard, part: Ticket) -> writes.Update:
        own = updates_at(updates, routed[place].places, routed[place].ids)
        return writes.Update(part, shard, reached.guard, own)

    ticket = session.ticket(request, whole_of(collection), size)
    gather = Gather(session, ticket, _locating([one.places for one in routed]))
    gather.begin(
        shards,
        asks,
        lambda said: replies.ok(ticket, _versions(said, collection)),
        changes=True,
    )


def _versions(said: dict[int, Any], collection: Entry) -> dict[str, Any]:
    versions = whole_of(collection).versions
    for shard, one in said.items():
        versions[shard] = one["version"]
    return {"version": sum(versions), "versions": versions}


def _locating(places: list[I64] | None) -> Any:
    """Rows that shards name are those of the request."""

    def locate(place: int, error: OmenError) -> None:
        if places is not None and error.row is not None and error.row < len(places[place]):
            error.row = int(places[place][error.row])

    return locate
