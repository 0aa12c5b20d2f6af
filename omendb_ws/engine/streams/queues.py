"""Streams whose rows wait in a queue: what match and novel queries have in common.

Lives on the engine's thread. What waits are seqs and scores only; rows are gathered when a push is
made: one that is dead by then, or does not pass the filter any more, is passed over, or lies in a
stated gap if it left by age. Beyond ``max_pending_rows`` the rest until the reader comes is one
gap.

A query that began in the past first goes through the window as a feed does, a span at a time
(``_past``), up to where it began to listen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar

from omendb_core.filters.parser import Filter, evaluate
from omendb_core.model.budget import Share
from omendb_core.model.errors import Quota
from omendb_core.model.types import F32, I64, U64, Hits, Include, no_hits

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message
from ...wire.messages import Rows
from ...wire.opcodes import PUSH_BYTES, Limits
from ...wire.reply_bounds import ENVELOPE_BYTES, most_row_bytes
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
from ..model.shard import Shard
from .deliveries import Deliveries, Maker, Reader, Stream
from .feeds import first_of
from .hits import Near, WaitingHits
from .stream import Said
from .together import MOST_ROWS

#: Rows of the past that one push of a query looks at: about 2 ms.
PAST_ROWS: Final = 8192


class QueueStream(Stream):
    """One reader and what waits for it. Only its maker changes it.

    ``told_seq``: how far its reader knows. Rows from ``listens_from`` on come as they are added;
    those before it, behind ``told_seq``, from the window. ``hits`` are what waits, ``done_seq`` how
    far they were told or passed over. ``overflow_seq``: the first row that found no place, None
    while there is room. ``lost``: rows left the window by age before they were looked at.
    ``row_bytes``: what a row of its pushes may take.
    """

    __slots__ = ("done_seq", "hits", "listens_from", "lost", "overflow_seq", "quiet_since_us",
                 "row_bytes", "told_seq")  # fmt: skip

    is_of_lists = True
    shard: Shard

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        shard: Shard,
        is_binary: bool,
        include: Include,
        share: Share,
    ) -> None:
        super().__init__(maker, reader, shard, is_binary, include, PUSH_BYTES)
        self.told_seq = 0
        self.listens_from = 1
        self.hits = WaitingHits(share)
        self.done_seq = 0
        self.overflow_seq: int | None = None
        self.lost = False
        self.quiet_since_us = self.row_bytes = 0

    @property
    def expected_bytes(self) -> int:
        """See ``Stream.expected_bytes``."""
        waiting = len(self.hits)
        if waiting > MOST_ROWS or not self.is_plain:
            return PUSH_BYTES
        return min(PUSH_BYTES, ENVELOPE_BYTES + waiting * self.row_bytes)

    @property
    def has_more(self) -> bool:
        """Whether, its push taken, it may have something to say before the time comes."""
        return len(self.hits) > 0 or not self.is_plain

    @property
    def is_plain(self) -> bool:
        """Whether nothing but what waits is to be said: no past, and no gap that it knows of."""
        return self.overflow_seq is None and not self.lost and not self.is_past

    @property
    def condition(self) -> Filter | None:
        """The filter that rows must pass."""
        raise NotImplementedError

    @property
    def is_past(self) -> bool:
        """Whether it has rows from before it began to listen to look at."""
        return self.told_seq + 1 < self.listens_from


Query = TypeVar("Query", bound=QueueStream)


class Queues(ABC, Generic[Query]):
    """All queries of one kind of the server."""

    kind: ClassVar[Literal["match", "novel"]]

    def __init__(self, metrics: Metrics, limits: Limits, deliveries: Deliveries) -> None:
        self._metrics = metrics
        self._limits = limits
        self._deliveries = deliveries

    # -- queries come and go ----------------------------------------------------------------------

    def _refuse(self, query: Query, from_seq: int | None) -> int:
        """Where its delivery begins; BadRequest, TooLarge where it cannot."""
        window = query.shard.window
        from_seq = first_of(window.last_seq, from_seq)
        refuse_rows_over_a_push(window.definition, query.include, query.is_binary, self._limits)
        query.row_bytes = self._row_bytes(query)
        return from_seq

    def _row_bytes(self, query: Query) -> int:
        """What a row of its pushes may take."""
        most_bytes = self._limits.max_metadata_bytes
        definition = query.shard.definition
        return most_row_bytes(definition, query.include, query.is_binary, most_bytes)

    def _begin(self, query: Query, from_seq: int, now_us: int) -> dict[str, Any]:
        """Deliver from here on; the ``ok`` of the subscription."""
        shard = query.shard
        query.listens_from = shard.window.last_seq + 1
        query.told_seq = from_seq - 1
        query.quiet_since_us = now_us
        query.is_active = True
        self._deliveries.ready(query)
        return {
            "sub": query.sub,
            "epoch": shard.epoch,
            "version": shard.window.version,
            "to_seq": query.told_seq,
        }

    # -- what comes -------------------------------------------------------------------------------

    def _came(
        self, query: Query, seqs: U64, scores: F32, near: Near | None, arrival_us: int | None
    ) -> None:
        """Rows to be told, behind those that wait."""
        self._keep(query, seqs, scores, near)
        self._has_come(query, arrival_us)

    def _has_come(self, query: Query, arrival_us: int | None) -> None:
        """Rows wait to be told."""
        if not self._deliveries.ready(query, arrival_us):
            self._metrics.merged_pushes += 1
            query.shard.counts.merged += 1

    def _keep(self, query: Query, seqs: U64, scores: F32, near: Near | None) -> None:
        """Keep hits, or as many as find a place."""
        if query.overflow_seq is not None:
            return
        room = self._limits.max_pending_rows - len(query.hits)
        if room < len(seqs):
            query.overflow_seq = seqs.item(room)
            seqs, scores = seqs[:room].copy(), scores[:room].copy()
            near = None if near is None else near[:room].copy()
        if not room:
            return
        try:
            query.hits.add(seqs, scores, near)
        except Quota:  # as if the queue were full: what finds no place is a gap
            query.overflow_seq = seqs.item(0)

    # -- what is said -----------------------------------------------------------------------------

    def make(self, streams: Sequence[Query], now_us: int) -> Iterable[Said]:
        """See ``deliveries.Maker``."""
        for query in streams:
            place = query.told_seq, query.done_seq, query.overflow_seq, query.lost
            try:
                messages = self._said(query, now_us)
            except Exception:
                query.told_seq, query.done_seq, query.overflow_seq, query.lost = place
                raise
            if messages:
                query.quiet_since_us = now_us
                yield query, messages
            query.hits.forget(query.done_seq)
            self._look_again(query)

    def _look_again(self, query: Query) -> None:
        """It hears of silence in time."""
        self._deliveries.look_again(query, query.quiet_since_us + SILENCE_US)

    def _said(self, query: Query, now_us: int) -> list[Message]:
        """What a query has to say, and the query moved behind it."""
        messages = self._gaps(query)
        if query.is_past:
            messages += self._past(query, now_us)
        else:
            messages += self._present(query)
        return messages or self._broken_silence(query, now_us)

    def _gaps(self, query: Query) -> list[Message]:
        """The gaps over what left by age before the reader took it, and the query behind them."""
        window = query.shard.window
        first_seq = window.first_seq
        oldest_seq = query.hits.first_seq
        has_aged = oldest_seq is not None and oldest_seq < first_seq
        if first_seq <= query.told_seq + 1 or not (has_aged or query.is_past or query.lost):
            query.lost = False
            return []
        query.done_seq = first_seq - 1
        query.lost = False
        if query.overflow_seq is not None:
            query.overflow_seq = max(query.overflow_seq, first_seq)
            if query.overflow_seq > window.last_seq:
                query.overflow_seq = None  # all of them left by age
        messages = aged_gaps(window, query.sub, query.told_seq + 1, self._metrics, query.shard)
        query.told_seq = first_seq - 1
        return messages

    @abstractmethod
    def _past(self, query: Query, now_us: int) -> list[Message]:
        """Some rows from before the query began to listen; the query moved behind them."""

    def _past_told(
        self,
        query: Query,
        slots: I64,
        scores: F32,
        near: Near | None,
        to_seq: int,
        now_us: int,
    ) -> list[Message]:
        """A push of the rows in ``slots``, which are all up to ``to_seq``; the query behind it."""
        if not len(slots):
            query.told_seq = to_seq
            self._deliveries.look_again(query, now_us)
            return []
        rows, _ = self._rows(query, slots, scores, near, to_seq)
        query.told_seq = rows.to_seq
        return [encode(rows, query.is_binary, query.shard)]

    def _present(self, query: Query) -> list[Message]:
        """Rows that wait, and behind them the gap of those that found no place."""
        window = query.shard.window
        seqs, scores = query.hits.above(query.done_seq)
        near = query.hits.near_of(len(seqs))
        slots = window.state.ring.slots(seqs)
        live = window.state.ring.is_live(slots)
        if query.condition is not None:  # an update may have given a row to somebody else
            live[live] = evaluate(query.condition, window.state.columns, slots[live])
        slots, scores = slots[live], scores[live]
        seen_seq = window.last_seq if query.overflow_seq is None else query.overflow_seq - 1
        messages: list[Message] = []
        if len(slots):
            near = None if near is None else near[live]
            rows, delivered = self._rows(query, slots, scores, near, seen_seq)
            messages.append(encode(rows, query.is_binary, query.shard))
            query.told_seq = query.done_seq = rows.to_seq
            if delivered < len(slots):
                return messages
        if len(seqs):
            query.done_seq = int(seqs[-1])
        if query.overflow_seq is not None:
            messages += self._slow_gap(query, query.overflow_seq, window.last_seq)
            query.overflow_seq = None
        return messages

    def _slow_gap(self, query: Query, from_seq: int, to_seq: int) -> list[Message]:
        """The gap over rows that found no place; the query behind it."""
        self._metrics.gaps += 1
        query.shard.counts.gaps += 1
        query.told_seq = to_seq
        return [gap(query.sub, from_seq, to_seq, "slow", query.shard)]

    def _rows(
        self, query: Query, slots: I64, scores: F32, near: Near | None, to_seq: int
    ) -> tuple[Rows, int]:
        """A push of the first of these rows, as many as fit, and how many those are."""
        window, limits = query.shard.window, self._limits
        count = usual_rows(window.definition, query.include, query.is_binary, limits)
        hits = window.state.hits(slots[:count], query.include)
        if near is not None:
            near = near[:count]
            hits = replace(hits, near=near.tolist() if near.dtype == object else near)
        hits = replace(hits, scores=scores[:count])
        count = len(hits.seqs)
        while True:
            reached = to_seq if count == len(slots) else int(hits.seqs[count - 1])
            rows = Rows(query.sub, self.kind, window.version, reached, part_of(hits, 0, count))
            if count == 1 or encode(rows, query.is_binary, query.shard).size_bytes <= push_bytes(
                limits
            ):
                return rows, count
            count //= 2

    def _broken_silence(self, query: Query, now_us: int) -> list[Message]:
        """An empty push for a reader that has heard nothing of rows gone by for long enough."""
        window = query.shard.window
        if query.is_past or now_us - query.quiet_since_us < SILENCE_US:
            return []
        if query.told_seq >= window.last_seq:
            query.quiet_since_us = now_us
            return []
        query.told_seq = window.last_seq
        rows = Rows(query.sub, self.kind, window.version, query.told_seq, self._nothing())
        return [encode(rows, query.is_binary, query.shard)]

    def _nothing(self) -> Hits:
        """No rows."""
        return no_hits()
