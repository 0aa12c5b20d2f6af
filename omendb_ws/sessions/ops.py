"""What each op means: from a typed request to work for the engine, or to a reply at once.

Runs on the loop's thread. Rights are checked here, once, by the table of ops; names and handles
become collections, JSON rows and filters become what the engine takes. Everything raises OmenError;
the session answers with it. ``create`` and ``drop`` take effect here (see ``catalog.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from omendb_core.counting import CountQuery, check_by
from omendb_core.filters.parser import both, optional
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.errors import BadFilter, Unavailable
from omendb_core.model.types import Include
from omendb_core.novelty.unless_near import UnlessNear

from ..access.stamps import stamp_updates
from ..catalog.entry import Entry
from ..engine.reads import commands as reads
from ..engine.reads.statistics import collection_stats
from ..engine.writes import commands as writes
from ..journal.follower_log import REFUSAL
from ..runtime.faults import as_error
from ..wire import messages as wire
from ..wire import reply_bounds
from ..wire.opcodes import right_for
from ..wire.rows import (
    parse_ids,
    parse_updates,
)
from ..wire.searches import PlainSearch
from . import copying, operating, rates
from .at_version import at_version, must_wait
from .auditing import took_effect
from .authentication import authenticate
from .given import description_bytes, given_rows, query_of, results_bytes
from .reach import may_read, reach, shown
from .session import Session
from .sharding import collections as sharded
from .sharding.dispatch import gathers
from .subscribing import move, subscribe, unsubscribe

_NOTHING = Include()
#: What one node takes in a description.
_PLACE_BYTES: Final = 128
#: What is about the server where it names no collection.
_OF_SERVER: Final = (wire.Stats, wire.Subscribe, wire.Cluster)


def handle(session: Session, request: wire.Request | PlainSearch, request_bytes: int) -> None:
    """Answer a request or hand it to the engine. Raises OmenError if it is refused."""
    op = request.op
    whole_server = isinstance(request, _OF_SERVER) and request.collection is None
    if whole_server:
        session.who.need_numbers()
    else:
        session.who.need(right_for(op))
    if session.who.principal is not None:
        session.taken = rates.take(session.who.account, request, session.context.clock_us)
    try:
        if not (session.context.catalog.sharded and gathers(session, request, request_bytes)):
            _HANDLERS[type(request)](session, request, request_bytes)
    except BaseException:
        if session.taken is not None:
            session.taken.give_back()
            session.taken = None
        raise
    if session.taken is not None:  # it is done in pieces, and handed on later
        session.taken.keep()
        session.taken = None


# -- the connection -----------------------------------------------------------------------------


def _ping(session: Session, request: wire.Ping, _: int) -> None:
    session.ok(request.id, {})


# -- collections --------------------------------------------------------------------------------


def _create(session: Session, request: wire.Create, size: int) -> None:
    context = session.context
    session.who.scope("admin", request.collection)
    now_seconds = context.clock_us() / 1e6
    collection, is_new = context.catalog.create(session.tenant, request, now_seconds)
    is_sharded = collection.whole is not None
    if not is_new:
        say = sharded.describe_open if is_sharded else _describe_open
        say(session, request, collection, size)
        return
    try:
        if is_sharded:
            sharded.create(session, request, collection, size)
            return
        took_effect(session, "create", collection.name)
        handle = session.open(collection)
        if not collection.has_log:
            visible = shown(session, collection)
            session.ok(request.id, {**collection.shard.describe(visible), "handle": handle})
        else:
            ticket = session.ticket(request, collection.shard, size, description_bytes(collection))
            session.submit_change(
                writes.Create(
                    ticket, collection.shard, context.catalog, handle, shown(session, collection)
                )
            )
    except Exception:
        context.catalog.uncreate(collection)
        raise


def _open(session: Session, request: wire.Open, size: int) -> None:
    _describe_open(session, request, reach(session, "open", request.collection).collection, size)


def _describe_open(
    session: Session, request: wire.Create | wire.Open, collection: Entry, size: int
) -> None:
    ticket = session.ticket(request, collection.shard, size, description_bytes(collection))
    visible, handle = reach(session, "describe", collection.name).visible, session.open(collection)

    def say(_: int) -> dict[str, Any]:
        return {**collection.shard.describe(visible), "handle": handle}

    session.submit(reads.Ask(ticket, collection.shard, visible, say))


def _describe(session: Session, request: wire.Describe, size: int) -> None:
    collection, visible = reach(session, request.op, request.collection).read
    shard, placed = collection.shard, _placed(session, collection)
    expected_bytes = description_bytes(collection) + _PLACE_BYTES * len(placed.get("replicas", ()))
    ticket = session.ticket(request, shard, size, expected_bytes)
    session.submit(reads.Ask(ticket, shard, visible, lambda _: shard.describe(visible) | placed))


def _placed(session: Session, collection: Entry) -> dict[str, Any]:
    """Where a collection is; of a server by itself nothing."""
    overview, tenant, name = session.context.overview, collection.tenant, collection.name
    if overview is None:
        return {}
    replicas = [dataclasses.asdict(one) for one in overview.replicas(tenant, name)]
    return {"owner": overview.owner(tenant, name), "replicas": replicas}


def _list(session: Session, request: wire.List, size: int) -> None:
    collections = [
        one
        for one in session.context.catalog.of(session.tenant)
        if session.who.known().sees(one.name)
    ]
    expected_bytes = reply_bounds.ENVELOPE_BYTES + sum(map(description_bytes, collections))
    ticket = session.ticket(request, None, size, expected_bytes)
    visible = [shown(session, one) for one in collections]
    held = [
        {"collection": name, "reason": reason, "recovering": is_recovering}
        for name, reason, is_recovering in session.context.catalog.held.of(session.tenant)
        if session.who.known().sees(name)
    ]
    said = [one.whole or one.shard for one in collections]
    session.submit(reads.List(ticket, said, visible, held))


def _drop(session: Session, request: wire.Drop, size: int) -> None:
    held = session.context.catalog.held
    session.who.scope("admin", request.collection)
    given_up = held.drop(session.tenant, request.collection)
    if given_up:
        sharded.drop_rest(session, session.tenant, request.collection)
        try:
            ticket = session.ticket(request, None, size)
            session.submit(writes.DropGivenUp(ticket, held, given_up))
        except Exception:
            held.undrop(given_up, "could not be dropped; try again")
            raise
        took_effect(session, "drop", request.collection)
        return
    collection = reach(session, request.op, request.collection).collection
    shard = collection.shard
    if shard.is_follower:
        raise Unavailable(REFUSAL)
    dropping = writes.Drop(session.ticket(request, shard, size), shard, held)
    took_effect(session, "drop", request.collection)
    session.context.catalog.drop(collection)
    try:
        session.submit_change(dropping)
    except Exception as error:  # it is out of the catalog: the engine must hear of it
        as_error(error, "drop")
        session.submit_change(dropping)


# -- changes ------------------------------------------------------------------------------------


def _add(session: Session, request: wire.Add, size: int) -> None:
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    rows = given_rows(session, request.rows, reached)
    asked = AddRequest(rows, session.who.producer(request.producer), request.batch)
    if request.unless_near is None:
        ticket = session.ticket(request, collection.shard, size)
        add = writes.Add(ticket, collection.shard, reached.guard, asked, request.binary)
        session.submit_change(add)
        return
    unless_near = _unless_near(session, request.unless_near, collection)
    count = len(rows.vectors) if isinstance(rows, RowBatch) else 0
    reply_bytes = reply_bounds.added_bytes(collection.definition, count)
    ticket = session.ticket(request, collection.shard, size, reply_bytes)
    add = writes.Add(ticket, collection.shard, reached.guard, asked, request.binary, unless_near)
    session.submit_change(add)


def _unless_near(session: Session, found: wire.JsonObject, collection: Entry) -> UnlessNear:
    """What an add's rows are compared with: rows that may be read. BadFilter, Forbidden."""
    visible = may_read(session, collection)
    try:
        filter_ = optional(found.get("filter"), collection.definition.columns)
    except BadFilter as error:
        raise BadFilter(f"unless_near.{error.message}") from None
    return UnlessNear(found["score"], both(visible, filter_))


def _delete(session: Session, request: wire.Delete, size: int) -> None:
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    ids = parse_ids(request.ids, collection.definition.ids)
    ticket = session.ticket(request, collection.shard, size)
    session.submit_change(writes.Delete(ticket, collection.shard, reached.guard, ids))


def _update(session: Session, request: wire.Update, size: int) -> None:
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    rows = request.rows
    if isinstance(rows, list):
        rows = parse_updates(rows, collection.definition, session.context.limits)
    rows = stamp_updates(rows, reached.stamp)
    ticket = session.ticket(request, collection.shard, size)
    session.submit_change(writes.Update(ticket, collection.shard, reached.guard, rows))


# -- reads --------------------------------------------------------------------------------------


def _search(session: Session, request: wire.Search, size: int) -> None:
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    query = query_of(session, request, reached)
    ticket = session.ticket(
        request, collection.shard, size, results_bytes(session, request, query, collection)
    )
    session.submit(reads.Search(ticket, collection.shard, query, request.single, request.binary))


_search_at_version = at_version(_search)


def _plain_search(session: Session, request: PlainSearch, size: int) -> None:
    collection, visible = reach(session, request.op, request.handle).read
    definition = collection.definition
    reply_bytes = reply_bounds.plain_results_bytes(
        request.n, request.n * min(request.k, definition.capacity)
    )
    is_right = request.dim == definition.dim and visible is None and definition.ids != "str"
    if not is_right or reply_bytes > session.max_reply_bytes or must_wait(session, collection):
        _search_at_version(session, request.whole(), size)
        return
    ticket = session.ticket(request, collection.shard, size, reply_bytes)
    session.submit_search(reads.PlainSearch(ticket, collection.shard, request))


def _get(session: Session, request: wire.Get, size: int) -> None:
    collection, visible = reach(session, request.op, request.collection).read
    definition = collection.definition
    ids = parse_ids(request.ids, definition.ids)
    row_bytes = reply_bounds.most_row_bytes(
        definition, request.include, False, session.context.limits.max_metadata_bytes
    )
    ticket = session.ticket(
        request, collection.shard, size, reply_bounds.ENVELOPE_BYTES + len(ids) * row_bytes
    )
    session.submit(reads.Get(ticket, collection.shard, ids, request.include, visible))


def _count(session: Session, request: wire.Count, size: int) -> None:
    reached = reach(session, request.op, request.collection)
    collection = reached.collection
    definition = collection.definition
    check_by(request.by, definition)
    query = CountQuery(reached.joined(request.filter), request.by, request.limit)
    most_bytes = reply_bounds.counts_bytes(
        definition, request.by, request.limit, session.context.limits.max_metadata_bytes
    )
    ticket = session.ticket(request, collection.shard, size, most_bytes)
    session.submit(reads.Count(ticket, collection.shard, query))


def _stats(session: Session, request: wire.Stats, size: int) -> None:
    if request.collection is None:
        session.ok(request.id, session.context.server_view.now(session.who.known()))
        return
    collection, visible = reach(session, request.op, request.collection).read
    shard = collection.shard
    ticket = session.ticket(request, shard, size, description_bytes(collection))

    def say(now_us: int) -> dict[str, Any]:
        return collection_stats(shard, now_us, visible)

    session.submit(reads.Ask(ticket, shard, visible, say))


def _usage(session: Session, request: wire.Usage, size: int) -> None:
    context, account = session.context, session.account
    principal = session.who.known()
    collections = context.catalog.count(account.tenant)

    def say(now_us: int) -> dict[str, Any]:
        return account.usage(collections, now_us, principal)

    session.submit(reads.Ask(session.ticket(request, None, size), None, None, say))


_HANDLERS: Final[dict[type, Callable[[Session, Any, int], None]]] = {
    wire.Ping: _ping,
    wire.Auth: authenticate,
    wire.Create: _create,
    wire.Open: _open,
    wire.Describe: _describe,
    wire.List: _list,
    wire.Drop: _drop,
    wire.Add: _add,
    wire.Delete: _delete,
    wire.Update: _update,
    wire.Get: at_version(_get),
    wire.Count: at_version(_count),
    wire.Search: _search_at_version,
    PlainSearch: _plain_search,
    wire.Stats: _stats,
    wire.Usage: _usage,
    wire.Cluster: operating.cluster,
    wire.MoveOwner: operating.move_owner,
    wire.Evacuate: operating.evacuate,
    wire.Heal: operating.heal,
    wire.Snapshot: copying.snapshot,
    wire.Restore: copying.restore,
    wire.RestoreBytes: copying.restore_bytes,
    wire.Subscribe: at_version(subscribe),
    wire.Move: move,
    wire.Unsubscribe: unsubscribe,
}
