"""Live queries: they come, move and go, and are pushed to when their readers can take it.

Lives on the engine's thread. The window's ``standing`` says whose answer may have changed; what a
push says is made of what its reader was last sent (``live_query.py``) and of what is true at that
moment (``live_pushes.py``). So a slow reader costs the rows it was last told, never a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from omendb_core.model.types import F32, I64, Hits, Include
from omendb_core.search.query import prepare_queries

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message
from ...wire.messages import Results
from ..model.ticket import Answer
from .deliveries import Deliveries, Stream, forget
from .live_pushes import pushes
from .live_query import LiveQuery, listed, long_bytes

if TYPE_CHECKING:
    from ..model.collection import Collection


class LiveQueries:
    """All live queries of the server."""

    def __init__(self, metrics: Metrics, deliveries: Deliveries) -> None:
        self._queries: dict[Collection, dict[int, LiveQuery]] = {}
        self._metrics = metrics
        self._deliveries = deliveries

    # -- queries come, move and go ----------------------------------------------------------------

    def of(self, collection: Collection) -> list[LiveQuery]:
        """The live queries of a collection."""
        return list(self._queries.get(collection, {}).values())

    def start(self, queries: Sequence[LiveQuery], vectors: F32) -> Results:
        """Begin to deliver queries of one collection; their snapshots. OmenError: none began.

        The window's standing queries must have caught up.
        """
        collection = queries[0].collection
        window = collection.window
        prepared = prepare_queries(window.definition, vectors)
        handles = window.standing.add([query.query for query in queries], prepared)
        self.begin(queries, handles.tolist())
        try:
            return self._snapshots(collection, queries)
        except Exception:
            for query in queries:
                self.stop(query)
            raise

    def move(self, query: LiveQuery, vectors: F32, reply: Callable[[Results], Answer]) -> Answer:
        """Point a query at another vector; the ``reply`` that tells its new snapshot.

        Where none can be made it stays where it was, and what its reader was told, too.
        """
        window = query.collection.window
        handles = np.array([query.handle], np.int64)
        before = window.standing.table.vectors[handles]
        window.standing.move(handles, prepare_queries(window.definition, vectors))
        is_told = False
        try:
            found = self.answers(query.collection, handles, query.include)
            answer = reply(found)
            if answer.error is None:
                ids, seqs = listed(found.hits.ids), found.hits.seqs.tolist()
                self.tell([query], found.counts.tolist(), ids, seqs, found.version)
                is_told = True
            return answer
        finally:
            if not is_told:
                window.standing.move(handles, before)

    def stop(self, query: LiveQuery) -> None:
        """End a query."""
        self.stop_many([query])

    def stop_many(self, queries: Sequence[LiveQuery]) -> None:
        """End queries of one collection; one of them may be there twice."""
        collection = queries[0].collection
        handles = list({query.handle for query in queries if query.handle is not None})
        for query in queries:
            self._deliveries.stop(query)
        for handle in handles:
            forget(self._queries, collection, handle)
        collection.live_queries = len(self._queries.get(collection, ()))
        if handles and not collection.is_dropped:
            collection.window.standing.remove(handles)
        for query in queries:
            query.handle = None
            query.query = query.query.without_filter()

    def _snapshots(self, collection: Collection, queries: Sequence[LiveQuery]) -> Results:
        """What the queries answer now, which their readers are told by a reply."""
        handles = np.array([query.handle for query in queries], np.int64)
        found = self.answers(collection, handles, queries[0].include)
        counts = found.counts.tolist()
        self.tell(queries, counts, listed(found.hits.ids), found.hits.seqs.tolist(), found.version)
        return found

    def answers(self, collection: Collection, handles: I64, include: Include) -> Results:
        """What the queries of ``handles`` answer now."""
        window = collection.window
        counts, seqs, scores, _ = window.standing.lists.answers(handles)
        hits = window.state.hits(window.state.ring.slots(seqs), include)
        hits = Hits(hits.ids, seqs, scores, hits.metadata, hits.vectors)
        return Results(window.version, np.array(counts, np.uint32), hits)

    def tell(
        self,
        queries: Sequence[LiveQuery],
        counts: Sequence[int],
        ids: Sequence[int | str],
        seqs: Sequence[int],
        version: int,
    ) -> None:
        """Note that readers are told these rows, query after query, as of ``version``."""
        end = 0
        for query, count in zip(queries, counts, strict=True):
            start, end = end, end + count
            if query.texts is not None:
                query.texts.settle(long_bytes(ids[start:end]))
            query.told = dict(zip(seqs[start:end], ids[start:end], strict=True))
            query.told_version = version
            query.is_dirty = False

    def begin(self, queries: Sequence[LiveQuery], handles: Sequence[int]) -> None:
        """Deliver queries that were told what they answered at some version, from now on."""
        collection = queries[0].collection
        for query, handle in zip(queries, handles, strict=True):
            query.handle = handle
            query.is_active = True
            self._queries.setdefault(collection, {})[handle] = query
            collection.live_queries = len(self._queries[collection])

    # -- what changed -----------------------------------------------------------------------------

    def changed(self, collection: Collection, handles: I64, arrival_us: int | None) -> None:
        """The answers of ``handles`` may have changed since they were last told."""
        for handle in handles.tolist():
            query = self._queries.get(collection, {}).get(handle)
            if query is None:
                continue
            query.is_dirty = True
            if not self._deliveries.ready(query, arrival_us):
                self._metrics.merged_pushes += 1
                collection.counts.merged += 1

    def make(
        self, streams: Sequence[LiveQuery], now_us: int
    ) -> Iterable[tuple[Stream, list[Message]]]:
        """See ``deliveries.Maker``."""
        alike: dict[tuple[Collection, Include, bool], list[LiveQuery]] = {}
        for query in streams:
            if not query.is_dirty or _is_waiting(query):
                continue
            if query.ready_us > now_us:
                self._deliveries.look_again(query, query.ready_us)
            else:
                kind = query.collection, query.include, query.is_binary
                alike.setdefault(kind, []).append(query)
        for queries in alike.values():
            yield from pushes(queries, now_us)


def _is_waiting(query: LiveQuery) -> bool:
    """Whether nobody knows what ``query`` answers now; it is said to have changed when known."""
    assert query.handle is not None
    return query.collection.window.standing.lists.is_waiting(query.handle)
