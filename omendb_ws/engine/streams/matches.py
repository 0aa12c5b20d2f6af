"""Match queries: every added row that is near enough, in order, or a stated gap.

Lives on the engine's thread. The window's ``standing`` finds which rows reached which query, for
all of them at once; they wait as ``queues.py`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from omendb_core.filters.parser import Filter, evaluate
from omendb_core.model.budget import Share
from omendb_core.model.types import F32, I64, U64, Include
from omendb_core.scan.interface import UNBOUNDED
from omendb_core.scan.matching import pairs_above
from omendb_core.scoring import score
from omendb_core.search.query import prepare_queries
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
    """One reader's standing query. Only ``Matches`` changes it."""

    __slots__ = ("handle", "query")

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
        self, query: MatchQuery, vectors: F32, from_seq: int | None, now_us: int
    ) -> dict[str, Any]:
        """Begin delivery; the ``ok`` of the subscription. OmenError: it did not begin.

        The window's standing queries must have caught up.
        """
        from_seq = self._refuse(query, from_seq)
        window = query.shard.window
        prepared = prepare_queries(window.definition, vectors)
        query.handle = int(window.standing.add([query.query], prepared)[0])
        self._queries.setdefault(query.shard, {})[query.handle] = query
        self._silence.enter(query, now_us)
        return self._begin(query, from_seq, now_us)

    def stop(self, query: MatchQuery) -> None:
        """End a query."""
        self._deliveries.stop(query)
        self._silence.leave(query)
        if query.handle is not None:
            forget(self._queries, query.shard, query.handle)
            if not query.shard.is_dropped:
                query.shard.window.standing.remove([query.handle])
            query.handle = None
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
        """See ``Queues._look_again``: its circle is looked at."""

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
