"""What ``subscribe`` of kind ``count`` means, and its end: from a typed request to work.

Runs on the loop's thread, called by ``subscribing.py``.
"""

from __future__ import annotations

from omendb_core.counting import CountQuery, check_by
from omendb_core.model.budget import Share
from omendb_core.model.errors import TooLarge

from ..engine.streams.counting import BeginCount, LeaveCount
from ..wire import messages as wire
from ..wire import reply_bounds
from .reach import reach
from .session import Session
from .subscriptions.counts import COUNT_BYTES, CountSubscription


def subscribe_count(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin a count that is told again when it has changed."""
    context = session.context
    reached = reach(session, request.op, request.collection or "")
    collection = reached.collection
    definition, budget = collection.definition, session.account.memory
    check_by(request.by, definition)
    most_bytes = reply_bounds.counts_bytes(
        definition, request.by, request.limit, context.limits.max_metadata_bytes
    )
    if most_bytes > context.limits.max_message_bytes:
        raise TooLarge(f"limit: a push may take {most_bytes} bytes, over max_message_bytes")
    query = CountQuery(reached.kept(request.filter, budget), request.by, request.limit)
    share = Share(budget, "this count takes")
    share.resize(COUNT_BYTES)
    tally = context.tallies.open(collection.shard, query, budget)
    sub = session.next_sub()
    subscription = CountSubscription(session, sub, collection, tally, request.every_ms, share)
    session.remember(subscription)
    ticket = session.ticket(request, collection.shard, size, most_bytes, subscription.replied)
    session.submit(BeginCount(ticket, collection.shard, subscription))


def leave_count(
    session: Session, request: wire.Unsubscribe, subscription: CountSubscription, size: int
) -> None:
    """End it at its reader's wish, behind the reply to ``subscribe``."""
    shard = subscription.tally.shard
    ticket = session.ticket(request, shard, size, then=lambda _: subscription.close())
    session.submit(LeaveCount(ticket, shard, subscription))
