"""Live queries over the shards of a collection: they begin, and move.

Runs on the loop's thread. Each shard begins a query of its own, a *part*, by a part of the ticket;
when all have begun the engine makes the reply, which is of one moment
(``engine/streams/gathered.py``). A move begins other parts, which take the place of those that
stood: so one that is refused by any shard has changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import BadRequest, NotFound, Unsupported
from omendb_core.ranking.shape import Shape
from omendb_core.standing.table import StandingQuery

from ...catalog.entry import Entry
from ...engine.model.shard import Shard
from ...engine.model.ticket import Ticket
from ...engine.streams import commands as streams
from ...engine.streams.commands import Gone
from ...engine.streams.gathered_query import GatheredQuery, PartQuery
from ...engine.streams.live_query import ALL_IN, LeftOut
from ...sharding.selecting import of_each
from ...wire import messages as wire
from ...wire import reply_bounds
from .. import shaping
from ..holds import Hold
from ..live_streams import paid, push_bytes
from ..reach import Reach, reach
from ..session import Session
from ..standing_streams import (
    MADE_AT_ONCE,
    at_once,
    begin_many,
    lists_bytes,
    make_streams,
    query_vectors,
    replied,
)
from ..subscriptions.subscription import StreamSubscription
from .collections import whole_of
from .gathering import Gather


def subscribe_live(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin a live query, or by SUBSCRIBE several."""
    reached = reach(session, request.op, request.collection or "")
    collection = reached.collection
    _refuse_examples(request)
    vectors = query_vectors(request.vectors, collection)
    limits = session.context.limits
    shape = shaping.shape(request, collection.definition, request.k, limits.max_k, live=True)
    usual_bytes = push_bytes(session, request, collection.definition, shape)
    asked = StandingQuery(
        k=request.k,
        filter=reached.kept(request.filter, session.account.memory),
        min_score=request.min_score,
        wants_metadata=request.include.metadata or shape.group is not None,
        shape=of_each(shape),
    )
    left_out = _left_out(request, collection)
    make = partial(_gathered, session, request, asked, shape, left_out, usual_bytes)

    def submit(subscriptions: list[StreamSubscription]) -> None:
        _submit(session, request, size, collection, subscriptions)

    making = make_streams(
        session, "live", collection, asked, len(vectors), make, StreamSubscription
    )
    if len(vectors) < MADE_AT_ONCE:
        submit(at_once(making))
    else:
        begin_many(session, request, size, making, submit)


def _refuse_examples(request: wire.Subscribe | wire.Move) -> None:
    if request.positive is not None or request.negative is not None:
        raise Unsupported(
            "positive: not supported of a subscription to a collection of several shards yet"
        )


def _left_out(request: wire.Subscribe | wire.Move, collection: Entry) -> list[LeftOut | None]:
    """What each shard is to leave out; None: the request does not say it."""
    ids = shaping.excluded(request, collection.definition)
    if ids is None:
        return [None] * len(collection.shards)
    routed = [LeftOut(one.ids) for one in collection.layout.route(ids)]
    return [ALL_IN if one.ids is None else one for one in routed]


def _gathered(
    session: Session,
    request: wire.Subscribe,
    asked: StandingQuery,
    shape: Shape,
    left_out: Sequence[LeftOut | None],
    usual_bytes: int,
    subscription: StreamSubscription,
) -> None:
    """Make the engine's side of one subscription. Quota."""
    collection = subscription.collection
    assert collection is not None
    budget = session.account.memory
    has_texts = collection.definition.ids == "str"
    found = GatheredQuery(
        session.context.engine.gathered,
        subscription,
        whole_of(collection),
        collection.layout,
        request.encoding == "binary",
        request.include,
        usual_bytes,
        request.k,
        shape,
        (request.every_ms or 0) * 1000,
        Share(budget, "ids that a reader was told take") if has_texts else None,
        Share(budget, "deeper lists of live queries take") if shape.selects else None,
    )
    subscription.stream = found  # first: it has what parts take, if one faults
    for shard, out in zip(collection.shards, left_out, strict=True):
        part = _part(session, found, shard, asked, out or ALL_IN, budget)
        found.parts = (*found.parts, part)


def _part(
    session: Session,
    whole: GatheredQuery,
    shard: Shard,
    asked: StandingQuery,
    left_out: LeftOut,
    budget: Budget,
) -> PartQuery:
    part = PartQuery(
        session.context.engine.live,
        whole.reader,
        shard,
        whole.is_binary,
        whole.include,
        whole.usual_bytes,
        replace(asked, exclude=left_out.ids),
        0,
        None,
        left_out,
        paid(budget, left_out),
    )
    part.whole = whole
    return part


def _submit(
    session: Session,
    request: wire.Subscribe,
    size: int,
    collection: Entry,
    subscriptions: list[StreamSubscription],
) -> None:
    queries = [cast("GatheredQuery", one.stream) for one in subscriptions]
    reply_bytes = _reply_bytes(queries, collection, request.binary)
    then = partial(replied, session, subscriptions)
    ticket = session.ticket(request, whole_of(collection), size, reply_bytes, then)
    assert request.vectors is not None, "they were looked at"
    parts = [query.parts for query in queries]
    targets: list[streams.Target] = [request.vectors] * len(collection.shards)
    _begin(session, ticket, queries, parts, targets, moves=False, is_binary=request.binary)


def _reply_bytes(queries: Sequence[GatheredQuery], collection: Entry, is_binary: bool) -> int:
    definition, first = collection.definition, queries[0]
    keys = shaping.keys(first.shape)
    row_bytes = reply_bounds.usual_row_bytes(definition, first.include, is_binary, keys)
    rows = len(queries) * min(first.k, definition.capacity)
    return reply_bounds.ENVELOPE_BYTES + rows * row_bytes


def _begin(
    session: Session,
    ticket: Ticket,
    queries: Sequence[GatheredQuery],
    parts: Sequence[Sequence[PartQuery]],
    targets: Sequence[streams.Target],
    *,
    moves: bool,
    is_binary: bool,
) -> None:
    """Have every shard begin its ``parts``, and then the whole answered."""
    whole = queries[0].shard

    def asks(place: int, shard: Shard, part: Ticket) -> streams.Live:
        own: list[Any] = [one[place] for one in parts]
        return streams.Live(part, shard, own, targets[place], False)

    def finish(_: object) -> None:
        session.context.inbox.submit(
            streams.Together(ticket, whole, queries, parts, moves, is_binary)
        )

    shards = list(enumerate(whole.parts))
    Gather(session, ticket).begin(shards, asks, finish, changes=False)


def move_live(session: Session, request: wire.Move, size: int) -> None:
    """Have a live query ask something else."""
    subscription = session.subscriptions.get(request.sub)
    query = subscription.stream if isinstance(subscription, StreamSubscription) else None
    if subscription is None or subscription.is_leaving:
        raise NotFound(f"sub: there is no {request.sub}")
    assert isinstance(subscription, StreamSubscription)
    if not isinstance(query, GatheredQuery):
        raise BadRequest(f"sub: {request.sub} is of kind {subscription.kind!r}; only 'live' moves")
    if query.is_beginning:
        raise NotFound(f"sub: there is no {request.sub} yet")
    assert subscription.collection is not None, "it is of one"
    _refuse_examples(request)
    reached = reach(session, request.op, subscription.collection)
    _Move(session, request, subscription, query, reached).begin(size)


class _Move:
    """One move. Its session hears nothing until it is answered: the next is of what it leads to."""

    def __init__(
        self,
        session: Session,
        request: wire.Move,
        subscription: StreamSubscription,
        query: GatheredQuery,
        reached: Reach,
    ) -> None:
        self._session, self._request = session, request
        self._subscription, self._query, self._reached = subscription, query, reached
        self._collection = reached.collection
        self._reserved_bytes = 0
        self._hold: Hold | None = None

    def begin(self, size: int) -> None:
        """Have the other parts begin."""
        session, query, request = self._session, self._query, self._request
        reply_bytes = _reply_bytes([query], self._collection, request.binary)
        ticket = session.ticket(request, query.shard, size, reply_bytes, self._answered)
        self._subscription.moves(request.id)
        try:
            self._make_parts()
            targets: list[streams.Target] = [
                streams.SameAs(part) if request.vectors is None else request.vectors
                for part in query.parts
            ]
            parts = [query.coming]
            _begin(session, ticket, [query], parts, targets, moves=True, is_binary=request.binary)
        except BaseException:
            self._answered(False)
            raise
        self._hold = session.holds.begin(size)

    def _make_parts(self) -> None:
        session, request, query = self._session, self._request, self._query
        if request.vectors is not None:
            query_vectors(request.vectors, self._collection)
        budget = session.account.memory
        asked = query.parts[0].query
        needed_bytes = lists_bytes(asked, self._collection)
        budget.take(needed_bytes, "the lists that a move makes take")
        self._reserved_bytes = needed_bytes
        fields: dict[str, Any] = {}
        if request.filter is not None:
            fields["filter"] = self._reached.kept(request.filter, budget)
        if not request.keeps_min_score:
            fields["min_score"] = request.min_score
        left_out = _left_out(request, self._collection)
        for part, out in zip(query.parts, left_out, strict=True):
            own = part.left_out if out is None else out
            now = replace(part.query, **fields)
            made = _part(session, query, part.shard, now, own, budget)
            query.coming = (*query.coming, made)

    def _answered(self, is_ok: bool) -> None:
        query, session = self._query, self._session
        if not is_ok:
            for part in query.coming:
                session.context.engine.submit(Gone(part))
            query.coming = ()
        session.account.memory.give_back(self._reserved_bytes)
        self._reserved_bytes = 0
        self._subscription.moved(self._request.id, is_ok)
        if self._hold is not None:
            self._hold.end()
