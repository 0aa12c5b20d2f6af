"""What ``subscribe``, ``move`` and ``unsubscribe`` mean: from a typed request to work.

Runs on the loop's thread, called by ``ops.py``, which has checked the rights. A subscription
exists from here on; the engine's reply starts it, or ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

from omendb_core.model.budget import Share
from omendb_core.model.errors import BadRequest, NotFound

from ..engine.streams import commands as streams
from ..engine.streams.feeds import FEED_BYTES, Feed
from ..engine.streams.live_query import LiveQuery
from ..engine.streams.novels import NOVEL_BYTES, NovelQuery
from ..runtime.faults import as_error
from ..wire import messages as wire
from ..wire.messages import SubscriptionKind
from .count_streams import leave_count, subscribe_count
from .live_streams import move_live, subscribe_live
from .match_streams import subscribe_match
from .operating import operations, shown_to
from .reach import Reach, reach
from .session import Session
from .standing_streams import refuse_from_seqs
from .subscriptions import maps
from .subscriptions.clusters import CLUSTER_BYTES, ClusterSubscription
from .subscriptions.counts import CountSubscription
from .subscriptions.subscription import (
    STATS_BYTES,
    StatsSubscription,
    StreamSubscription,
    Subscription,
)

Subscriber: TypeAlias = Callable[[Session, wire.Subscribe, int], None]


def subscribe(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin one subscription, or by SUBSCRIBE several; after a fault there is none of them."""
    subscribe_by(_SUBSCRIBERS[request.kind], session, request, size)


def subscribe_by(
    subscriber: Subscriber, session: Session, request: wire.Subscribe, size: int
) -> None:
    """The same, by ``subscriber``."""
    last_before = session.last_sub
    try:
        subscriber(session, request, size)
    except Exception:
        for subscription in list(session.subscriptions.values()):
            if subscription.sub > last_before:
                subscription.close()
        raise


def _subscribe_feed(session: Session, request: wire.Subscribe, size: int) -> None:
    reached = _reached(session, request)
    collection = reached.collection
    refuse_from_seqs(request)
    budget = session.account.memory
    filter_ = reached.kept(request.filter, budget)
    share = Share(budget, "this feed takes")
    share.resize(FEED_BYTES)
    subscription = StreamSubscription(session, "feed", session.next_sub(), collection)
    session.remember(subscription)
    feed = Feed(
        session.context.engine.feeds,
        subscription,
        collection.shard,
        request.encoding == "binary",
        request.include,
        filter_,
        share,
    )
    subscription.stream = feed
    ticket = session.ticket(request, collection.shard, size, then=subscription.replied)
    session.submit_change(streams.Follow(ticket, collection.shard, feed, request.from_seq))


def _reached(session: Session, request: wire.Subscribe) -> Reach:
    """What it reaches of its collection."""
    return reach(session, request.op, request.collection or "")


def _subscribe_novel(session: Session, request: wire.Subscribe, size: int) -> None:
    reached = _reached(session, request)
    collection = reached.collection
    budget = session.account.memory
    filter_ = reached.kept(request.filter, budget)
    sub = session.next_sub()
    budget.take(NOVEL_BYTES, "this novel subscription takes")
    try:
        subscription = StreamSubscription(session, "novel", sub, collection, NOVEL_BYTES)
    except Exception:
        budget.give_back(NOVEL_BYTES)
        raise
    session.remember(subscription)
    assert request.below is not None, "the table requires it"
    query = NovelQuery(
        session.context.engine.novels,
        subscription,
        collection.shard,
        request.encoding == "binary",
        request.include,
        request.below,
        filter_,
        request.last,
        Share(budget, "hits that wait take"),
    )
    subscription.attach(query)
    ticket = session.ticket(request, collection.shard, size, then=subscription.replied)
    session.submit(streams.Novel(ticket, collection.shard, query, request.from_seq))


def subscribe_stats(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin statistics of a collection, or of the server."""
    collection, visible = None, None
    if request.collection is not None:
        collection, visible = _reached(session, request).read
    share = Share(session.account.memory, "these statistics take")
    share.resize(STATS_BYTES)
    sub = session.next_sub()
    subscription = StatsSubscription(
        session,
        sub,
        collection,
        request.every_ms,
        share,
        visible,
        partial(_server_numbers, session),
    )
    session.remember(subscription)
    if collection is not None:
        ticket = session.ticket(request, collection.all_of_it, size, then=subscription.replied)
        session.submit_change(streams.Watch(ticket, collection.shards[0], subscription))
        return
    _begin_at_once(session, request, subscription)


def _subscribe_cluster(session: Session, request: wire.Subscribe, size: int) -> None:
    work = operations(session)
    share = Share(session.account.memory, "this subscription takes")
    share.resize(CLUSTER_BYTES)
    subscription = ClusterSubscription(
        session,
        session.next_sub(),
        request.every_ms,
        share,
        lambda: work.told(shown_to(session)),
    )
    session.remember(subscription)
    _begin_at_once(session, request, subscription)


def _begin_at_once(session: Session, request: wire.Subscribe, subscription: Subscription) -> None:
    """Answer, and start: the engine has no part in it."""
    session.ok(request.id, {"sub": subscription.sub})
    try:
        subscription.replied(True)
    except Exception as error:
        as_error(error, "the start of a subscription")
        subscription.replied(True)


def _server_numbers(session: Session) -> dict[str, Any]:
    """What the principal of now may see."""
    return session.context.server_view.now(session.who.known())


def _subscribe_map(session: Session, request: wire.Subscribe, size: int) -> None:
    collection, visible = _reached(session, request).read
    context = session.context
    sub = session.next_sub()
    share = Share(session.account.memory, "this map takes")
    share.resize(maps.bytes_for(collection.definition))
    picture = context.looks.open(collection.shard, request.sample, visible, session.account.memory)
    try:
        subscription = maps.MapSubscription(
            session, sub, collection, picture, request.every_ms, share
        )
    except Exception:
        picture.close_if_unread()
        raise
    session.remember(subscription)
    ticket = session.ticket(request, collection.shard, size, then=subscription.replied)
    session.submit_change(streams.Watch(ticket, collection.shard, subscription))


_SUBSCRIBERS: Final[dict[SubscriptionKind, Subscriber]] = {
    "live": subscribe_live,
    "match": subscribe_match,
    "feed": _subscribe_feed,
    "novel": _subscribe_novel,
    "count": subscribe_count,
    "stats": subscribe_stats,
    "map": _subscribe_map,
    "cluster": _subscribe_cluster,
}


def move(session: Session, request: wire.Move, size: int) -> None:
    """Have a live query ask something else."""
    subscription = _subscription(session, request.sub)
    if isinstance(subscription, StreamSubscription) and isinstance(subscription.stream, LiveQuery):
        move_live(session, request, subscription, subscription.stream, size)
    else:
        raise BadRequest(f"sub: {request.sub} is of kind {subscription.kind!r}; only 'live' moves")


def unsubscribe(session: Session, request: wire.Unsubscribe, size: int) -> None:
    """End a subscription; nothing comes for it after the reply."""
    subscription = _subscription(session, request.sub)
    shard = subscription.shard
    if shard is None:
        subscription.close()
        session.ok(request.id, {})
        return
    if isinstance(subscription, CountSubscription):
        leave_count(session, request, subscription, size)
        subscription.is_leaving = True
        return
    ticket = session.ticket(request, shard, size, then=lambda _: subscription.close())
    stream = subscription.stream if isinstance(subscription, StreamSubscription) else None
    if stream is None or isinstance(stream, Feed):
        session.submit_change(streams.Unfollow(ticket, shard.parts[0], stream))
    else:
        session.submit(streams.Leave(ticket, shard, stream))
    subscription.is_leaving = True


def _subscription(session: Session, sub: int) -> Subscription:
    subscription = session.subscriptions.get(sub)
    if subscription is None or subscription.is_leaving:
        raise NotFound(f"sub: there is no {sub}")
    return subscription
