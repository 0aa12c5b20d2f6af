"""Answers of the engine as messages: encoded, and held to the limit on a message.

Knows the wire and tickets, no window. Runs on the engine's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omendb_core.model.errors import OmenError, TooLarge
from omendb_core.model.types import U32

from ...sessions.outbox import Message, binary, text
from ...wire import binary_replies
from ...wire import live as live_wire
from ...wire import text as text_wire
from ...wire.messages import Added, Found, Results
from .rows import part_of
from .work import Answer, Live, Move, Ticket


def refusal(ticket: Ticket, error: OmenError) -> Answer:
    """An error; in text also for binary requests (PROTOCOL section 7)."""
    return Answer(ticket, text(text_wire.encode_error(ticket.id, error)), error.code)


def ok(ticket: Ticket, body: Mapping[str, Any]) -> Answer:
    """A JSON answer."""
    return _fitting(ticket, text(text_wire.encode_ok(ticket.id, body)))


def added(ticket: Ticket, acknowledged: Added, is_binary: bool) -> Answer:
    """The acknowledgement of an add."""
    if is_binary:
        return _fitting(ticket, binary(binary_replies.encode_added(ticket.id, acknowledged)))
    return _fitting(ticket, text(text_wire.encode_added(ticket.id, acknowledged)))


def results(
    ticket: Ticket,
    found: Results,
    is_single: bool,
    is_binary: bool,
    written: list[bytes] | None = None,
) -> Answer:
    """The answer to a search; ``written``: its rows, in binary their metadata, as JSON."""
    if is_binary:
        message = binary(binary_replies.encode_results(ticket.id, found, written))
    else:
        message = text(text_wire.encode_results(ticket.id, found, is_single, written))
    answer = _fitting(ticket, message)
    answer.queries = len(found.counts)
    return answer


def snapshot(
    work: Live,
    found: Results,
    counts: U32,
    start: int,
    end: int,
    written: list[bytes] | None = None,
) -> Answer:
    """The answer to a subscription to live queries: rows ``start … end - 1`` of ``found``.

    ``written``: their metadata as JSON, for a binary one.
    """
    subs = [query.sub for query in work.queries]
    own = Results(found.version, counts, part_of(found.hits, start, end), 0, subs)
    if work.is_binary:
        message = binary(binary_replies.encode_results(work.ticket.id, own, written))
        return _fitting(work.ticket, message)
    head = {"sub": subs[0], "epoch": work.collection.epoch}
    return _fitting(work.ticket, text(live_wire.encode_snapshot(work.ticket.id, own, head)))


def moved(work: Move, found: Results) -> Answer:
    """The answer to a move."""
    if work.is_binary:
        return _fitting(work.ticket, binary(binary_replies.encode_results(work.ticket.id, found)))
    return _fitting(work.ticket, text(live_wire.encode_snapshot(work.ticket.id, found, {})))


def rows(ticket: Ticket, found: Found, written: list[bytes] | None = None) -> Answer:
    """The answer to ``get``; ``written``: its rows as JSON."""
    return _fitting(ticket, text(text_wire.encode_found(ticket.id, found, written)))


def refuse_over(ticket: Ticket, least_bytes: int) -> None:
    """TooLarge if a reply of at least so many bytes cannot be sent."""
    if least_bytes > ticket.max_reply_bytes:
        raise TooLarge(
            f"the reply would take at least {least_bytes} bytes; max_message_bytes is"
            f" {ticket.max_reply_bytes}"
        )


def _fitting(ticket: Ticket, message: Message) -> Answer:
    try:
        refuse_over(ticket, message.size_bytes)
    except TooLarge as error:
        return refusal(ticket, error)
    return Answer(ticket, message)
