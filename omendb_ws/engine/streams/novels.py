"""Novel queries: every added row that is like none before it, in order, or a stated gap.

Lives on the engine's thread. The window's ``novelty`` tells how new the rows of each add are, once
for all queries with one filter and one ``last``; each query keeps those below its own bound, which
wait as ``queues.py`` says, with the id of the row that each is nearest to.

Rows from before a query began are compared as it comes to them, a piece to a push, with the rows
before them that are there still.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
from omendb_core.filters.parser import Filter, evaluate
from omendb_core.model.budget import Share
from omendb_core.model.types import F32, U64, Bool1, Hits, Ids, Include, no_hits
from omendb_core.novelty.before import Before
from omendb_core.novelty.novelty import Newness
from omendb_core.scoring import score

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message
from ...wire.opcodes import Limits
from ..model.shard import Shard
from .deliveries import Deliveries, Maker, Reader, forget
from .hits import Near
from .queues import PAST_ROWS, Queues, QueueStream

#: What one takes with its subscription, its filter and its hits not counted: by how a server's
#: memory grows, 716 with 20,000 of them and 888 with 60,000.
NOVEL_BYTES: Final = 810


class NovelQuery(QueueStream):
    """One reader of what is new. Only ``Novels`` changes it.

    ``below``: the score that a row's best must be under, float32. ``group``: its number among those
    who ask alike, None while it is none of them. ``compared``: how many rows of the past were.
    """

    __slots__ = ("below", "compared", "filter", "group", "last")

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        shard: Shard,
        is_binary: bool,
        include: Include,
        below: float,
        filter_: Filter | None,
        last: int | None,
        share: Share,
    ) -> None:
        super().__init__(maker, reader, shard, is_binary, include, share)
        self.below = score.floors([below])[0]
        self.filter = filter_
        self.last = last
        self.group: int | None = None
        self.compared = 0

    @property
    def condition(self) -> Filter | None:
        """See ``QueueStream.condition``."""
        return self.filter

    @property
    def has_more(self) -> bool:
        """See ``Stream.has_more``; nobody but itself is due when it has heard of nothing."""
        return super().has_more or self.due_us is None

    def is_new(self, scores: F32) -> Bool1:
        """Which rows are, by the score of the best before each (-inf: there is none)."""
        found: Bool1 = (scores < self.below) | (scores == -np.inf)
        return found


class Novels(Queues[NovelQuery]):
    """All novel queries of the server."""

    kind = "novel"

    def __init__(self, metrics: Metrics, limits: Limits, deliveries: Deliveries) -> None:
        super().__init__(metrics, limits, deliveries)
        self._queries: dict[Shard, dict[NovelQuery, None]] = {}

    def of(self, shard: Shard) -> list[NovelQuery]:
        """The novel queries of a shard."""
        return list(self._queries.get(shard, ()))

    def standing(self, shard: Shard) -> Collection[NovelQuery]:
        """See ``owners.Registry``."""
        return self._queries.get(shard, {}).keys()

    def start(self, query: NovelQuery, from_seq: int | None, now_us: int) -> dict[str, Any]:
        """Begin delivery; the ``ok`` of the subscription. OmenError: it did not begin.

        No add of the window may wait to be compared.
        """
        from_seq = self._refuse(query, from_seq)
        query.group = query.shard.window.novelty.join(query.filter, query.last)
        self._queries.setdefault(query.shard, {})[query] = None
        return self._begin(query, from_seq, now_us)

    def stop(self, query: NovelQuery) -> None:
        """End a query."""
        self._deliveries.stop(query)
        forget(self._queries, query.shard, query)
        if query.group is not None:
            if not query.shard.is_dropped:
                query.shard.window.novelty.leave(query.group)
            query.group = None
        query.filter = None
        query.hits.close()

    def found(self, shard: Shard, newness: Newness, arrival_us: int | None) -> None:
        """How new some rows are, for a group."""
        near: Near | None = None
        for query in self.of(shard):
            if query.group != newness.group:
                continue
            places = np.flatnonzero(query.is_new(newness.scores))
            if not len(places):
                continue
            if near is None:
                near = _as_array(newness.near)
            self._came(
                query, newness.seqs[places], newness.scores[places], near[places], arrival_us
            )

    def _past(self, query: NovelQuery, now_us: int) -> list[Message]:
        """See ``Queues._past``; beyond ``max_pending_rows`` the rest is a gap."""
        window = query.shard.window
        state = window.state
        to_seq = min(query.told_seq + PAST_ROWS, query.listens_from - 1)
        slots = state.ring.live_slots(query.told_seq + 1, to_seq)
        if query.filter is not None:
            slots = slots[evaluate(query.filter, state.columns, slots)]
        left = self._limits.max_pending_rows - query.compared
        if len(slots) and not left:
            return self._slow_gap(query, query.told_seq + 1, query.listens_from - 1)
        before = Before(state, query.filter, query.last)
        seqs: U64 = before.piece_of(state.ring.seqs(slots[:left]))
        if not len(seqs):
            return self._past_told(query, slots, np.empty(0, np.float32), None, to_seq, now_us)
        if len(seqs) < len(slots):
            to_seq = int(seqs[-1])
        best = before.best(seqs)
        is_new = query.is_new(best.scores)
        near = _as_array(before.ids(best.seqs[is_new]))
        slots, scores = slots[: len(seqs)][is_new], best.scores[is_new]
        messages = self._past_told(query, slots, scores, near, to_seq, now_us)
        query.compared += int(np.searchsorted(seqs, np.uint64(query.told_seq), side="right"))
        return messages

    def _nothing(self) -> Hits:
        none = no_hits()
        return Hits(none.ids, none.seqs, none.scores, near=none.ids)


def _as_array(ids: Ids) -> Near:
    return np.array(ids, object) if isinstance(ids, list) else ids
