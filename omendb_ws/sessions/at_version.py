"""Reads of a version that may be still to come: ``min_version`` and ``epoch`` (PROTOCOL section 5).

Runs on the loop's thread, between ``ops.py`` and the op that is asked for. The engine says when a
window is there; the request is handled then, with the rights that its connection has by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar

from omendb_core.model.errors import WrongEpoch

from ..catalog.entry import Entry
from ..engine.version_waits import AwaitVersion
from ..wire import messages as wire
from ..wire.opcodes import right_for
from .auditing import target_of
from .reach import reach
from .session import Session

_Versioned: TypeAlias = wire.Search | wire.Get | wire.Count | wire.Subscribe
_Request = TypeVar("_Request", bound=_Versioned)
Handler: TypeAlias = Callable[[Session, _Request, int], None]


def at_version(handler: Handler[_Request]) -> Handler[_Request]:
    """``handler``, of requests that may ask for a version. WrongEpoch if they ask for another."""

    def handle(session: Session, request: _Request, size: int) -> None:
        is_open = request.epoch is None and session.least is None
        if is_open or request.collection is None:
            handler(session, request, size)
            return
        collection = reach(session, request.op, request.collection).collection
        if request.epoch is not None:
            refuse_other_epoch(collection, request.epoch)
        version = request.min_version or 0
        if must_wait(session, collection):
            assert session.least is not None
            version = max(version, session.least(collection.name))
        elif request.min_version is None:
            handler(session, request, size)
            return
        _wait(session, request, collection, version, size, handler)

    return handle


def must_wait(session: Session, collection: Entry) -> bool:
    """Whether a read waits though it does not ask for it: its connection was shown a later version
    by another node of the cluster."""
    if session.least is None:
        return False
    whole = collection.whole
    version = collection.shard.window.version if whole is None else whole.version
    return session.least(collection.name) > version


def refuse_other_epoch(collection: Entry, epoch: str) -> None:
    """WrongEpoch unless the collection is of that epoch."""
    if epoch != collection.epoch:
        raise WrongEpoch("epoch: the collection has another one now", epoch=collection.epoch)


def _wait(
    session: Session,
    request: _Request,
    collection: Entry,
    version: int,
    size: int,
    handler: Handler[_Request],
) -> None:
    awaited = collection.whole or collection.shard
    ticket = session.ticket(request, awaited, size)

    def handle() -> None:
        try:
            session.who.need(right_for(request.op))
            if request.epoch is not None:
                refuse_other_epoch(collection, request.epoch)
            handler(session, request, size)
        except Exception as error:
            if session.taken is not None:
                session.taken.give_back()
                session.taken = None
            session.refuse(request.id, b"", error, request.op, target_of(request))

    def go_on() -> None:
        session.resume(ticket, handle)

    session.submit(AwaitVersion(ticket, awaited, version, go_on))
