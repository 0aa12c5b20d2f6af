"""Long requests, read in pieces (``long_work.py``).

Texts, and binary messages with much JSON in them. Lives on the loop's thread. A session reads
nothing else while one of its own is being read (so the order of its messages stays); all others are
served in between. What was read is let go of so, too.

Invariants: a request gets exactly one reply, as in ``Receiver.receive``; one whose connection is
gone by the time it has been read is not begun.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial

from omendb_core.model.change import RowBatch, UpdateRequest
from omendb_core.model.errors import OmenError

from ..runtime.faults import as_error
from ..wire import long_frames, long_rows, long_text
from ..wire.long_json import Loaded
from ..wire.messages import Add, Posted, Refusal, Request, Update
from ..wire.opcodes import right_for
from . import ops
from .auditing import target_of
from .holds import Hold
from .long_work import Steps
from .reach import reach
from .session import Session
from .shedding import Shedder


def steps(session: Session, message: str | bytes | Posted, hold: Hold) -> Steps:
    """Read ``message`` and answer it, or hand it to the engine; ``hold`` ends with that."""
    request: Request | Refusal | None = None
    loaded: Loaded | None = None
    rest: Callable[[], Steps] | None = None
    op = "invalid"
    try:
        decoded = yield from _decoded(session, message)
        loaded = decoded.loaded
        rest = loaded.free if loaded is not None else None
        request = decoded.request
        if isinstance(request, Refusal):
            raise request.error
        op = request.op
        session.refuse_repeated_id(request.id)
        if session.context.overload.is_shedding:
            Shedder(session).refuse_read(message, op)
        if session.routes is not None and session.routes.passes_on(message, request):
            return
        made = yield from _read(session, request, loaded)
        rows = _free_rows(request, loaded)
        if session.lane.is_open:
            ops.handle(session, made, len(message))
        rest = rows  # anything else may belong to the work by now
    except Exception as error:
        request_id = None if request is None else request.id
        try:
            session.refuse(request_id, message, error, op, target_of(request))
        except Exception as fault:
            session.refuse(request_id, message, fault, op)
    finally:
        session.context.metrics.requests[op] += 1
        try:
            hold.end()
        except Exception as error:
            as_error(error, op)
            hold.end()
    if rest is not None:
        yield from rest()


def _decoded(
    session: Session, message: str | bytes | Posted
) -> Generator[None, None, long_text.Decoded]:
    limits = session.context.limits
    if isinstance(message, Posted):
        return (yield from long_text.decode(message.text, limits, given=message.given))
    if isinstance(message, str):
        return (yield from long_text.decode(message, limits))
    return (yield from long_frames.decode(message, limits, session.columns_of))


def _read(
    session: Session, request: Request, loaded: Loaded | None
) -> Generator[None, None, Request]:
    """``request`` with its rows as the engine takes them."""
    if isinstance(request, Add) and isinstance(request.rows, RowBatch):
        session.who.need(right_for(request.op))
        try:
            rows = yield from long_rows.complete_payloads(request.rows, session.context.limits)
        except OmenError as error:
            return replace(request, rows=error)
        return replace(request, rows=rows)
    if not isinstance(request, Add | Update) or not isinstance(request.rows, list):
        return request
    session.who.need(right_for(request.op))
    counts = [len(request.rows)] if loaded is None else loaded.counts_of(request.rows)
    made = yield from _made(session, request, request.rows, counts)
    return replace(request, rows=made)  # type: ignore[arg-type]


def _free_rows(request: Request, loaded: Loaded | None) -> Callable[[], Steps] | None:
    if not isinstance(request, Add | Update) or loaded is None:
        return None
    if isinstance(request.rows, list):
        return partial(loaded.free_members, request.rows)
    metadata = loaded.value.get("metadata")  # of a frame: rows that are at fault are nobody's
    if isinstance(request.rows, OmenError) and isinstance(metadata, list):
        return partial(loaded.free_members, metadata)
    return None


def _made(
    session: Session, request: Add | Update, rows: list[object], counts: list[int]
) -> Generator[None, None, RowBatch | UpdateRequest | OmenError]:
    """The rows for the collection as it is when they have been read; the errors of an add's."""
    limits = session.context.limits
    while True:
        collection = reach(session, request.op, request.collection).collection
        made: RowBatch | UpdateRequest | OmenError
        if isinstance(request, Update):
            made = yield from long_rows.parse_updates(rows, counts, collection.definition, limits)
        else:
            try:
                made = yield from long_rows.parse_rows(rows, counts, collection.definition, limits)
            except OmenError as error:
                made = error.with_traceback(None)  # whose frames hold the rows
        if not session.lane.is_open or session.find(request.collection) is collection:
            return made
