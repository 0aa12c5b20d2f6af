"""Match queries that heard of nothing: a connection's hear together how far their window is.

Lives on the engine's thread. Each must hear every few seconds (PROTOCOL section 6), and of 100,000
queries most have nothing else to be told. So they are not looked at each by itself, but by
*circles*: the queries of one connection and collection. A circle is a stream among others, which is
due every ``EVERY_US``, and what it says is one bundle: 1 µs for each query instead of 24.

Invariant: a query that lags hears after ``EVERY_US`` and ``LEAST_QUIET_US`` at the latest, unless
its reader has not taken what it was told before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from omendb_core.model.types import Include

from ...wire.encoded import Messages
from ...wire.rows_together import silent
from ..model.shard import Shard
from ..model.ticket import Lane
from .deliveries import Deliveries
from .queues import QueueStream
from .stream import Push, Said, Stream

#: Together 0.75 s less than PROTOCOL allows: circles that are due at once take some time.
EVERY_US: Final = 4_000_000
LEAST_QUIET_US: Final = 250_000
#: Queries that are told in one go, half a millisecond; and what a group of streams that are told
#: together takes it for, so that four circles are a group.
AT_ONCE: Final = 512
_EXPECTED_BYTES: Final = 256 << 10


@dataclass(slots=True, eq=False)
class Place:
    """Whose circle it is; ``sub``: of a stream there must be one, and nothing is told of it."""

    lane: Lane
    sub: int = 0

    @property
    def hears(self) -> bool:
        """Nobody is told by a circle itself."""
        return False

    def pushed(self, push: Push) -> None:
        """See ``hears``."""

    def sent(self, push: Push) -> None:
        """See ``hears``."""


class Circle(Stream):
    """The queries of one connection and collection; ``left``: those that are still to be looked at
    this time."""

    __slots__ = ("left", "queries")

    is_of_lists = True
    shard: Shard

    def __init__(self, maker: Silence, lane: Lane, shard: Shard, is_binary: bool) -> None:
        super().__init__(maker, Place(lane), shard, is_binary, Include(), _EXPECTED_BYTES)
        self.queries: dict[QueueStream, None] = {}
        self.left: list[QueueStream] = []


class Silence:
    """All circles of the server."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._circles: dict[tuple[Lane, Shard, bool], Circle] = {}

    def __len__(self) -> int:
        return len(self._circles)

    def enter(self, query: QueueStream, now_us: int) -> None:
        """A query begins."""
        key = query.lane, query.shard, query.is_binary
        circle = self._circles.get(key)
        if circle is None:
            circle = self._circles[key] = Circle(self, *key)
            circle.is_active = True
            self._deliveries.look_again(circle, now_us + EVERY_US)
        circle.queries[query] = None

    def leave(self, query: QueueStream) -> None:
        """It ends."""
        key = query.lane, query.shard, query.is_binary
        circle = self._circles.get(key)
        if circle is None:
            return
        circle.queries.pop(query, None)
        if not circle.queries:
            self._deliveries.stop(circle)
            circle.left.clear()
            del self._circles[key]

    def make(self, streams: Sequence[Circle], now_us: int) -> Iterable[Said]:
        """See ``deliveries.Maker``."""
        for circle in streams:
            if not circle.left:
                circle.left = list(circle.queries)
            some = circle.left[-AT_ONCE:]
            window = circle.shard.window
            quiet = _quiet(some, window.last_seq, now_us - LEAST_QUIET_US)
            if quiet:
                subs = [query.sub for query in quiet]
                said: list[Messages]
                said = silent(subs, window.version, window.last_seq, circle.is_binary)
                for query in quiet:
                    query.told_seq = window.last_seq
                    query.quiet_since_us = now_us
                whose: list[Stream] = [*quiet]
                yield whose, said
            del circle.left[-AT_ONCE:]
            self._deliveries.look_again(circle, now_us if circle.left else now_us + EVERY_US)


def _quiet(queries: Sequence[QueueStream], last_seq: int, until_us: int) -> list[QueueStream]:
    """Those that lag and heard of nothing since then; who has something to say is not quiet."""
    return [
        query
        for query in queries
        if query.told_seq < last_seq
        and query.quiet_since_us <= until_us
        and not query.has_unsent
        and query.is_active
        and not len(query.hits)
        and query.is_plain
    ]
