"""What ``subscribe`` of kind ``live``, SUBSCRIBE and ``move`` mean: from a typed request to work.

Runs on the loop's thread, called by ``subscribing.py``. What examples come to is for the engine to
say, which has their rows; what ids and filters take of the memory is taken here.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import numpy as np
from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import TooLarge
from omendb_core.model.types import F32, Definition, Ids
from omendb_core.ranking.shape import Shape
from omendb_core.search.examples import ids_of
from omendb_core.search.query import Examples
from omendb_core.standing.table import StandingQuery

from ..engine.model.shard import Shard
from ..engine.streams import commands as streams
from ..engine.streams.live_query import ALL_IN, LEFT_OUT_TAKES, LeftOut, LiveQuery
from ..wire import messages as wire
from ..wire import reply_bounds
from . import shaping
from .reach import Reach, reach
from .session import Session
from .standing_streams import (
    MADE_AT_ONCE,
    at_once,
    begin_many,
    make_streams,
    query_vectors,
    replied,
)
from .subscriptions.subscription import StreamSubscription


def subscribe_live(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin a live query, or by SUBSCRIBE several."""
    reached = reach(session, request.op, request.collection or "")
    collection = reached.collection
    definition, limits = collection.definition, session.context.limits
    target = _target(request, reached)
    shape = shaping.shape(request, definition, request.k, limits.max_k, live=True)
    left_out = _left_out(request, target, definition)
    usual_bytes = push_bytes(session, request, definition, shape)
    budget = session.account.memory
    asked = StandingQuery(
        k=request.k,
        filter=reached.kept(request.filter, budget),
        min_score=request.min_score,
        wants_metadata=request.include.metadata,
        exclude=left_out.ids,
        shape=shape,
    )

    def equip(subscription: StreamSubscription) -> None:
        subscription.stream = _live_query(
            session, request, subscription, asked, left_out, usual_bytes
        )

    def submit(subscriptions: list[StreamSubscription]) -> None:
        _submit_live(session, request, size, collection.shard, target, subscriptions)

    count = 1 if isinstance(target, Examples) else len(target)
    making = make_streams(session, "live", collection, asked, count, equip, StreamSubscription)
    if count < MADE_AT_ONCE:
        submit(at_once(making))
    else:
        begin_many(session, request, size, making, submit)


def _live_query(
    session: Session,
    request: wire.Subscribe,
    subscription: StreamSubscription,
    asked: StandingQuery,
    left_out: LeftOut,
    usual_bytes: int,
) -> LiveQuery:
    """The engine's side of one subscription. Quota."""
    assert subscription.collection is not None, "it is of one"
    shard = subscription.collection.shard
    budget = session.account.memory
    has_texts = shard.definition.ids == "str"
    return LiveQuery(
        session.context.engine.live,
        subscription,
        shard,
        request.encoding == "binary",
        request.include,
        usual_bytes,
        asked,
        (request.every_ms or 0) * 1000,
        Share(budget, "ids that a reader was told take") if has_texts else None,
        left_out,
        paid(budget, left_out),
    )


def push_bytes(
    session: Session, request: wire.Subscribe, definition: Definition, shape: Shape
) -> int:
    """How large a push may be. TooLarge if no message can hold it."""
    limits = session.context.limits
    found = reply_bounds.most_push_bytes(
        definition,
        request.include,
        request.encoding == "binary",
        request.k,
        limits.max_metadata_bytes,
        shaping.keys(shape),
    )
    if found > limits.max_message_bytes:
        raise TooLarge(f"k: a push may take {found} bytes, over max_message_bytes")
    return found


def paid(budget: Budget, left_out: LeftOut) -> Share | None:
    """What these ids take; None for none."""
    if left_out.ids is None:
        return None
    share = Share(budget, LEFT_OUT_TAKES)
    share.resize(left_out.nbytes)
    return share


def _target(request: wire.Subscribe | wire.Move, reached: Reach) -> F32 | Examples:
    """What a live query is to be near to."""
    collection = reached.collection
    examples = shaping.examples(request, collection.definition, reached.visible)
    return query_vectors(request.vectors, collection) if examples is None else examples


def _left_out(request: wire.Subscribe, target: streams.Target, definition: Definition) -> LeftOut:
    found = LeftOut(shaping.excluded(request, definition), _example_ids(target, definition))
    return ALL_IN if found.ids is None else found


def _example_ids(target: streams.Target | None, definition: Definition) -> Ids | None:
    """The ids of the rows that are examples; None for a vector."""
    if not isinstance(target, Examples):
        return None
    ids = ids_of(target)
    return [str(one) for one in ids] if definition.ids == "str" else np.array(ids, np.uint64)


def _submit_live(
    session: Session,
    request: wire.Subscribe,
    size: int,
    shard: Shard,
    target: streams.Target,
    subscriptions: list[StreamSubscription],
) -> None:
    queries = [cast("LiveQuery", subscription.stream) for subscription in subscriptions]
    rows = len(queries) * min(request.k, shard.definition.capacity)
    keys = shaping.keys(queries[0].query.shape)
    row_bytes = reply_bounds.usual_row_bytes(
        shard.definition, request.include, request.binary, keys
    )
    reply_bytes = reply_bounds.ENVELOPE_BYTES + rows * row_bytes
    then = partial(replied, session, subscriptions)
    ticket = session.ticket(request, shard, size, reply_bytes, then)
    session.submit(streams.Live(ticket, shard, queries, target, request.binary))


def move_live(
    session: Session,
    request: wire.Move,
    subscription: StreamSubscription,
    query: LiveQuery,
    size: int,
) -> None:
    """Have a live query, its subscription's, ask something else."""
    assert subscription.collection is not None
    shard = query.shard
    changes = _changes(session, request, reach(session, request.op, subscription.collection))
    keys = shaping.keys(query.query.shape)
    row_bytes = reply_bounds.usual_row_bytes(shard.definition, query.include, request.binary, keys)
    reply_bytes = reply_bounds.ENVELOPE_BYTES + (query.query.k or 0) * row_bytes
    then = partial(subscription.moved, request.id)
    ticket = session.ticket(request, shard, size, reply_bytes, then)
    work = streams.Move(ticket, shard, query, changes, request.binary)
    subscription.moves(request.id)
    try:
        session.submit(work)
    except BaseException:
        subscription.moved(request.id, False)
        raise


def _changes(session: Session, request: wire.Move, reached: Reach) -> streams.Changes:
    definition = reached.collection.definition
    asked: dict[str, Any] = {}
    is_elsewhere = request.vectors is not None or request.positive is not None
    target = _target(request, reached) if is_elsewhere else None
    if request.filter is not None:
        budget = session.account.memory
        asked["filter"] = reached.kept(request.filter, budget)
    if not request.keeps_min_score:
        asked["min_score"] = request.min_score
    return streams.Changes(
        target, _example_ids(target, definition), shaping.excluded(request, definition), asked
    )
