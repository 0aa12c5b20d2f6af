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
        if request.epoch is None or request.collection is None:
            handler(session, request, size)
            return
        collection = reach(session, request.op, request.collection).collection
        refuse_other_epoch(collection, request.epoch)
        if request.min_version is None:
            handler(session, request, size)
            return
        _wait(session, request, collection, size, handler)

    return handle


def refuse_other_epoch(collection: Entry, epoch: str) -> None:
    """WrongEpoch unless the collection is of that epoch."""
    if epoch != collection.epoch:
        raise WrongEpoch("epoch: the collection has another one now", epoch=collection.epoch)


def _wait(
    session: Session, request: _Request, collection: Entry, size: int, handler: Handler[_Request]
) -> None:
    assert request.min_version is not None
    awaited = collection.whole or collection.shard
    ticket = session.ticket(request, awaited, size)

    def handle() -> None:
        try:
            session.who.need(right_for(request.op))
            assert request.epoch is not None
            refuse_other_epoch(collection, request.epoch)
            handler(session, request, size)
        except Exception as error:
            if session.taken is not None:
                session.taken.give_back()
                session.taken = None
            session.refuse(request.id, b"", error, request.op, target_of(request))

    def go_on() -> None:
        session.resume(ticket, handle)

    session.submit(AwaitVersion(ticket, awaited, request.min_version, go_on))
