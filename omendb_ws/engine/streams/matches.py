"""Match queries: every added row that is near enough, in order, or a stated gap.

Lives on the engine's thread. The window's ``standing`` finds which rows reached which query, for
all of them at once; what is here keeps them, as seqs and scores only, until the reader takes them.
Rows are gathered when a push is made: one that is dead by then is passed over, or lies in a stated
gap if it left by age. Beyond ``max_pending_rows`` the rest until the reader comes is one gap.

A query that began in the past first goes through the window as a feed does, a span at a time, up to
where it began to listen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from omendb_core.filters.parser import evaluate
from omendb_core.model.budget import Share
from omendb_core.model.errors import Quota
from omendb_core.model.types import F32, I64, U64, Hits, Include, no_hits
from omendb_core.scan.interface import UNBOUNDED
from omendb_core.scan.matching import pairs_above
from omendb_core.scoring import score
from omendb_core.search.query import prepare_queries
from omendb_core.standing.table import StandingQuery

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message
from ...wire.messages import Rows
from ...wire.opcodes import PUSH_BYTES, Limits
from ..model.rows import (
    SILENCE_US,
    aged_gaps,
    encode,
    gap,
    part_of,
    push_bytes,
    refuse_rows_over_a_push,
    usual_rows,
)
from .deliveries import Deliveries, Maker, Reader, Stream, forget
from .feeds import first_of
from .hits import WaitingHits

if TYPE_CHECKING:
    from omendb_core.window import Window

    from ..model.collection import Collection

#: Rows of the past that one push of a query looks at: about 2 ms.
PAST_ROWS: Final = 8192


class MatchQuery(Stream):
    """One reader's standing query. Only ``Matches`` changes it.

    ``told_seq``: how far its reader knows. Rows from ``listens_from`` on come from the window's
    standing queries; those before it, behind ``told_seq``, from the window itself. ``hits`` are
    what waits, ``done_seq`` how far they were told or passed over. ``overflow_seq``: the first row
    that found no place, None while there is room. ``lost``: rows left the window by age before they
    were matched.
    """

    __slots__ = ("done_seq", "handle", "hits", "listens_from", "lost", "overflow_seq",
                 "query", "quiet_since_us", "told_seq")  # fmt: skip

    is_of_lists = True

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        collection: Collection,
        is_binary: bool,
        include: Include,
        query: StandingQuery,
        share: Share,
    ) -> None:
        super().__init__(maker, reader, collection, is_binary, include, PUSH_BYTES)
        self.query = query
        self.handle: int | None = None
        self.told_seq = 0
        self.listens_from = 1
        self.hits = WaitingHits(share)
        self.done_seq = 0
        self.overflow_seq: int | None = None
        self.lost = False
        self.quiet_since_us = 0


class Matches:
    """All match queries of the server."""

    def __init__(self, metrics: Metrics, limits: Limits, deliveries: Deliveries) -> None:
        self._queries: dict[Collection, dict[int, MatchQuery]] = {}
        self._metrics = metrics
        self._limits = limits
        self._deliveries = deliveries

    # -- queries come and go ----------------------------------------------------------------------

    def of(self, collection: Collection) -> list[MatchQuery]:
        """The match queries of a collection."""
        return list(self._queries.get(collection, {}).values())

    def start(
        self, query: MatchQuery, vectors: F32, from_seq: int | None, now_us: int
    ) -> dict[str, Any]:
        """Begin delivery; the ``ok`` of the subscription. OmenError: it did not begin.

        The window's standing queries must have caught up.
        """
        collection = query.collection
        window = collection.window
        from_seq = first_of(window.last_seq, from_seq)
        refuse_rows_over_a_push(window.definition, query.include, query.is_binary, self._limits)
        prepared = prepare_queries(window.definition, vectors)
        query.handle = int(window.standing.add([query.query], prepared)[0])
        query.listens_from = window.last_seq + 1
        query.told_seq = from_seq - 1
        query.quiet_since_us = now_us
        query.is_active = True
        self._queries.setdefault(collection, {})[query.handle] = query
        self._deliveries.ready(query)
        return {
            "sub": query.sub,
            "epoch": collection.epoch,
            "version": window.version,
            "to_seq": query.told_seq,
        }

    def stop(self, query: MatchQuery) -> None:
        """End a query."""
        self._deliveries.stop(query)
        if query.handle is not None:
            forget(self._queries, query.collection, query.handle)
            if not query.collection.is_dropped:
                query.collection.window.standing.remove([query.handle])
            query.handle = None
        query.query = query.query.without_filter()
        query.hits.close()

    # -- what was matched -------------------------------------------------------------------------

    def matched(
        self, collection: Collection, handles: I64, seqs: U64, scores: F32, arrival_us: int | None
    ) -> None:
        """Keep the rows that reached each of ``handles``; seqs ascend for each handle."""
        order = np.argsort(handles, kind="stable")
        found, starts = np.unique(handles[order], return_index=True)
        ends = [*starts[1:].tolist(), len(handles)]
        for handle, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
            query = self._queries.get(collection, {}).get(handle)
            if query is None:
                continue
            places = order[start:end]
            self._keep(query, seqs[places], scores[places])
            if not self._deliveries.ready(query, arrival_us):
                self._metrics.merged_pushes += 1
                collection.counts.merged += 1

    def lost(self, collection: Collection) -> None:
        """Rows came and left by age before they were matched."""
        for query in self.of(collection):
            query.lost = True
            self._deliveries.ready(query)

    def _keep(self, query: MatchQuery, seqs: U64, scores: F32) -> None:
        """Keep hits, or as many as find a place."""
        if query.overflow_seq is not None:
            return
        room = self._limits.max_pending_rows - len(query.hits)
        if room < len(seqs):
            query.overflow_seq = seqs.item(room)
            seqs, scores = seqs[:room].copy(), scores[:room].copy()
        if not room:
            return
        try:
            query.hits.add(seqs, scores)
        except Quota:  # as if the queue were full: what finds no place is a gap
            query.overflow_seq = seqs.item(0)

    # -- what is said -----------------------------------------------------------------------------

    def make(
        self, streams: Sequence[MatchQuery], now_us: int
    ) -> Iterable[tuple[Stream, list[Message]]]:
        """See ``deliveries.Maker``."""
        for query in streams:
            place = query.told_seq, query.done_seq, query.overflow_seq, query.lost
            try:
                messages = self._said(query, now_us)
            except Exception:
                query.told_seq, query.done_seq, query.overflow_seq, query.lost = place
                raise
            query.hits.forget(query.done_seq)
            if messages:
                query.quiet_since_us = now_us
                yield query, messages
            self._deliveries.look_again(query, query.quiet_since_us + SILENCE_US)

    def _said(self, query: MatchQuery, now_us: int) -> list[Message]:
        """What a query has to say, and the query moved behind it."""
        messages = self._gaps(query)
        if query.told_seq + 1 < query.listens_from:
            messages += self._past(query, now_us)
        else:
            messages += self._present(query)
        return messages or self._broken_silence(query, now_us)

    def _gaps(self, query: MatchQuery) -> list[Message]:
        """The gaps over what left by age before the reader took it, and the query behind them."""
        window = query.collection.window
        first_seq = window.first_seq
        oldest_seq = query.hits.first_seq
        has_aged = oldest_seq is not None and oldest_seq < first_seq
        is_past = query.told_seq + 1 < query.listens_from
        if first_seq <= query.told_seq + 1 or not (has_aged or is_past or query.lost):
            query.lost = False
            return []
        query.done_seq = first_seq - 1
        query.lost = False
        if query.overflow_seq is not None:
            query.overflow_seq = max(query.overflow_seq, first_seq)
            if query.overflow_seq > window.last_seq:
                query.overflow_seq = None  # all of them left by age
        messages = aged_gaps(window, query.sub, query.told_seq + 1, self._metrics, query.collection)
        query.told_seq = first_seq - 1
        return messages

    def _past(self, query: MatchQuery, now_us: int) -> list[Message]:
        """Rows from before the query began to listen."""
        window = query.collection.window
        to_seq = min(query.told_seq + PAST_ROWS, query.listens_from - 1)
        slots = window.state.ring.live_slots(query.told_seq + 1, to_seq)
        if query.query.filter is not None:
            slots = slots[evaluate(query.query.filter, window.state.columns, slots)]
        slots, scores = _near(window, query, slots)
        if not len(slots):
            query.told_seq = to_seq
            self._deliveries.look_again(query, now_us)
            return []
        rows, delivered = self._rows(query, slots, scores, to_seq)
        query.told_seq = to_seq if delivered == len(slots) else rows.to_seq
        return [encode(rows, query.is_binary)]

    def _present(self, query: MatchQuery) -> list[Message]:
        """Rows that wait, and behind them the gap of those that found no place."""
        window = query.collection.window
        seqs, scores = query.hits.above(query.done_seq)
        slots = window.state.ring.slots(seqs)
        live = window.state.ring.is_live(slots)
        slots, scores = slots[live], scores[live]
        seen_seq = window.last_seq if query.overflow_seq is None else query.overflow_seq - 1
        messages: list[Message] = []
        if len(slots):
            rows, delivered = self._rows(query, slots, scores, seen_seq)
            messages.append(encode(rows, query.is_binary))
            query.told_seq = query.done_seq = rows.to_seq
            if delivered < len(slots):
                return messages
        if len(seqs):
            query.done_seq = int(seqs[-1])
        if query.overflow_seq is not None:
            messages.append(gap(query.sub, query.overflow_seq, window.last_seq, "slow"))
            self._metrics.gaps += 1
            query.collection.counts.gaps += 1
            query.told_seq = window.last_seq
            query.overflow_seq = None
        return messages

    def _rows(self, query: MatchQuery, slots: I64, scores: F32, to_seq: int) -> tuple[Rows, int]:
        """A push of the first of these rows, as many as fit, and how many those are."""
        window, limits = query.collection.window, self._limits
        count = usual_rows(window.definition, query.include, query.is_binary, limits)
        hits = window.state.hits(slots[:count], query.include)
        hits = Hits(hits.ids, hits.seqs, scores[:count], hits.metadata, hits.vectors)
        count = len(hits.seqs)
        while True:
            reached = to_seq if count == len(slots) else int(hits.seqs[count - 1])
            rows = Rows(query.sub, "match", window.version, reached, part_of(hits, 0, count))
            if count == 1 or encode(rows, query.is_binary).size_bytes <= push_bytes(limits):
                return rows, count
            count //= 2

    def _broken_silence(self, query: MatchQuery, now_us: int) -> list[Message]:
        """An empty push for a reader that has heard nothing of rows gone by for long enough."""
        window = query.collection.window
        is_past = query.told_seq + 1 < query.listens_from
        if is_past or now_us - query.quiet_since_us < SILENCE_US:
            return []
        if query.told_seq >= window.last_seq:
            query.quiet_since_us = now_us
            return []
        query.told_seq = window.last_seq
        rows = Rows(query.sub, "match", window.version, query.told_seq, no_hits())
        return [encode(rows, query.is_binary)]


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
