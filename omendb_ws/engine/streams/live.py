"""Live queries: they come, move and go, and are pushed to when their readers can take it.

Lives on the engine's thread. The window's ``standing`` says whose answer may have changed; what a
push says is made of what its reader was last sent (``live_query.py``) and of what is true at that
moment (``live_pushes.py``). So a slow reader costs the rows it was last told, never a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Sequence

import numpy as np
from omendb_core.model.types import F32, I64, Hits, Include
from omendb_core.ranking import orders
from omendb_core.ranking.shape import Decay
from omendb_core.standing.table import StandingQuery

from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ...wire.encoded import Message
from ...wire.messages import Results
from ..model.shard import Shard
from ..model.ticket import Reply
from .commands import Changes
from .deliveries import Deliveries, Stream, forget
from .live_pushes import pushes
from .live_query import ALL_IN, LeftOut, LiveQuery, listed
from .targets import changed, prepared


class LiveQueries:
    """All live queries of the server."""

    def __init__(
        self, metrics: Metrics, deliveries: Deliveries, clock_us: Callable[[], int]
    ) -> None:
        self._queries: dict[Shard, dict[int, LiveQuery]] = {}
        self._metrics = metrics
        self._deliveries = deliveries
        self._clock_us = clock_us

    # -- queries come, move and go ----------------------------------------------------------------

    def of(self, shard: Shard) -> list[LiveQuery]:
        """The live queries of a shard."""
        return list(self._queries.get(shard, {}).values())

    def standing(self, shard: Shard) -> Collection[LiveQuery]:
        """See ``owners.Registry``."""
        return self._queries.get(shard, {}).values()

    def start(self, queries: Sequence[LiveQuery], vectors: F32) -> Results:
        """Begin to deliver queries of one shard, alike in what their answers hold, at prepared
        ``vectors``; their snapshots. OmenError: none began.

        The window's standing queries must have caught up.
        """
        shard = queries[0].shard
        handles = shard.window.standing.add([query.query for query in queries], vectors)
        self.begin(queries, handles.tolist())
        try:
            found = self.answers(queries, handles, self.now(shard))
            self.tell(queries, found)
            return found
        except Exception:
            self.take_out(queries)
            raise

    def move(
        self, query: LiveQuery, changes: Changes, reply_of: Callable[[Results], Reply]
    ) -> Reply:
        """Have a query ask something else; the reply, by ``reply_of``, that tells its new snapshot.

        Where none can be made it asks what it did, and its reader has what it was told.
        """
        moving = self.move_in_pieces(query, changes, reply_of)
        while True:
            try:
                next(moving)
            except StopIteration as end:
                reply: Reply = end.value
                return reply

    def move_in_pieces(
        self, query: LiveQuery, changes: Changes, reply_of: Callable[[Results], Reply]
    ) -> Generator[None, None, Reply]:
        """The same in pieces, between which the window must not change; it is closed, and does not
        go on, where the query has ended.
        """
        window = query.shard.window
        handles = np.array([query.handle], np.int64)
        before = query.query, query.left_out
        vectors = back = window.standing.table.vectors[handles]
        if changes.target is not None:
            vectors = prepared(window, [changes.target])
        asked, left_out = changed(query, changes)
        is_changed = asked is not before[0]
        query.reserve(left_out)
        try:
            yield from window.standing.move_in_pieces(
                handles, vectors, [asked] if is_changed else None
            )
            query.query, query.left_out = asked, left_out
            try:
                found = self.answers([query], handles, self.now(query.shard))
                reply = reply_of(found)
                if reply.error is None:
                    self.tell([query], found)
                    return reply
            except Exception:
                yield from _moved_back(query, before, back)
                raise
            yield from _moved_back(query, before, back)
            return reply
        finally:
            try:
                query.settle()
            except Exception as error:  # what is too much is counted until it moves or ends
                self._metrics.faults += 1
                as_error(error, "the memory of a live query")

    def stop(self, query: LiveQuery) -> None:
        """End a query."""
        self.stop_many([query])

    def take_out(self, queries: Sequence[LiveQuery]) -> None:
        """Queries of one shard do not stand any more; they may begin again."""
        shard = queries[0].shard
        handles = list({query.handle for query in queries if query.handle is not None})
        for query in queries:
            self._deliveries.stop(query)
        for handle in handles:
            forget(self._queries, shard, handle)
        shard.live_queries = len(self._queries.get(shard, ()))
        if handles and not shard.is_dropped:
            shard.window.standing.remove(handles)
        for query in queries:
            query.handle = None

    def stop_many(self, queries: Sequence[LiveQuery]) -> None:
        """End queries of one shard; one of them may be there twice."""
        self.take_out(queries)
        for query in queries:
            query.query, query.left_out = query.query.without_filter(), ALL_IN
            query.settle()

    def now(self, shard: Shard) -> float:
        """The Unix time, in seconds, by the clock that a shard's rows are stamped with."""
        return shard.seconds(self._clock_us())

    def answers(self, queries: Sequence[LiveQuery], handles: I64, at: float) -> Results:
        """What queries answer now that are alike in what their answers hold, as of ``at``."""
        shard, order = queries[0].shard, queries[0].order
        window = shard.window
        counts, seqs, scores, ranks = window.standing.lists.answers(handles)
        slots = window.state.ring.slots(seqs)
        hits = window.state.hits(slots, queries[0].include)
        weights = None
        if isinstance(order, Decay):
            weights = orders.weights(order, window.state, slots, at)
        hits = Hits(hits.ids, seqs, scores, hits.metadata, hits.vectors, ranks, weights)
        stated = None if order is None else at
        return Results(window.version, np.array(counts, np.uint32), hits, at=stated)

    def tell(self, queries: Sequence[LiveQuery], found: Results) -> None:
        """Note that readers are told these rows, query after query, as of their version."""
        counts, hits = found.counts.tolist(), found.hits
        ids, seqs = listed(hits.ids), hits.seqs.tolist()
        ranks = None if hits.ranks is None else hits.ranks.tolist()
        end = 0
        for query, count in zip(queries, counts, strict=True):
            start, end = end, end + count
            told = dict(zip(seqs[start:end], ids[start:end], strict=True))
            query.note_told(told, found.version)
            if ranks is not None and query.told is told:
                query.ranks = dict(zip(told, ranks[start:end], strict=True))

    def begin(self, queries: Sequence[LiveQuery], handles: Sequence[int]) -> None:
        """Deliver queries that were told what they answered at some version, from now on."""
        shard = queries[0].shard
        for query, handle in zip(queries, handles, strict=True):
            query.handle = handle
            query.is_active = True
            self._queries.setdefault(shard, {})[handle] = query
            shard.live_queries = len(self._queries[shard])

    # -- what changed -----------------------------------------------------------------------------

    def changed(self, shard: Shard, handles: I64, arrival_us: int | None) -> None:
        """The answers of ``handles`` may have changed since they were last told."""
        for handle in handles.tolist():
            query = self._queries.get(shard, {}).get(handle)
            if query is None:
                continue
            if not self._deliveries.ready(query.note_changed(), arrival_us):
                self._metrics.merged_pushes += 1
                shard.counts.merged += 1

    def make(
        self, streams: Sequence[LiveQuery], now_us: int
    ) -> Iterable[tuple[Stream, list[Message]]]:
        """See ``deliveries.Maker``."""
        alike: dict[tuple[Shard, Include, bool, bool], list[LiveQuery]] = {}
        for query in streams:
            if not query.is_dirty or _is_waiting(query):
                continue
            if query.ready_us > now_us:
                self._deliveries.look_again(query, query.ready_us)
            else:
                is_ranked = query.order is not None
                kind = query.shard, query.include, query.is_binary, is_ranked
                alike.setdefault(kind, []).append(query)
        for queries in alike.values():
            yield from pushes(queries, now_us)


def _moved_back(
    query: LiveQuery, before: tuple[StandingQuery, LeftOut], back: F32
) -> Generator[None, None, None]:
    """Have a query ask what it did ``before``, at the vector ``back``; in pieces."""
    queries = None if query.query is before[0] else [before[0]]
    query.query, query.left_out = before
    handles = np.array([query.handle], np.int64)
    yield from query.shard.window.standing.move_in_pieces(handles, back, queries)


def _is_waiting(query: LiveQuery) -> bool:
    """Whether nobody knows what ``query`` answers now; it is said to have changed when known."""
    assert query.handle is not None
    return query.shard.window.standing.lists.is_waiting(query.handle)
