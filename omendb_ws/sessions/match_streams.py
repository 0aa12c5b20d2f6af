"""What ``subscribe`` of kind ``match``, and SUBSCRIBE of it, mean: from a typed request to work.

Runs on the loop's thread, called by ``subscribing.py``.
"""

from __future__ import annotations

from functools import partial
from typing import cast

from omendb_core.model.budget import Share
from omendb_core.standing.table import StandingQuery

from ..engine.model.shard import Shard
from ..engine.streams import commands as streams
from ..engine.streams.matches import MatchQuery
from ..wire import messages as wire
from ..wire.reply_bounds import ENVELOPE_BYTES
from .reach import reach
from .session import Session
from .standing_streams import (
    MADE_AT_ONCE,
    at_once,
    begin_many,
    make_streams,
    query_vectors,
    refuse_from_seqs,
    replied,
)
from .subscriptions.subscription import StreamSubscription

#: What a ``sub`` takes in the reply: its number in JSON, and a count.
_SUB_BYTES = 15


def subscribe_match(session: Session, request: wire.Subscribe, size: int) -> None:
    """Begin a match query, or by SUBSCRIBE several."""
    reached = reach(session, request.op, request.collection or "")
    collection = reached.collection
    refuse_from_seqs(request)
    vectors = query_vectors(request.vectors, collection)
    budget = session.account.memory
    asked = StandingQuery(None, reached.kept(request.filter, budget), request.min_score)

    def equip(subscription: StreamSubscription) -> None:
        subscription.stream = MatchQuery(
            session.context.engine.matches,
            subscription,
            collection.shard,
            request.encoding == "binary",
            request.include,
            asked,
            Share(budget, "hits that wait take"),
        )

    def submit(subscriptions: list[StreamSubscription]) -> None:
        _submit(session, request, size, collection.shard, subscriptions)

    making = make_streams(
        session, "match", collection, asked, len(vectors), equip, StreamSubscription
    )
    if len(vectors) < MADE_AT_ONCE:
        submit(at_once(making))
    else:
        begin_many(session, request, size, making, submit)


def _submit(
    session: Session,
    request: wire.Subscribe,
    size: int,
    shard: Shard,
    subscriptions: list[StreamSubscription],
) -> None:
    assert request.vectors is not None
    queries = [cast("MatchQuery", subscription.stream) for subscription in subscriptions]
    reply_bytes = ENVELOPE_BYTES + _SUB_BYTES * len(queries)
    then = partial(replied, session, subscriptions)
    ticket = session.ticket(request, shard, size, reply_bytes, then)
    vectors, from_seq = request.vectors, request.from_seq
    session.submit(streams.Match(ticket, shard, queries, vectors, from_seq, request.binary))
