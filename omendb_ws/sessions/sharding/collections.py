"""Collections of several shards made, described and dropped."""

from __future__ import annotations

from typing import Any

from omendb_core.model.errors import OmenError

from ...catalog.entry import Entry
from ...engine.model import replies
from ...engine.model.shard import Shard
from ...engine.model.sharded import Sharded
from ...engine.model.ticket import Reply, Ticket
from ...engine.reads import commands as reads
from ...engine.writes import commands as writes
from ...runtime.faults import as_error
from ...wire import messages as wire
from ..auditing import took_effect
from ..given import description_bytes
from ..reach import reach, shown
from ..session import Session
from .gathering import Gather, Unheard


def whole_of(collection: Entry) -> Sharded:
    """The shards together, of a collection that has several."""
    assert collection.whole is not None, "it has several shards"
    return collection.whole


def create(session: Session, request: wire.Create, collection: Entry, size: int) -> None:
    """Answer the ``create`` of a collection that is new, and in the catalog already."""
    whole, context = whole_of(collection), session.context
    took_effect(session, "create", collection.name)
    handle, visible = session.open(collection), shown(session, collection)
    if not collection.has_log:
        session.ok(request.id, {**whole.describe(visible), "handle": handle})
        return
    ticket = session.ticket(request, whole, size, description_bytes(collection))

    def asks(_: int, shard: Shard, part: Ticket) -> writes.Create:
        return writes.Create(part, shard, context.catalog, handle, visible)

    def finish(said: dict[int, Any]) -> Reply:
        failed = next((one for one in said.values() if isinstance(one, OmenError)), None)
        if failed is None:
            return replies.ok(ticket, {**whole.describe(visible), "handle": handle})
        made = [n for n, one in said.items() if not isinstance(one, OmenError)]
        drop_all(session, [whole.parts[n] for n in made])
        return replies.refusal(ticket, failed)

    shards = list(enumerate(whole.parts))
    Gather(session, ticket, tolerates=True).begin(shards, asks, finish, changes=True)


def describe_open(
    session: Session, request: wire.Create | wire.Open, collection: Entry, size: int
) -> None:
    """Answer an ``open``, or a ``create`` of what is there."""
    _say(session, request, collection, size, {"handle": session.open(collection)})


def open_(session: Session, request: wire.Open, size: int) -> None:
    """``open``."""
    describe_open(session, request, reach(session, "open", request.collection).collection, size)


def describe(session: Session, request: wire.Describe, size: int) -> None:
    """``describe``."""
    collection = reach(session, request.op, request.collection).collection
    _say(session, request, collection, size, {})


def _say(
    session: Session, request: wire.Request, collection: Entry, size: int, more: dict[str, Any]
) -> None:
    whole = whole_of(collection)
    visible = reach(session, "describe", collection.name).visible
    ticket = session.ticket(request, whole, size, description_bytes(collection))
    session.submit(reads.Ask(ticket, whole, visible, lambda _: whole.describe(visible) | more))


def drop(session: Session, request: wire.Drop, size: int) -> None:
    """``drop``: in the catalog it takes effect at once."""
    session.who.scope("admin", request.collection)
    collection = reach(session, request.op, request.collection).collection
    whole, held = whole_of(collection), session.context.catalog.held
    ticket = session.ticket(request, whole, size)

    def asks(_: int, shard: Shard, part: Ticket) -> writes.Drop:
        return writes.Drop(part, shard, held)

    gather = Gather(session, ticket)
    took_effect(session, "drop", request.collection)
    session.context.catalog.drop(collection)
    shards = list(enumerate(whole.parts))
    try:
        gather.begin(shards, asks, lambda _: replies.ok(ticket, {}), changes=True)
    except Exception as error:  # it is out of the catalog: the engine must hear of it
        as_error(error, "drop")
        gather.begin(shards, asks, lambda _: replies.ok(ticket, {}), changes=True)


def drop_rest(session: Session, tenant: str, collection: str) -> None:
    """Drop what came back of a collection that did not come back as a whole."""
    drop_all(session, session.context.catalog.coming.take(tenant, collection))


def drop_all(session: Session, shards: list[Shard]) -> None:
    """Drop shards that nobody can name."""
    held = session.context.catalog.held
    for shard in shards:
        ticket = Ticket(
            asker=Unheard(session.lane),
            id=0,
            op="drop",
            shard=shard,
            arrival_us=session.context.clock_us(),
            request_bytes=0,
            reply_bytes=0,
            max_reply_bytes=0,
            after=session.lane.queued,
            is_part=True,
        )
        session.context.inbox.submit(writes.Drop(ticket, shard, held))
        session.lane.queued += 1
