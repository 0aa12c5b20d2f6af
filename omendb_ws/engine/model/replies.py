"""Replies of the engine: encoded, and held to the limit on a message.

Knows the wire and tickets, no window. Runs on the engine's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omendb_core.model.errors import OmenError, TooLarge

from ...wire import binary_replies, text_replies
from ...wire.counts import Counted, encode_count
from ...wire.encoded import Message, binary, text
from ...wire.messages import Added, Found, Results
from .ticket import PartReply, Reply, Ticket


def refusal(ticket: Ticket, error: OmenError) -> Reply:
    """An error; in text also for binary requests (PROTOCOL section 7).

    It has no traceback any more (see ``runtime.faults.as_error``).
    """
    error.__traceback__ = None
    if ticket.is_part:
        return PartReply(ticket, error=error.code, value=error)
    return Reply(ticket, text(text_replies.encode_error(ticket.id, error)), error.code)


def ok(ticket: Ticket, body: Mapping[str, Any]) -> Reply:
    """A reply of JSON."""
    if ticket.is_part:
        return PartReply(ticket, value=body)
    return fitting(ticket, text(text_replies.encode_ok(ticket.id, body)))


def added(ticket: Ticket, acknowledged: Added, is_binary: bool) -> Reply:
    """The acknowledgement of an add."""
    if ticket.is_part:
        return PartReply(ticket, value=acknowledged)
    if is_binary:
        return fitting(ticket, binary(binary_replies.encode_added(ticket.id, acknowledged)))
    return fitting(ticket, text(text_replies.encode_added(ticket.id, acknowledged)))


def results(
    ticket: Ticket,
    found: Results,
    is_single: bool,
    is_binary: bool,
    written: list[bytes] | None = None,
) -> Reply:
    """The reply to a search; ``written``: in binary its rows' metadata as JSON, in parts."""
    if ticket.is_part:
        return PartReply(ticket, value=found)
    if is_binary and written is not None:
        parts = binary_replies.encode_results_in_parts(ticket.id, found, written)
        message = Message(parts, False)
    elif is_binary:
        message = binary(binary_replies.encode_results(ticket.id, found))
    else:
        message = text(text_replies.encode_results(ticket.id, found, is_single))
    return of_search(ticket, found, message)


def of_search(ticket: Ticket, found: Results, message: Message) -> Reply:
    """The reply to a search, once it is written."""
    reply = fitting(ticket, message)
    reply.queries = len(found.counts)
    return reply


def rows(ticket: Ticket, found: Found) -> Reply:
    """The reply to ``get``."""
    if ticket.is_part:
        return PartReply(ticket, value=found)
    return fitting(ticket, text(text_replies.encode_found(ticket.id, found)))


def snapshot(ticket: Ticket, data: Sequence[bytes | memoryview], is_last: bool) -> Reply:
    """Bytes of a snapshot."""
    parts = binary_replies.encode_snapshot_in_parts(ticket.id, data, is_last)
    return fitting(ticket, Message(parts, False))


def counted(ticket: Ticket, found: Counted) -> Reply:
    """The reply to ``count``."""
    if ticket.is_part:
        return PartReply(ticket, value=found)
    return fitting(ticket, encode_count(ticket.id, found))


def refuse_over(ticket: Ticket, least_bytes: int) -> None:
    """TooLarge if a reply of at least so many bytes cannot be sent."""
    if least_bytes > ticket.max_reply_bytes:
        raise TooLarge(
            f"the reply would take at least {least_bytes} bytes; max_message_bytes is"
            f" {ticket.max_reply_bytes}"
        )


def fitting(ticket: Ticket, message: Message) -> Reply:
    """The reply, or a refusal if it is longer than a message may be."""
    try:
        refuse_over(ticket, message.size_bytes)
    except TooLarge as error:
        return refusal(ticket, error)
    return Reply(ticket, message)
