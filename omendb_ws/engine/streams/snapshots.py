"""What answers a subscription to live queries, and a move: the rows that its reader begins with."""

from __future__ import annotations

from omendb_core.model.types import U32

from ...wire import binary_replies
from ...wire import live as live_wire
from ...wire.encoded import Message, binary, text
from ...wire.messages import Results
from ..model.replies import fitting
from ..model.rows import part_of
from ..model.ticket import PartReply, Reply
from .commands import Live, Move, Together


def snapshot(
    work: Live,
    found: Results,
    counts: U32,
    start: int,
    end: int,
    written: list[bytes] | None = None,
) -> Reply:
    """The reply to a subscription to live queries: rows ``start … end - 1`` of ``found``.

    ``written``: their metadata as JSON, in parts, for a binary one.
    """
    subs = [query.sub for query in work.queries]
    own = Results(found.version, counts, part_of(found.hits, start, end), 0, subs, found.at)
    if work.ticket.is_part:
        return PartReply(work.ticket, value=own)
    if work.is_binary and written is not None:
        parts = binary_replies.encode_results_in_parts(work.ticket.id, own, written)
        return fitting(work.ticket, Message(parts, False))
    if work.is_binary:
        return fitting(work.ticket, binary(binary_replies.encode_results(work.ticket.id, own)))
    head = {"sub": subs[0], "epoch": work.shard.epoch}
    return fitting(work.ticket, text(live_wire.encode_snapshot(work.ticket.id, own, head)))


def gathered(work: Together, found: Results) -> Reply:
    """The reply to a subscription to live queries over several shards, or to a move of one."""
    ticket = work.ticket
    if work.is_binary:
        return fitting(ticket, binary(binary_replies.encode_results(ticket.id, found)))
    head = {} if found.subs is None else {"sub": found.subs[0], "epoch": work.shard.epoch}
    return fitting(ticket, text(live_wire.encode_snapshot(ticket.id, found, head)))


def moved(work: Move, found: Results) -> Reply:
    """The reply to a move."""
    if work.is_binary:
        return fitting(work.ticket, binary(binary_replies.encode_results(work.ticket.id, found)))
    return fitting(work.ticket, text(live_wire.encode_snapshot(work.ticket.id, found, {})))
