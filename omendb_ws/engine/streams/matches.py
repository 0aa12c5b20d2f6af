"""Match queries: every added row that is near enough, in order, or a stated gap.

Lives on the engine's thread. The window's ``standing`` finds which rows reached which query, for
all of them at once; they wait as ``queues.py`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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
from ..model.rows import SILENCE_US, push_bytes
from ..model.shard import Shard
from .deliveries import Deliveries, Maker, Reader, Stream, forget
from .queues import PAST_ROWS, Queues, QueueStream
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
        return self._begin(query, from_seq, now_us)

    def stop(self, query: MatchQuery) -> None:
        """End a query."""
        self._deliveries.stop(query)
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
        found, starts = np.unique(handles[order], return_index=True)
        ends = [*starts[1:].tolist(), len(handles)]
        for handle, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
            query = self._queries.get(shard, {}).get(handle)
            if query is not None:
                places = order[start:end]
                self._came(query, seqs[places], scores[places], None, arrival_us)

    def lost(self, shard: Shard) -> None:
        """Rows came and left by age before they were matched."""
        for query in self.of(shard):
            query.lost = True
            self._deliveries.ready(query)

    def make(
        self, streams: Sequence[MatchQuery], now_us: int
    ) -> Iterator[tuple[Stream, list[Message]]]:
        """See ``deliveries.Maker``."""
        others: list[MatchQuery] = []
        alike: dict[Kind, list[MatchQuery]] = {}
        for query in streams:
            if is_plain(query):
                kind = Kind(query.shard, query.include, query.is_binary)
                alike.setdefault(kind, []).append(query)
            else:
                others.append(query)
        for kind, queries in alike.items():
            if len(queries) < LEAST_TOGETHER:
                others += queries
                continue
            for query, message in zip(queries, told(kind, queries, now_us), strict=True):
                if message is not None and message.size_bytes > push_bytes(self._limits):
                    others.append(query)
                    continue
                yield from self._tell(query, message, now_us)
        yield from super().make(others, now_us)

    def _tell(
        self, query: MatchQuery, message: Message | None, now_us: int
    ) -> Iterator[tuple[Stream, list[Message]]]:
        """Move a plain query behind all that waits, and the window's end if it is told that."""
        last_seq = query.shard.window.last_seq
        query.done_seq = last_seq
        if message is not None:
            query.told_seq = last_seq
            query.quiet_since_us = now_us
            yield query, [message]
        elif query.told_seq >= last_seq and now_us - query.quiet_since_us >= SILENCE_US:
            query.quiet_since_us = now_us
        query.hits.clear()
        self._deliveries.look_again(query, query.quiet_since_us + SILENCE_US)

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
