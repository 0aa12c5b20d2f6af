"""Subscriptions to collections of several shards, by their kinds."""

from __future__ import annotations

from typing import Final

from omendb_core.model.errors import Unsupported

from ...wire import messages as wire
from ...wire.messages import SubscriptionKind
from ..reach import reach
from ..session import Session
from ..subscribing import Subscriber, subscribe_by, subscribe_stats
from .live import subscribe_live
from .row_streams import subscribe_feed, subscribe_match


def subscribe(session: Session, request: wire.Subscribe, size: int) -> None:
    """As ``subscribe`` of any collection."""
    subscriber = _SUBSCRIBERS.get(request.kind)
    if subscriber is None:
        reach(session, request.op, request.collection or "")  # rights come first
        raise Unsupported(
            f"kind: {request.kind!r} is not supported of a collection of several shards yet"
        )
    subscribe_by(subscriber, session, request, size)


_SUBSCRIBERS: Final[dict[SubscriptionKind, Subscriber]] = {
    "live": subscribe_live,
    "match": subscribe_match,
    "feed": subscribe_feed,
    "stats": subscribe_stats,
}
