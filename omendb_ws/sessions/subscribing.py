"""What ``subscribe``, ``move`` and ``unsubscribe`` mean: from a typed request to work.

Runs on the loop's thread, called by ``ops.py``, which has checked the rights. A subscription
exists from here on; the engine's answer starts it, or ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from omendb_core.filters.parser import kept
from omendb_core.model.budget import Share
from omendb_core.model.errors import BadRequest, NotFound, TooLarge, WrongEpoch
from omendb_core.model.types import F32
from omendb_core.search.query import check_dim
from omendb_core.standing.table import StandingQuery

from ..engine.streams import commands as streams
from ..engine.streams.feeds import FEED_BYTES, Feed
from ..engine.streams.live_query import LiveQuery
from ..engine.streams.matches import MatchQuery
from ..engine.streams.novels import NOVEL_BYTES, NovelQuery
from ..runtime.faults import as_error
from ..wire import messages as wire
from ..wire import reply_bounds as sizes
from ..wire.messages import SubscriptionKind
from .count_streams import leave_count, subscribe_count
from .standing_streams import (
    MADE_AT_ONCE,
    at_once,
    begin_many,
    make_streams,
    replied,
)
from .subscriptions import maps
from .subscriptions.counts import CountSubscription
from .subscriptions.subscription import (
    STATS_BYTES,
    StatsSubscription,
    StreamSubscription,
    Subscription,
)

if TYPE_CHECKING:
    from ..engine.model.collection import Collection
    from .session import Session


def subscribe(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin one subscription, or by SUBSCRIBE several; after a fault there is none of them."""
    last_before = session.last_sub
    try:
        _SUBSCRIBERS[request.kind](session, request, size)
    except Exception:
        for subscription in list(session.subscriptions.values()):
            if subscription.sub > last_before:
                subscription.close()
        raise


def _subscribe_feed(session: Session, request: wire.Subscribe, size: int) -> None:
    collection = _collection_of_epoch(session, request)
    budget = session.context.catalog.budget
    filter_ = kept(request.filter, collection.definition.columns, budget)
    share = Share(budget, "this feed takes")
    share.resize(FEED_BYTES)
    subscription = StreamSubscription(session, "feed", session.next_sub(), collection)
    session.remember(subscription)
    feed = Feed(
        session.context.engine.feeds,
        subscription,
        collection,
        request.encoding == "binary",
        request.include,
        filter_,
        share,
    )
    subscription.stream = feed
    ticket = session.ticket(request, collection, size, then=subscription.replied)
    session.submit_change(streams.Follow(ticket, collection, feed, request.from_seq))


def _collection_of_epoch(session: Session, request: wire.Subscribe) -> Collection:
    collection = session.collection(request.collection or "")
    if request.epoch is not None and request.epoch != collection.epoch:
        raise WrongEpoch("epoch: the collection has another one now", epoch=collection.epoch)
    return collection


def _subscribe_live(session: Session, request: wire.Subscribe, size: int) -> None:
    collection = session.collection(request.collection or "")
    vectors = _query_vectors(request.vectors, collection)
    include, limits = request.include, session.context.limits
    is_binary = request.encoding == "binary"
    usual_bytes = sizes.most_push_bytes(
        collection.definition, include, is_binary, request.k, limits.max_metadata_bytes
    )
    if usual_bytes > limits.max_message_bytes:
        raise TooLarge(f"k: a push may take {usual_bytes} bytes, over max_message_bytes")
    asked = StandingQuery(
        k=request.k,
        filter=kept(request.filter, collection.definition.columns, session.context.catalog.budget),
        min_score=request.min_score,
        wants_metadata=include.metadata,
    )

    def live_query(subscription: StreamSubscription) -> LiveQuery:
        every_us = (request.every_ms or 0) * 1000
        live = session.context.engine.live
        texts = None
        if collection.definition.ids == "str":
            texts = Share(session.context.catalog.budget, "ids that a reader was told take")
        return LiveQuery(
            live, subscription, collection, is_binary, include, usual_bytes, asked, every_us, texts
        )

    def submit(subscriptions: list[StreamSubscription]) -> None:
        _submit_live(session, request, size, collection, vectors, subscriptions)

    count = len(vectors)
    making = make_streams(session, "live", collection, request.k, count, live_query)
    if count < MADE_AT_ONCE:
        submit(at_once(making))
    else:
        begin_many(session, request, size, making, submit)


def _submit_live(
    session: Session,
    request: wire.Subscribe,
    size: int,
    collection: Collection,
    vectors: F32,
    subscriptions: list[StreamSubscription],
) -> None:
    queries = [cast("LiveQuery", subscription.stream) for subscription in subscriptions]
    include = request.include
    rows = len(vectors) * min(request.k, collection.definition.capacity)
    row_bytes = sizes.usual_row_bytes(collection.definition, include, request.binary)
    reply_bytes = sizes.ENVELOPE_BYTES + rows * row_bytes
    then = partial(replied, session, subscriptions)
    ticket = session.ticket(request, collection, size, reply_bytes, then)
    session.submit(streams.Live(ticket, collection, queries, vectors, request.binary))


def _subscribe_match(session: Session, request: wire.Subscribe, size: int) -> None:
    collection = _collection_of_epoch(session, request)
    vectors = _query_vectors(request.vectors, collection)
    budget = session.context.catalog.budget
    filter_ = kept(request.filter, collection.definition.columns, budget)
    asked = StandingQuery(None, filter_, request.min_score)

    def match_query(subscription: StreamSubscription) -> MatchQuery:
        return MatchQuery(
            session.context.engine.matches,
            subscription,
            collection,
            request.encoding == "binary",
            request.include,
            asked,
            Share(budget, "hits that wait take"),
        )

    (subscription,) = at_once(make_streams(session, "match", collection, None, 1, match_query))
    query = cast("MatchQuery", subscription.stream)
    ticket = session.ticket(request, collection, size, then=subscription.replied)
    session.submit(streams.Match(ticket, collection, query, vectors, request.from_seq))


def _subscribe_novel(session: Session, request: wire.Subscribe, size: int) -> None:
    collection = _collection_of_epoch(session, request)
    budget = session.context.catalog.budget
    filter_ = kept(request.filter, collection.definition.columns, budget)
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
        collection,
        request.encoding == "binary",
        request.include,
        request.below,
        filter_,
        request.last,
        Share(budget, "hits that wait take"),
    )
    subscription.attach(query)
    ticket = session.ticket(request, collection, size, then=subscription.replied)
    session.submit(streams.Novel(ticket, collection, query, request.from_seq))


def _query_vectors(vectors: F32 | None, collection: Collection) -> F32:
    """The vectors of a subscription, of the right dimension."""
    if vectors is None:
        raise BadRequest("vector: missing")
    check_dim(vectors, collection.definition)
    return vectors


def _subscribe_stats(session: Session, request: wire.Subscribe, size: int) -> None:
    collection = None if request.collection is None else session.collection(request.collection)
    share = Share(session.context.catalog.budget, "these statistics take")
    share.resize(STATS_BYTES)
    sub = session.next_sub()
    subscription = StatsSubscription(session, sub, collection, request.every_ms, share)
    session.remember(subscription)
    if collection is not None:
        ticket = session.ticket(request, collection, size, then=subscription.replied)
        session.submit_change(streams.Watch(ticket, collection, subscription))
        return
    session.ok(request.id, {"sub": subscription.sub})
    try:
        subscription.replied(True)
    except Exception as error:
        as_error(error, "the start of a subscription")
        subscription.replied(True)


def _subscribe_map(session: Session, request: wire.Subscribe, size: int) -> None:
    collection = session.collection(request.collection or "")
    context = session.context
    sub = session.next_sub()
    share = Share(context.catalog.budget, "this map takes")
    share.resize(maps.bytes_for(collection.definition))
    picture = context.looks.open(collection, request.sample)
    try:
        subscription = maps.MapSubscription(
            session, sub, collection, picture, request.every_ms, share
        )
    except Exception:
        picture.close_if_unread()
        raise
    session.remember(subscription)
    ticket = session.ticket(request, collection, size, then=subscription.replied)
    session.submit_change(streams.Watch(ticket, collection, subscription))


_SUBSCRIBERS: Final[dict[SubscriptionKind, Callable[[Session, wire.Subscribe, int], None]]] = {
    "live": _subscribe_live,
    "match": _subscribe_match,
    "feed": _subscribe_feed,
    "novel": _subscribe_novel,
    "count": subscribe_count,
    "stats": _subscribe_stats,
    "map": _subscribe_map,
}


def move(session: Session, request: wire.Move, size: int) -> None:
    """Point a live query at another vector."""
    subscription = _subscription(session, request.sub)
    query = subscription.stream if isinstance(subscription, StreamSubscription) else None
    if not isinstance(query, LiveQuery):
        raise BadRequest(f"sub: {request.sub} is of kind {subscription.kind!r}; only 'live' moves")
    collection = query.collection
    vectors = _query_vectors(request.vectors, collection)
    row_bytes = sizes.usual_row_bytes(collection.definition, query.include, request.binary)
    reply_bytes = sizes.ENVELOPE_BYTES + (query.query.k or 0) * row_bytes
    ticket = session.ticket(request, collection, size, reply_bytes)
    session.submit(streams.Move(ticket, collection, query, vectors, request.binary))


def unsubscribe(session: Session, request: wire.Unsubscribe, size: int) -> None:
    """End a subscription; nothing comes for it after the reply."""
    subscription = _subscription(session, request.sub)
    collection = subscription.collection
    if collection is None:
        subscription.close()
        session.ok(request.id, {})
        return
    if isinstance(subscription, CountSubscription):
        leave_count(session, request, subscription, size)
        subscription.is_leaving = True
        return
    ticket = session.ticket(request, collection, size, then=lambda _: subscription.close())
    stream = subscription.stream if isinstance(subscription, StreamSubscription) else None
    if stream is None or isinstance(stream, Feed):
        session.submit_change(streams.Unfollow(ticket, collection, stream))
    else:
        session.submit(streams.Leave(ticket, collection, stream))
    subscription.is_leaving = True


def _subscription(session: Session, sub: int) -> Subscription:
    subscription = session.subscriptions.get(sub)
    if subscription is None or subscription.is_leaving:
        raise NotFound(f"sub: there is no {sub}")
    return subscription
