"""Feeds and match queries of collections of several shards: a stream of each shard.

Runs on the loop's thread. A push is of one shard, and says which; seqs are those outside. Resuming
is by a list, a seq for each shard (PROTOCOL section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from omendb_core.model.budget import Share
from omendb_core.model.errors import BadRequest
from omendb_core.standing.table import StandingQuery

from ...catalog.entry import Entry
from ...engine.model import replies
from ...engine.model.shard import Shard
from ...engine.model.ticket import Reply, Ticket
from ...engine.streams import commands as streams
from ...engine.streams.feeds import FEED_BYTES, Feed
from ...engine.streams.matches import MatchQuery
from ...sharding.numbering import outer_to_seq, own_from_seq
from ...wire import messages as wire
from ...wire.binary_replies import encode_begun
from ...wire.encoded import binary
from ...wire.reply_bounds import ENVELOPE_BYTES
from ..reach import reach
from ..session import Session
from ..standing_streams import (
    MADE_AT_ONCE,
    at_once,
    begin_many,
    make_streams,
    query_vectors,
    replied,
)
from ..subscriptions.of_shards import ShardedSubscription
from .collections import whole_of
from .gathering import Asks, Gather

#: What a ``sub`` takes in the reply: its number in JSON, and a count.
_SUB_BYTES = 15


def subscribe_feed(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin a feed."""
    reached = reach(session, request.op, request.collection or "")
    collection = reached.collection
    begins = _begins_at(request, collection)
    budget = session.account.memory
    filter_ = reached.kept(request.filter, budget)
    subscription = ShardedSubscription(session, "feed", session.next_sub(), collection)
    session.remember(subscription)
    for shard in collection.shards:
        share = Share(budget, "this feed takes")
        share.resize(FEED_BYTES)
        feed = Feed(
            session.context.engine.feeds,
            subscription,
            shard,
            request.encoding == "binary",
            request.include,
            filter_,
            share,
        )
        subscription.streams = (*subscription.streams, feed)

    def asks(place: int, shard: Shard, part: Ticket) -> streams.Follow:
        feed: Any = subscription.streams[place]
        return streams.Follow(part, shard, feed, begins[place])

    ticket = session.ticket(request, whole_of(collection), size, then=subscription.replied)
    _begin(session, ticket, collection, [subscription.sub], asks, changes=True)


def subscribe_match(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin a match query, or by SUBSCRIBE several."""
    reached = reach(session, request.op, request.collection or "")
    collection = reached.collection
    begins = _begins_at(request, collection)
    vectors = query_vectors(request.vectors, collection)
    filter_ = reached.kept(request.filter, session.account.memory)
    asked = StandingQuery(None, filter_, request.min_score)

    def submit(subscriptions: list[ShardedSubscription]) -> None:
        def asks(place: int, shard: Shard, part: Ticket) -> streams.Match:
            own: list[Any] = [one.streams[place] for one in subscriptions]
            return streams.Match(part, shard, own, vectors, begins[place], False)

        subs = [one.sub for one in subscriptions]
        then = partial(replied, session, subscriptions)
        reply_bytes = ENVELOPE_BYTES + _SUB_BYTES * len(subs)
        ticket = session.ticket(request, whole_of(collection), size, reply_bytes, then)
        _begin(session, ticket, collection, subs, asks, is_binary=request.binary)

    make = partial(_match_queries, session, request, asked)
    making = make_streams(
        session, "match", collection, asked, len(vectors), make, ShardedSubscription
    )
    if len(vectors) < MADE_AT_ONCE:
        submit(at_once(making))
    else:
        begin_many(session, request, size, making, submit)


def _match_queries(
    session: Session,
    request: wire.Subscribe,
    asked: StandingQuery,
    subscription: ShardedSubscription,
) -> None:
    """The engine's side of one subscription. Quota."""
    assert subscription.collection is not None, "it is of one"
    subscription.streams = [
        MatchQuery(
            session.context.engine.matches,
            subscription,
            shard,
            request.encoding == "binary",
            request.include,
            asked,
            Share(session.account.memory, "hits that wait take"),
        )
        for shard in subscription.collection.shards
    ]


def _begins_at(request: wire.Subscribe, collection: Entry) -> Sequence[int | None]:
    """Where each shard's delivery begins, by its own seqs. BadRequest."""
    count = len(collection.shards)
    if request.from_seq is not None:
        raise BadRequest("from_seqs: a collection of several shards takes a list, one for each")
    if request.from_seqs is None:
        return [None] * count
    if len(request.from_seqs) != count:
        raise BadRequest(f"from_seqs: the collection has {count} shards")
    return [own_from_seq(one, shard, count) for shard, one in enumerate(request.from_seqs)]


def _begin(
    session: Session,
    ticket: Ticket,
    collection: Entry,
    subs: list[int],
    asks: Asks,
    *,
    changes: bool = False,
    is_binary: bool = False,
) -> None:
    """Have every shard begin its part, and then the whole answered."""
    count = len(collection.shards)

    def finish(said: dict[int, Any]) -> Reply:
        versions = [one["version"] for one in said.values()]
        to_seqs = [outer_to_seq(one["to_seq"], shard, count) for shard, one in said.items()]
        if is_binary:
            frame = encode_begun(ticket.id, sum(versions), subs, to_seqs, versions=versions)
            return replies.fitting(ticket, binary(frame))
        body = {"sub": subs[0], "epoch": collection.epoch, "version": sum(versions)}
        return replies.ok(ticket, {**body, "versions": versions, "to_seqs": to_seqs})

    shards = list(enumerate(collection.shards))
    Gather(session, ticket).begin(shards, asks, finish, changes=changes)


def unsubscribe(session: Session, request: wire.Unsubscribe, size: int) -> None:
    """End one; nothing comes for it after the reply."""
    subscription = session.subscriptions[request.sub]
    assert isinstance(subscription, ShardedSubscription)
    assert subscription.collection is not None, "it is of one"
    of = list(subscription.streams)
    whole = whole_of(subscription.collection)
    ticket = session.ticket(request, whole, size, then=lambda _: subscription.close())
    is_feed = subscription.kind == "feed"

    def asks(place: int, shard: Shard, part: Ticket) -> streams.Unfollow | streams.Leave:
        stream = of[place]
        if isinstance(stream, Feed):
            return streams.Unfollow(part, shard, stream)
        return streams.Leave(part, shard, stream)

    shards = list(enumerate(whole.parts))
    gather = Gather(session, ticket)
    gather.begin(shards, asks, lambda _: replies.ok(ticket, {}), changes=is_feed)
    subscription.is_leaving = True
