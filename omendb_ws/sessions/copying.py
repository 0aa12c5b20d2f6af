"""Whole collections out and in: ``snapshot`` and ``restore`` (PROTOCOL section 12).

Both take ``admin`` on the collection's name, and the right to read, or to write, all of it: a
token to which only some rows are there, or whose rows are stamped, is refused. Lives on the loop's
thread.
"""

from __future__ import annotations

import itertools
from typing import Final

from omendb_core.model.budget import Share
from omendb_core.model.errors import Exists, Forbidden, NotFound, Quota

from ..catalog.entry import Entry
from ..engine.pieces.snapshots import Reading
from ..engine.reads.commands import SnapshotPiece
from ..engine.writes.commands import BeginSnapshot, Handed
from ..wire import messages as wire
from ..wire import reply_bounds
from .auditing import took_effect
from .handles import Ending
from .reach import reach
from .session import Session

#: Restores of a connection that have begun and not come to their end.
MAX_RESTORES: Final = 4
#: About what a piece is long.
_PIECE_BYTES: Final = 1 << 20

_numbers = itertools.count(1)


def snapshot(session: Session, request: wire.Snapshot, size: int) -> None:
    """Begin one, hand out its next bytes, or end it."""
    handles = session.handles
    if request.collection is not None:
        _begin_snapshot(session, request, request.collection, size)
        return
    number = request.end if request.snapshot is None else request.snapshot
    reading = None if handles.snapshot is None else handles.snapshot.reading
    if handles.snapshot is None or reading is None or reading.number != number:
        raise NotFound(f"snapshot: this connection reads none of number {number}")
    if request.end is not None:
        handles.snapshot.end()
        handles.snapshot = None
        session.ok(request.id, {})
        return
    session.who.scope("admin", reading.shard.name)
    _refuse_part(session, "read", reading.shard.name)
    ticket = session.ticket(request, reading.shard, size, _PIECE_BYTES)
    session.submit(SnapshotPiece(ticket, reading))


def _begin_snapshot(session: Session, request: wire.Snapshot, name: str, size: int) -> None:
    """The one before, which nobody reads any more, ends."""
    session.who.scope("admin", name)
    _refuse_part(session, "read", name)
    collection = reach(session, request.op, name).collection
    context, shard = session.context, collection.shard
    share = Share(session.account.memory, "a snapshot takes")
    wall_us = round(context.wall_seconds() * 1e6)
    reading = Reading(next(_numbers), shard, share, wall_us, context.metrics.snapshots)
    reply_bytes = reply_bounds.description_bytes(collection.definition)
    ticket = session.ticket(request, shard, size, reply_bytes)
    took_effect(session, request.op, name)
    if session.handles.snapshot is not None:
        session.handles.snapshot.end()
    session.handles.snapshot = Ending(reading, context.engine)
    session.submit_change(BeginSnapshot(ticket, shard, reading))


def restore(session: Session, request: wire.Restore, size: int) -> None:
    """Begin one, or give it up."""
    restores = session.handles.restores
    if request.end is not None:
        found = restores.get(request.end)
        if found is None or found.is_over:
            raise NotFound(f"restore: this connection has none of number {request.end}")
        session.submit(Handed(session.ticket(request, None, size), found.give_up))
        return
    name = request.collection
    assert name is not None, "one of the two"
    session.who.scope("admin", name)
    _refuse_part(session, "write", name)
    for number in [number for number, one in restores.items() if one.is_over]:
        del restores[number]
    if len(restores) >= MAX_RESTORES:
        raise Quota(f"restore: at most {MAX_RESTORES} at a time on a connection")

    def listed(collection: Entry) -> int:
        took_effect(session, "restore", name)
        return session.open(collection)

    cluster = session.context.cluster
    if cluster is not None and cluster.directory.where(session.tenant, name) is not None:
        raise Exists(f"collection: there is a {name!r} already")
    restores_of_all = session.context.restores
    begun = restores_of_all.begin(
        session.tenant, name, request.durability, request.replicas, listed
    )
    restores[begun.number] = begun
    session.ok(request.id, {"restore": begun.number})


def restore_bytes(session: Session, request: wire.RestoreBytes, size: int) -> None:
    """Have the next bytes taken in; with the last ones the collection is there."""
    begun = session.handles.restores.get(request.restore)
    if begun is None or begun.is_over:
        raise NotFound(f"restore: this connection has none of number {request.restore}")
    session.who.scope("admin", begun.name)
    _refuse_part(session, "write", begun.name)
    ticket, data = session.ticket(request, None, size), request.data
    session.context.metrics.restores.bytes += len(data)
    session.submit(Handed(ticket, lambda ticket: begun.take(ticket, data)))


def _refuse_part(session: Session, right: str, name: str) -> None:
    """Forbidden to whom only some rows are there, or whose rows get values of their grant."""
    scope = session.who.scope(right, name)
    is_part = scope.filter is not None
    if right == "write":
        is_part = is_part or scope.written is not None or bool(scope.stamp)
    if is_part:
        raise Forbidden(f"this token's grant is of a part of {name}; a copy is of all of it")
