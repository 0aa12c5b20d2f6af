"""What the answers of the engine add to the numbers of the server and of their collections."""

from __future__ import annotations

from ..engine.model.ticket import Reply
from .context import Context


def count(reply: Reply, context: Context) -> None:
    """One more reply: an error, searches, or an add."""
    ticket, metrics = reply.ticket, context.metrics
    counts = ticket.shard.counts if ticket.shard is not None else None
    if reply.error is not None:
        metrics.errors[reply.error] += 1
        if counts is not None:
            counts.errors += 1
        return
    if ticket.op == "search":
        metrics.searched += reply.queries
        metrics.search_us.record(context.clock_us() - ticket.arrival_us)
        if counts is not None:
            counts.searches += reply.queries
    elif ticket.op == "add":
        metrics.add_us.record(context.clock_us() - ticket.arrival_us)
