"""Match queries: every added row that is near enough, in order, or a stated gap.

Lives on the engine's thread. The window's ``standing`` finds which rows reached which query, for
all of them at once; they wait as ``queues.py`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

import numpy as np
from omendb_core.filters.parser import Filter, evaluate
from omendb_core.model.budget import Share
from omendb_core.model.types import F32, I64, U64, Include
from omendb_core.scan.interface import UNBOUNDED
from omendb_core.scan.matching import pairs_above
from omendb_core.scoring import score
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message
from ...wire.opcodes import Limits
from ..model.rows import push_bytes
from ..model.shard import Shard
from .deliveries import Deliveries, Maker, Reader, Stream, forget
from .queues import PAST_ROWS, Queues, QueueStream
from .silence import Silence
from .stream import Said
from .together import LEAST_TOGETHER, Kind, is_plain, told


class MatchQuery(QueueStream):
    """One reader's standing query. Only ``Matches`` changes it.

    ``is_beginning``: it is taken in, or about to be, over several ticks.
    """

    __slots__ = ("handle", "is_beginning", "query")

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        shard: Shard,
        is_binary: bool,
        include: Include,
        query: StandingQuery,
        share: Share,
    ) -> None:
        super().__init__(maker, reader, shard, is_binary, include, share)
        self.query = query
        self.handle: int | None = None
        self.is_beginning = False

    @property
    def condition(self) -> Filter | None:
        """See ``QueueStream.condition``."""
        return self.query.filter


class Matches(Queues[MatchQuery]):
    """All match queries of the server."""

    kind = "match"

    def __init__(self, metrics: Metrics, limits: Limits, deliveries: Deliveries) -> None:
        super().__init__(metrics, limits, deliveries)
        self._queries: dict[Shard, dict[int, MatchQuery]] = {}
        self._silence = Silence(deliveries)

    def of(self, shard: Shard) -> list[MatchQuery]:
        """The match queries of a shard."""
        return list(self._queries.get(shard, {}).values())

    def standing(self, shard: Shard) -> Collection[MatchQuery]:
        """See ``owners.Registry``."""
        return self._queries.get(shard, {}).values()

    def start(
        self, queries: Sequence[MatchQuery], prepared: F32, from_seq: int | None, now_us: int
    ) -> int:
        """Begin delivery to queries that are alike but for their vectors, ``prepared`` float32
        (n, dim); the seq behind which they begin. OmenError: none did.

        The window's standing queries must have caught up.
        """
        begins_at = self.first_of(queries, from_seq)
        try:
            self.take_in(queries, prepared, now_us)
            self.begin(queries, begins_at)
        except Exception:
            self.take_out(queries)
            raise
        return begins_at - 1

    def first_of(self, queries: Sequence[MatchQuery], from_seq: int | None) -> int:
        """The first seq of their delivery; BadRequest, TooLarge where there can be none. Asked
        before they are taken in."""
        return self._refuse(queries[0], from_seq)

    def take_in(self, queries: Sequence[MatchQuery], prepared: F32, now_us: int) -> None:
        """Have queries of one shard stand, which hear of nothing before they ``begin``.

        After a fault they are to be taken out. The window's standing queries must have caught up.
        """
        shard = queries[0].shard
        handles = shard.window.standing.add_deaf([one.query for one in queries], prepared).tolist()
        for query, handle in zip(queries, handles, strict=True):
            query.handle = handle
        self._queries.setdefault(shard, {}).update(zip(handles, queries, strict=True))
        row_bytes = self._row_bytes(queries[0])
        for query in queries:
            query.row_bytes = row_bytes
            query.quiet_since_us = now_us
            if shard.place is None:
                self._silence.enter(query, now_us)

    def begin(self, queries: Sequence[MatchQuery], from_seq: int) -> None:
        """Deliver to queries that were taken in; as ``take_in``. 9,999 take 3 ms."""
        window = queries[0].shard.window
        handles = np.array([query.handle for query in queries], np.int64)
        window.standing.listen(handles)
        last_seq = window.last_seq
        for query in queries:
            query.listens_from = last_seq + 1
            query.told_seq = from_seq - 1
            query.lost = False
            query.is_active = True
        if from_seq <= last_seq:
            for query in queries:
                self._deliveries.ready(query)

    def take_out(self, queries: Sequence[MatchQuery]) -> None:
        """Queries of one shard do not stand any more; they may be taken in again."""
        shard = queries[0].shard
        handles = list({query.handle for query in queries if query.handle is not None})
        for query in queries:
            self._deliveries.stop(query)
            if shard.place is None:
                self._silence.leave(query)
        for handle in handles:
            forget(self._queries, shard, handle)
        if handles and not shard.is_dropped:
            shard.window.standing.remove(handles)
        for query in queries:
            query.handle = None

    def stop_many(self, queries: Sequence[MatchQuery]) -> None:
        """End queries of one shard; one of them may be there twice."""
        self.take_out(queries)
        for query in queries:
            query.query = query.query.without_filter()
            query.hits.close()

    def matched(
        self, shard: Shard, handles: I64, seqs: U64, scores: F32, arrival_us: int | None
    ) -> None:
        """Keep the rows that reached each of ``handles``; seqs ascend for each handle."""
        order = np.argsort(handles, kind="stable")
        handles, seqs, scores = handles[order], seqs[order], scores[order]
        found, starts = np.unique(handles, return_index=True)
        ends = [*starts[1:].tolist(), len(handles)]
        queries = self._queries.get(shard, {})
        seq_at, score_at = seqs.tolist(), scores.tolist()
        for handle, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
            query = queries.get(handle)
            if query is None:
                continue
            if end - start == 1 and not len(query.hits) and query.overflow_seq is None:
                query.hits.add_one(seq_at[start], score_at[start])
                self._has_come(query, arrival_us)
            else:
                some = slice(start, end)
                self._came(query, seqs[some].copy(), scores[some].copy(), None, arrival_us)

    def lost(self, shard: Shard) -> None:
        """Rows came and left by age before they were matched."""
        for query in self.of(shard):
            query.lost = True
            self._deliveries.ready(query)

    def make(self, streams: Sequence[MatchQuery], now_us: int) -> Iterator[Said]:
        """See ``deliveries.Maker``."""
        others: list[MatchQuery] = []
        alike: dict[tuple[Shard, bool, bool, bool], list[MatchQuery]] = {}
        for query in streams:
            if is_plain(query):
                include = query.include
                key = query.shard, include.metadata, include.vector, query.is_binary
                alike.setdefault(key, []).append(query)
            else:
                others.append(query)
        for queries in alike.values():
            if len(queries) < LEAST_TOGETHER:
                others += queries
                continue
            kind = Kind(queries[0].shard, queries[0].include, queries[0].is_binary)
            whole = zip(queries, told(kind, queries), strict=True)
            for _, of_lane in groupby(whole, lambda one: one[0].lane):
                yield from self._tell(list(of_lane), others, now_us)
        yield from super().make(others, now_us)

    def _tell(
        self,
        telling: Sequence[tuple[MatchQuery, Message | None]],
        others: list[MatchQuery],
        now_us: int,
    ) -> Iterator[Said]:
        """Move plain queries of a connection behind all that waits; those with a message are told
        the window's end, too. What is too long for a push is for ``others``."""
        last_seq, most_bytes = telling[0][0].shard.window.last_seq, push_bytes(self._limits)
        whose: list[Stream] = []
        messages: list[Message] = []
        for query, message in telling:
            if message is None:
                query.done_seq = last_seq
                query.hits.clear()
            elif message.size_bytes > most_bytes:
                others.append(query)
            else:
                query.done_seq = query.told_seq = last_seq
                query.quiet_since_us = now_us
                query.hits.clear()
                whose.append(query)
                messages.append(message)
        if len(whose) == 1:
            yield whose[0], messages
        elif whose:
            yield whose, messages

    def _look_again(self, query: MatchQuery) -> None:
        """See ``Queues._look_again``: its circle is looked at; one of several shards, which has no
        circle, by itself."""
        if query.shard.place is not None:
            super()._look_again(query)

    def _past(self, query: MatchQuery, now_us: int) -> list[Message]:
        """See ``Queues._past``."""
        window = query.shard.window
        to_seq = min(query.told_seq + PAST_ROWS, query.listens_from - 1)
        slots = window.state.ring.live_slots(query.told_seq + 1, to_seq)
        if query.query.filter is not None:
            slots = slots[evaluate(query.query.filter, window.state.columns, slots)]
        slots, scores = _near(window, query, slots)
        return self._past_told(query, slots, scores, None, to_seq, now_us)


def _near(window: Window, query: MatchQuery, slots: I64) -> tuple[I64, F32]:
    """Those of ``slots`` whose rows reach the query, and their scores."""
    assert query.handle is not None
    vector = window.standing.table.vectors[[query.handle]]
    found = pairs_above(
        window.definition.metric,
        window.state.ring.vectors[slots],
        window.state.ring.norms[slots],
        vector,
        score.norms(vector),
        score.floors([query.query.min_score]),
        np.array([UNBOUNDED]),
    )
    return slots[found.rows], found.scores
