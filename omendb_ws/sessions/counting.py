"""What the answers of the engine add to the numbers of the server and of their collections."""

from __future__ import annotations

from ..engine.model.ticket import Answer
from .context import Context


def count(answer: Answer, context: Context) -> None:
    """One more answer: an error, searches, or an add."""
    ticket, metrics = answer.ticket, context.metrics
    counts = ticket.collection.counts if ticket.collection is not None else None
    if answer.error is not None:
        metrics.errors[answer.error] += 1
        if counts is not None:
            counts.errors += 1
        return
    if ticket.op == "search":
        metrics.searched += answer.queries
        metrics.search_us.record(context.clock_us() - ticket.arrival_us)
        if counts is not None:
            counts.searches += answer.queries
    elif ticket.op == "add":
        metrics.add_us.record(context.clock_us() - ticket.arrival_us)
