"""``search`` of a collection of several shards.

Plain, or by an order alone, it is one question to each shard (``sharding/merging.py``). Where the
shape selects, shards are asked deeper until that is exact (``sharding/selecting.py``), which is
work for the loop, and done in pieces; where examples are rows, these come first (``likeness.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from omendb_core.model.errors import Unsupported
from omendb_core.model.types import Ids
from omendb_core.search.query import Query

from ...catalog.entry import Entry
from ...engine.model import replies
from ...engine.model.shard import Shard
from ...engine.model.ticket import Reply, Ticket
from ...engine.reads import commands as reads
from ...runtime.faults import as_error
from ...sharding.merging import merged
from ...sharding.selecting import DEEPER, Selecting, ahead, selected
from ...wire import messages as wire
from ...wire.messages import Results
from ...wire.opcodes import MAX_U32
from ...wire.searches import PlainSearch
from ..given import query_of, results_bytes
from ..long_work import Steps
from ..reach import reach
from ..session import Session
from .collections import whole_of
from .gathering import Gather
from .likeness import Likeness

#: All rows of an answer.
_ALL: Final = 1 << 40


def search(session: Session, request: wire.Search | PlainSearch, size: int) -> None:
    """``search``: what each shard says, put together."""
    asked = request.whole() if isinstance(request, PlainSearch) else request
    reached = reach(session, asked.op, asked.collection)
    collection = reached.collection
    if asked.last is not None:
        raise Unsupported("last: not supported where a collection has several shards yet")
    query = query_of(session, asked, reached)
    if query.shape.order is not None and query.at is None:
        query = replace(query, at=session.context.clock_us() / 1e6)
    reply_bytes = results_bytes(session, asked, query, collection)
    ticket = session.ticket(asked, whole_of(collection), size, reply_bytes)
    searching = _Searching(session, asked, collection, ticket)
    if query.like is None and query.examples is None:
        searching.run(query)
        return
    searching.likeness = Likeness(searching.gather, collection, query, searching.run)
    searching.likeness.begin()


class _Searching:
    """One search."""

    def __init__(
        self, session: Session, request: wire.Search, collection: Entry, ticket: Ticket
    ) -> None:
        self._session, self._request = session, request
        self._collection, self._ticket = collection, ticket
        self.gather = Gather(session, ticket)
        self.likeness: Likeness | None = None
        self._selecting: Selecting | None = None
        self._depth = 0

    def run(self, query: Query) -> None:
        """Search by vectors; once more for other ones."""
        self._query, self._selecting = query, None
        self._own = self._exclusions(query)
        asked = query
        if query.shape.selects:
            shards, definition = len(self._collection.shards), self._collection.definition
            self._selecting = Selecting(query, definition, shards)
            self._depth = self._selecting.first_depth()
            asked = self._selecting.asked(self._depth)
        self._ask(asked)

    def _exclusions(self, query: Query) -> list[Ids | None]:
        """What each shard is to leave out."""
        if query.exclude is None:
            return [None] * len(self._collection.shards)
        return [one.ids for one in self._collection.layout.route(query.exclude)]

    def _ask(self, query: Query) -> None:
        def asks(place: int, shard: Shard, part: Ticket) -> reads.Search:
            own = replace(query, exclude=self._own[place])
            return reads.Search(part, shard, own, is_single=False, is_binary=True)

        shards = list(enumerate(self._collection.shards))
        self.gather.ask(shards, asks, self._said, changes=False)

    def _said(self, said: dict[int, Results]) -> Reply | None:
        answers, layout = list(said.values()), self._collection.layout
        order = self._query.shape.order
        if self._selecting is None:
            return self._found(merged(answers, layout, self._query.k, order))
        whole = merged(answers, layout, _ALL, order)
        steps = self._select(self._selecting, answers, whole)
        self._session.context.long_requests.begin(steps, self._failed)
        return None

    def _select(self, selecting: Selecting, answers: list[Results], whole: Results) -> Steps:
        """The reply, or the shards are asked deeper."""
        session = self._session
        known = ahead(answers, whole, self._depth, selecting.shards)
        queries = range(len(whole.counts))
        is_all = [all(int(one.counts[n]) < self._depth for one in answers) for n in queries]
        scan = self._collection.shards[0].window.state.scan
        memory = session.account.memory
        found = yield from selected(selecting, whole, known, is_all, scan, memory)
        if not session.lane.is_open:
            return
        if found is not None:
            reply = self._found(found)
            if reply is not None:
                session.answered(reply)
            return
        before = self._depth
        most = self._collection.shards[0].definition.capacity + 1
        self._depth = min(DEEPER * before, most)
        if not selecting.may_ask(self._depth):
            raise Unsupported(
                f"{selecting.field}: it reads deeper than {before} rows of each shard, which"
                " is not supported where a collection has several shards yet"
            )
        self._ask(selecting.asked(self._depth))

    def _found(self, found: Results) -> Reply | None:
        took_us = self._session.context.clock_us() - self._ticket.arrival_us
        found = replace(found, took_us=min(max(took_us, 0), MAX_U32))
        reply = replies.results(self._ticket, found, self._request.single, self._request.binary)
        if self.likeness is None or reply.error is not None:
            return reply
        assert found.versions is not None, "of several shards"
        return self.likeness.settle(found.versions, reply)

    def _failed(self, error: Exception) -> None:
        told = as_error(error, self._ticket.op)
        self._session.answered(replies.refusal(self._ticket, told))
