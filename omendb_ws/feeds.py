"""Feeds: readers of a window's stream, each a cursor and never a queue.

Lives on the engine's thread; ``FeedPush.deliver`` runs on the loop's. A feed has at most one
unsent push: the next one is built when the socket took it, from whatever the window holds then. So
a slow reader costs the cursor and one push, and what left the window before it came is a stated
gap (PROTOCOL section 6). All feeds of one connection together hold at most ``max_pending_bytes``
of pushes (or one push); the others of that connection wait their turn.

Feeds that stand at the same row and ask for the same share one encoded body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from omendb_core.errors import BadRequest, TooLarge
from omendb_core.filters import Filter
from omendb_core.types import Include, no_hits

from . import sizes
from .faults import as_error
from .metrics import Metrics
from .outbox import Message, binary, text
from .wire import binary as binary_wire
from .wire import text as text_wire
from .wire.messages import Rows
from .wire.opcodes import PUSH_BYTES, Limits
from .work import Lane

if TYPE_CHECKING:
    from .catalog import Collection

#: A feed that lags behind with nothing to deliver says so after this long (at most 5 s).
SILENCE_US: Final = 3_000_000
#: How much one tick builds before searches get their turn again.
TICK_PUSH_BYTES: Final = 4 << 20
TICK_PUSHES: Final = 1000


class Reader(Protocol):
    """Who reads a feed: a subscription, on the loop's thread."""

    def pushed(self, push: FeedPush) -> None:
        """Queue a push for the socket."""


class Feed:
    """One reader's place in a stream. Only ``Feeds`` changes it.

    ``next_seq`` is the first row it has not looked at, ``told_seq`` how far its reader knows.
    ``behind_since_us``: the arrival of the oldest change it has not taken. ``is_active`` from the
    subscription's reply to its end.
    """

    __slots__ = (
        "behind_since_us", "collection", "filter", "has_unsent", "include", "is_active",
        "is_binary", "lane", "next_seq", "reader", "sub", "told_seq",
    )  # fmt: skip

    def __init__(
        self,
        lane: Lane,
        collection: Collection,
        sub: int,
        filter_: Filter | None,
        include: Include,
        is_binary: bool,
        reader: Reader,
    ) -> None:
        self.lane = lane
        self.collection = collection
        self.sub = sub
        self.filter = filter_
        self.include = include
        self.is_binary = is_binary
        self.reader = reader
        self.next_seq = self.told_seq = 0
        self.has_unsent = False
        self.is_active = False
        self.behind_since_us: int | None = None

    @property
    def standpoint(self) -> tuple[object, ...]:
        """Feeds of one collection that are equal in this get the same rows in the same form."""
        canonical = self.filter.canonical if self.filter is not None else None
        return (self.collection, self.next_seq, canonical, self.include, self.is_binary)


@dataclass(slots=True, eq=False)
class FeedPush:
    """Effect: messages of one feed, in order, that count as one push."""

    feed: Feed
    messages: list[Message]
    size_bytes: int
    arrival_us: int | None

    def deliver(self) -> None:
        """Queue them for the socket."""
        self.feed.reader.pushed(self)


class _Part(NamedTuple):
    """What feeds of one standpoint share: rows up to ``to_seq`` as a message for any ``sub``."""

    message: Message
    rows: int
    to_seq: int


class Feeds:
    """All feeds of the server."""

    def __init__(self, metrics: Metrics, limits: Limits) -> None:
        self._metrics = metrics
        self._limits = limits
        self._push_bytes = min(PUSH_BYTES, limits.max_message_bytes)
        self._pending: dict[Feed, None] = {}
        self._starved: dict[Lane, dict[Feed, None]] = {}
        # Oldest first, because silence begins now.
        self._silent: dict[Feed, int] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a push could be built right now."""
        return bool(self._pending)

    @property
    def is_silent(self) -> bool:
        """Whether some feed may soon owe its reader an empty push."""
        return bool(self._silent)

    def start(self, feed: Feed, from_seq: int | None) -> dict[str, Any]:
        """Begin delivery; the ``ok`` of the subscription. BadRequest, TooLarge."""
        collection = feed.collection
        window = collection.window
        if from_seq is None:
            from_seq = window.last_seq + 1
        elif from_seq > window.last_seq + 1:
            raise BadRequest(f"from_seq: {from_seq} is beyond the next row, {window.last_seq + 1}")
        self._refuse_rows_over_a_push(feed)
        feed.next_seq = from_seq
        feed.told_seq = from_seq - 1
        feed.is_active = True
        collection.feeds[feed] = None
        if from_seq <= window.last_seq:
            self._pending[feed] = None
        return {
            "sub": feed.sub,
            "epoch": collection.epoch,
            "version": window.version,
            "to_seq": feed.told_seq,
        }

    def _refuse_rows_over_a_push(self, feed: Feed) -> None:
        definition = feed.collection.definition
        most = sizes.most_row_bytes(
            definition, feed.include, feed.is_binary, self._limits.max_metadata_bytes
        )
        if most + sizes.ENVELOPE_BYTES > self._push_bytes:
            raise TooLarge(f"include: a push of one row may take {most} bytes, over the limit")

    def stop(self, feed: Feed) -> None:
        """End a feed; what is unsent of it still counts until it is sent."""
        feed.is_active = False
        feed.collection.feeds.pop(feed, None)
        self._pending.pop(feed, None)
        self._silent.pop(feed, None)
        starved = self._starved.get(feed.lane)
        if starved is not None:
            starved.pop(feed, None)
            if not starved:
                del self._starved[feed.lane]

    def stop_all(self, collection: Collection) -> None:
        """End every feed of a collection."""
        for feed in list(collection.feeds):
            self.stop(feed)

    def changed(self, collection: Collection, arrival_us: int) -> None:
        """Rows came in; ``arrival_us`` is when the first of them arrived. Once a tick."""
        for feed in collection.feeds:
            if feed.behind_since_us is None:
                feed.behind_since_us = arrival_us
            if feed.has_unsent:
                self._metrics.feed_merged += 1
                collection.counts.merged += 1
            else:
                self._pending[feed] = None

    def sent(self, push: FeedPush) -> None:
        """The socket took a push: its feed may have another, and others of its connection too."""
        feed = push.feed
        feed.lane.push_bytes -= push.size_bytes
        feed.has_unsent = False
        if feed.is_active and feed.next_seq <= feed.collection.window.last_seq:
            self._pending[feed] = None
        for starved in self._starved.pop(feed.lane, ()):
            self._pending[starved] = None

    def push(self, now_us: int) -> list[FeedPush]:
        """What can be delivered now, as far as one tick goes."""
        pushes: list[FeedPush] = []
        shared: dict[tuple[object, ...], _Part] = {}
        built_bytes = 0
        for feed in list(self._pending):
            if built_bytes >= TICK_PUSH_BYTES or len(pushes) >= TICK_PUSHES:
                break
            del self._pending[feed]
            if feed.lane.push_bytes >= self._limits.max_pending_bytes:
                self._starved.setdefault(feed.lane, {})[feed] = None
                continue
            try:
                push = self._next(feed, shared)
            except Exception as error:  # the next change tries again
                self._metrics.faults += 1
                as_error(error, "a feed's push")
                continue
            if push is not None:
                pushes.append(push)
                built_bytes += push.size_bytes
            if feed.told_seq < feed.next_seq - 1:
                self._silent.setdefault(feed, now_us)
        return pushes + self._break_silence(now_us)

    def _next(self, feed: Feed, shared: dict[tuple[object, ...], _Part]) -> FeedPush | None:
        messages = self._gaps(feed) + self._rows(feed, shared)
        return self._hand_out(feed, messages) if messages else None

    def _break_silence(self, now_us: int) -> list[FeedPush]:
        pushes: list[FeedPush] = []
        for feed, since_us in list(self._silent.items()):
            if now_us - since_us < SILENCE_US or len(pushes) >= TICK_PUSHES:
                break
            if feed.has_unsent or feed.lane.push_bytes >= self._limits.max_pending_bytes:
                continue
            feed.told_seq = feed.next_seq - 1
            rows = Rows(feed.sub, "feed", feed.collection.window.version, feed.told_seq, no_hits())
            pushes.append(self._hand_out(feed, [_encode(rows, feed.is_binary)]))
        return pushes

    def _hand_out(self, feed: Feed, messages: list[Message]) -> FeedPush:
        self._silent.pop(feed, None)
        size_bytes = sum(message.size_bytes for message in messages)
        feed.has_unsent = True
        feed.lane.push_bytes += size_bytes
        push = FeedPush(feed, messages, size_bytes, feed.behind_since_us)
        if feed.next_seq > feed.collection.window.last_seq:
            feed.behind_since_us = None
        return push

    def _gaps(self, feed: Feed) -> list[Message]:
        """The gaps that a feed stands before, and the feed moved behind them."""
        window = feed.collection.window
        messages = []
        evicted_to = window.last_seq - window.definition.capacity
        for reason, to_seq in (("evicted", evicted_to), ("expired", window.first_seq - 1)):
            if to_seq < feed.next_seq:
                continue
            gap = {"sub": feed.sub, "from_seq": feed.next_seq, "to_seq": to_seq, "reason": reason}
            messages.append(text(text_wire.encode_event("gap", gap)))
            feed.next_seq = to_seq + 1
            feed.told_seq = to_seq
            self._metrics.gaps += 1
            feed.collection.counts.gaps += 1
        return messages

    def _rows(self, feed: Feed, shared: dict[tuple[object, ...], _Part]) -> list[Message]:
        """The next rows of a feed, and the feed moved behind them; nothing if there are none."""
        window = feed.collection.window
        if feed.next_seq > window.last_seq:
            return []
        standpoint = feed.standpoint
        part = shared.get(standpoint)
        if part is None:
            part = shared[standpoint] = self._read(feed)
        feed.next_seq = part.to_seq + 1
        if feed.next_seq <= window.last_seq and not part.rows:
            self._pending[feed] = None
        if not part.rows:
            return []
        feed.told_seq = part.to_seq
        return [_readdressed(part.message, feed)]

    def _read(self, feed: Feed) -> _Part:
        window = feed.collection.window
        row_bytes = sizes.usual_row_bytes(window.definition, feed.include, feed.is_binary)
        room_bytes = (self._push_bytes - sizes.ENVELOPE_BYTES) // (1 + feed.include.metadata)
        max_rows = max(1, room_bytes // row_bytes)
        while True:
            hits, to_seq = window.read(
                feed.next_seq, max_rows, room_bytes, feed.filter, feed.include
            )
            rows = Rows(0, "feed", window.version, to_seq, hits)
            message = _encode(rows, feed.is_binary)
            count = len(hits.seqs)
            if message.size_bytes <= self._push_bytes or count <= 1:
                return _Part(message, count, to_seq)
            max_rows = count // 2


def _encode(rows: Rows, is_binary: bool) -> Message:
    if is_binary:
        return binary(binary_wire.encode_rows(rows))
    return text(text_wire.encode_rows(rows))


_JSON_HEAD: Final = b'{"event":"feed","sub":0,'


def _readdressed(message: Message, feed: Feed) -> Message:
    """``message``, which was made for sub 0, for ``feed``; the body is shared, not copied."""
    data = message.data
    if message.is_text:
        head = b'{"event":"feed","sub":%d,' % feed.sub
        return Message((head, memoryview(data)[len(_JSON_HEAD) :]), True)
    head = data[:4] + feed.sub.to_bytes(4, "little")
    return Message((head, memoryview(data)[8:]), False)
