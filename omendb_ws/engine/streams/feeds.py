"""Feeds: readers of a window's stream, each a cursor and never a queue.

Lives on the engine's thread. The next push of a feed is built when the socket took the one before,
from whatever the window holds then; what left the window before it came is a stated gap (PROTOCOL
section 6). Feeds that stand at the same row and ask for the same share one encoded body.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from omendb_core.filters.parser import Filter
from omendb_core.model.budget import Share
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import Include, no_hits

from ...telemetry.metrics import Metrics
from ...wire.encoded import Message
from ...wire.messages import Rows
from ...wire.opcodes import PUSH_BYTES, Limits
from ..model.rows import (
    SILENCE_US,
    aged_gaps,
    encode,
    push_bytes,
    refuse_rows_over_a_push,
    room_bytes,
    usual_rows,
)
from ..model.shard import Shard
from ..model.shares import Shares
from .deliveries import Deliveries, Maker, Reader, Stream, forget
from .telling import Telling

#: What a feed takes with its subscription, its filter not counted: by how a server's memory grows
#: with 3,000 of them.
FEED_BYTES: Final = 600


class Feed(Stream):
    """One reader's place in a stream. Only ``Feeds`` changes it.

    ``next_seq`` is the first row it has not looked at, ``told_seq`` how far its reader knows,
    ``quiet_since_us`` when it was last told something or fell behind, and ``share`` its part of the
    budget.
    """

    __slots__ = ("filter", "next_seq", "quiet_since_us", "share", "told_seq")

    shard: Shard

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        shard: Shard,
        is_binary: bool,
        include: Include,
        filter_: Filter | None,
        share: Share,
    ) -> None:
        super().__init__(maker, reader, shard, is_binary, include, PUSH_BYTES)
        self.filter = filter_
        self.share = share
        self.next_seq = self.told_seq = 0
        self.quiet_since_us: int | None = None

    @property
    def standpoint(self) -> tuple[object, ...]:
        """Feeds of one shard that are equal in this get the same rows in the same form."""
        canonical = self.filter.canonical if self.filter is not None else None
        version = self.shard.window.version
        return (self.shard, version, self.next_seq, canonical, self.include, self.is_binary)


class _Part(NamedTuple):
    """What feeds of one standpoint share: rows up to ``to_seq`` as a message for any ``sub``."""

    message: Message
    rows: int
    to_seq: int


class Feeds:
    """All feeds of the server."""

    def __init__(
        self,
        metrics: Metrics,
        limits: Limits,
        deliveries: Deliveries,
        shares: Shares,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._feeds: dict[Shard, dict[Feed, None]] = {}
        self.telling: Telling[Feed] = Telling(self.of, self._tell, shares, clock_ns)
        self._metrics = metrics
        self._limits = limits
        self._deliveries = deliveries
        self._shared: dict[tuple[object, ...], _Part] = {}
        self._shared_at_us = 0

    def of(self, shard: Shard) -> list[Feed]:
        """The feeds of a shard."""
        return list(self._feeds.get(shard, ()))

    def standing(self, shard: Shard) -> Collection[Feed]:
        """See ``owners.Registry``."""
        return self._feeds.get(shard, {}).keys()

    def start(self, feed: Feed, from_seq: int | None) -> dict[str, Any]:
        """Begin delivery; the ``ok`` of the subscription. BadRequest, TooLarge."""
        shard = feed.shard
        window = shard.window
        from_seq = first_of(window.last_seq, from_seq)
        refuse_rows_over_a_push(window.definition, feed.include, feed.is_binary, self._limits)
        feed.next_seq = from_seq
        feed.told_seq = from_seq - 1
        feed.is_active = True
        self._feeds.setdefault(shard, {})[feed] = None
        if from_seq <= window.last_seq:
            self._deliveries.ready(feed)
        return {
            "sub": feed.sub,
            "epoch": shard.epoch,
            "version": window.version,
            "to_seq": feed.told_seq,
        }

    def stop(self, feed: Feed) -> None:
        """End a feed."""
        self._deliveries.stop(feed)
        forget(self._feeds, feed.shard, feed)
        if feed.shard not in self._feeds:
            self.telling.forget(feed.shard)
        feed.filter = None
        feed.share.close()

    def changed(self, shard: Shard, arrival_us: int) -> None:
        """Rows came in; ``arrival_us`` is when the first of them arrived. Once a tick."""
        if shard in self._feeds:
            self.telling.changed(shard, arrival_us)

    def _tell(self, shard: Shard, feeds: Sequence[Feed], arrival_us: int) -> None:
        """Those that have looked at all rows were told more than that meanwhile."""
        last_seq, ready, merged = shard.window.last_seq, self._deliveries.ready, 0
        for feed in feeds:
            if feed.next_seq <= last_seq and not ready(feed, arrival_us):
                merged += 1
        self._metrics.merged_pushes += merged
        shard.counts.merged += merged

    def make(self, streams: Sequence[Feed], now_us: int) -> Iterable[tuple[Stream, list[Message]]]:
        """See ``deliveries.Maker``."""
        if now_us != self._shared_at_us:
            self._shared.clear()
            self._shared_at_us = now_us
        for feed in streams:
            place = feed.next_seq, feed.told_seq
            try:
                messages = self._gaps(feed) + self._rows(feed, now_us)
                messages = messages or self._broken_silence(feed, now_us)
            except Exception:
                feed.next_seq, feed.told_seq = place
                raise
            if messages:
                feed.quiet_since_us = None
                yield feed, messages

    def _gaps(self, feed: Feed) -> list[Message]:
        """The gaps that a feed stands before, and the feed moved behind them."""
        window = feed.shard.window
        messages = aged_gaps(window, feed.sub, feed.next_seq, self._metrics, feed.shard)
        if messages:
            feed.next_seq = window.first_seq
            feed.told_seq = feed.next_seq - 1
        return messages

    def _rows(self, feed: Feed, now_us: int) -> list[Message]:
        """The next rows of a feed, and the feed moved behind them; nothing if there are none."""
        window = feed.shard.window
        if feed.next_seq > window.last_seq:
            return []
        standpoint = feed.standpoint
        part = self._shared.get(standpoint)
        if part is None:
            part = self._shared[standpoint] = self._read(feed)
        feed.next_seq = part.to_seq + 1
        if not part.rows:
            if feed.next_seq <= window.last_seq:
                self._deliveries.look_again(feed, now_us)
            return []
        feed.told_seq = part.to_seq
        return [_readdressed(part.message, feed)]

    def _read(self, feed: Feed) -> _Part:
        window, include, limits = feed.shard.window, feed.include, self._limits
        max_rows = usual_rows(window.definition, include, feed.is_binary, limits)
        room = room_bytes(include, feed.is_binary, limits)
        while True:
            hits, to_seq = window.read(feed.next_seq, max_rows, room, feed.filter, include)
            message = encode(
                Rows(0, "feed", window.version, to_seq, hits), feed.is_binary, feed.shard
            )
            count = len(hits.seqs)
            if message.size_bytes <= push_bytes(limits) or count <= 1:
                return _Part(message, count, to_seq)
            max_rows = count // 2

    def _broken_silence(self, feed: Feed, now_us: int) -> list[Message]:
        """An empty push for a reader that has heard nothing of rows gone by for long enough."""
        if feed.told_seq >= feed.next_seq - 1:
            return []
        if feed.quiet_since_us is None:
            feed.quiet_since_us = now_us
        if now_us - feed.quiet_since_us < SILENCE_US:
            self._deliveries.look_again(feed, feed.quiet_since_us + SILENCE_US)
            return []
        feed.told_seq = feed.next_seq - 1
        version = feed.shard.window.version
        rows = Rows(feed.sub, "feed", version, feed.told_seq, no_hits())
        return [encode(rows, feed.is_binary, feed.shard)]


def first_of(last_seq: int, from_seq: int | None) -> int:
    """Where delivery begins: ``from_seq``, or the next row. BadRequest beyond that."""
    if from_seq is None:
        return last_seq + 1
    if from_seq > last_seq + 1:
        raise BadRequest(f"from_seq: {from_seq} is beyond the next row, {last_seq + 1}")
    return from_seq


_JSON_HEAD: Final = b'{"event":"feed","sub":0,'


def _readdressed(message: Message, feed: Feed) -> Message:
    """``message``, which was made for sub 0, for ``feed``; the body is shared, not copied."""
    data = message.data
    if message.is_text:
        head = b'{"event":"feed","sub":%d,' % feed.sub
        return Message((head, memoryview(data)[len(_JSON_HEAD) :]), True)
    head = data[:4] + feed.sub.to_bytes(4, "little")
    return Message((head, memoryview(data)[8:]), False)
