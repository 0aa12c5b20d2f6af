"""Subscriptions with standing queries, made and begun: thousands of one request in pieces.

Lives on the loop's thread. While they are made their connection is not read, and all others are
served; the engine hears of them when all are there.

Invariants: all of a request's subscriptions come to be, or none. Memory and places under the
limits are taken before the first is made, and given back for those that are not; a connection that
ends meanwhile has no more made.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Final, TypeAlias, TypeVar

from omendb_core.model.errors import BadRequest
from omendb_core.model.types import F32, IdKind
from omendb_core.search.query import check_dim
from omendb_core.standing.table import StandingQuery

from ..catalog.entry import Entry
from ..engine.streams.live_query import TEXT_BYTES, told_bytes
from ..runtime.faults import as_error
from ..wire.messages import Subscribe, SubscriptionKind
from .long_work import Steps
from .session import Session
from .subscriptions.subscription import StreamSubscription, Subscription

#: What a subscription takes besides its standing query, by how a server's resident memory grows
#: with 16,000 to 100,000 of them: a live one 640 bytes, where tables that name them (dicts, sets,
#: lists) are full, to 800, where they were just doubled, and the rows that its reader was told
#: (long ids take more, which is counted as they are told); a match one 920 to 1,060, and 110 more
#: where one hit waits.
_LIVE_READER_BYTES: Final = 720
_MATCH_READER_BYTES: Final = 1056


def reader_bytes(query: StandingQuery, ids: IdKind) -> int:
    """Bytes that the reader of one standing query takes; a match query's rows not counted."""
    if query.k is None:
        return _MATCH_READER_BYTES
    told = told_bytes(query.k, is_ranked=query.shape.order is not None)
    return _LIVE_READER_BYTES + told + TEXT_BYTES * (ids == "str") * query.k


def lists_bytes(query: StandingQuery, collection: Entry) -> int:
    """Bytes that one standing query takes in all shards of a collection."""
    return sum(one.window.standing.bytes_for(query.k, query.shape) for one in collection.shards)


def query_vectors(vectors: F32 | None, collection: Entry) -> F32:
    """The vectors of a subscription, of the right dimension."""
    if vectors is None:
        raise BadRequest("vector: missing")
    check_dim(vectors, collection.definition)
    return vectors


def refuse_from_seqs(request: Subscribe) -> None:
    """BadRequest for where each shard is to begin, of a collection that is one."""
    if request.from_seqs is not None:
        raise BadRequest("from_seqs: the collection has one shard, and takes from_seq")


#: Subscriptions made, begun or ended without a break: making one takes up to 30 µs on busy cores.
MADE_AT_ONCE: Final = 32
Made = TypeVar("Made", bound=StreamSubscription)
Making: TypeAlias = Generator[None, None, list[Made]]


def make_streams(
    session: Session,
    kind: SubscriptionKind,
    collection: Entry,
    query: StandingQuery,
    count: int,
    equip: Callable[[Made], None],
    made_of: type[Made],
) -> Making[Made]:
    """``count`` subscriptions with memory for the standing ``query`` of each, which ``equip``
    gives its streams. Quota: none was made.

    Fewer if the connection ends meanwhile.
    """
    account, metrics = session.account, session.context.metrics

    def expect(change: int) -> None:
        account.subscriptions_to_come += change
        metrics.subscriptions_to_come += change

    each_bytes = lists_bytes(query, collection)
    readers = 1 if query.k is not None else len(collection.shards)
    each_bytes += readers * reader_bytes(query, collection.definition.ids)
    subs = session.next_subs(count)
    account.memory.take(each_bytes * count, "these standing queries take")
    expect(count)
    made: list[Made] = []
    try:
        for sub in subs:
            if made and len(made) % MADE_AT_ONCE == 0:
                yield
                if not session.lane.is_open:
                    break
            made.append(made_of(session, kind, sub, collection, each_bytes))
            expect(-1)
            session.remember(made[-1])
            equip(made[-1])
            made[-1].hold(account.memory, each_bytes)
    finally:
        expect(len(made) - count)
        account.memory.give_back(each_bytes * (count - len(made)))
    return made


def at_once(making: Making[Made]) -> list[Made]:
    """What is made, without a break."""
    while True:
        try:
            next(making)
        except StopIteration as end:
            made: list[Made] = end.value
            return made


def begin_many(
    session: Session,
    request: Subscribe,
    size: int,
    making: Making[Made],
    submit: Callable[[list[Made]], None],
) -> None:
    """Make the subscriptions of one request and ``submit`` them; after a fault there are none."""
    last_before = session.last_sub
    is_done = False

    def there() -> list[Subscription]:
        return [one for one in session.subscriptions.values() if one.sub > last_before]

    def steps() -> Steps:
        nonlocal is_done
        try:
            made = yield from making
            if session.lane.is_open:
                submit(made)
        except Exception as error:
            yield from in_pieces(there(), lambda one: one.close())
            session.refuse(request.id, b"", error, request.op, request.collection)
        is_done = True

    def failed(error: Exception) -> None:
        nonlocal is_done
        if not is_done:
            for one in there():
                one.close()
            session.refuse(request.id, b"", error, request.op, request.collection)
            is_done = True

    session.holds.do(steps(), size, failed)


def replied(session: Session, subscriptions: Sequence[StreamSubscription], is_ok: bool) -> None:
    """The request was answered: its subscriptions start, or never were."""

    def begin(fault: Exception | None = None) -> None:
        if fault is not None:
            as_error(fault, "the start of subscriptions")
        for one in subscriptions:
            one.replied(is_ok)

    if len(subscriptions) < MADE_AT_ONCE:
        begin()
    else:
        session.holds.do(in_pieces(subscriptions, lambda one: one.replied(is_ok)), 0, begin)


def in_pieces(subscriptions: Sequence[Subscription], call: Callable[[Subscription], None]) -> Steps:
    """``call`` for each, and once more where it faults."""
    for place, subscription in enumerate(subscriptions):
        try:
            call(subscription)
        except Exception as error:
            as_error(error, "the start or end of a subscription")
            call(subscription)
        if place % MADE_AT_ONCE == MADE_AT_ONCE - 1:
            yield
