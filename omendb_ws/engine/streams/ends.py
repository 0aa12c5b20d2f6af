"""Streams of all kinds end: one at its reader's wish, and those that nobody reads any more.

Lives on the engine's thread. A connection may leave 10,000 behind, a collection that is dropped
200,000: so many are ended some in each tick, those of a kind and shard together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..model.shard import Shard
from .feeds import Feed, Feeds
from .gathered import GatheredQueries
from .gathered_query import GatheredQuery
from .live import LiveQueries
from .live_query import LiveQuery
from .matches import Matches, MatchQuery
from .novels import NovelQuery, Novels
from .stream import Stream

#: Ended in one tick: 10 µs each at most.
ENDED_AT_ONCE: Final = 256


class Ends:
    """``let_go`` takes streams that are to be ended by ``stop_many``, some in each tick."""

    def __init__(
        self,
        live: LiveQueries,
        gathered: GatheredQueries,
        matches: Matches,
        novels: Novels,
        feeds: Feeds,
        let_go: Callable[[Sequence[Stream]], None],
    ) -> None:
        self._live, self._gathered = live, gathered
        self._matches, self._novels, self._feeds = matches, novels, feeds
        self.let_go = let_go

    def stop(self, stream: Stream) -> None:
        """End a stream of any kind."""
        self.stop_many([stream])

    def stop_many(self, streams: Sequence[Stream]) -> None:
        """End streams of any kind, those that stand over one shard together."""
        live: dict[Shard, list[LiveQuery]] = {}
        matches: dict[Shard, list[MatchQuery]] = {}
        for stream in streams:
            if isinstance(stream, LiveQuery):
                live.setdefault(stream.shard, []).append(stream)
            elif isinstance(stream, GatheredQuery):
                self._gathered.stop(stream)
            elif isinstance(stream, MatchQuery):
                matches.setdefault(stream.shard, []).append(stream)
            elif isinstance(stream, NovelQuery):
                self._novels.stop(stream)
            elif isinstance(stream, Feed):
                self._feeds.stop(stream)
        for queries in live.values():
            self._live.stop_many(queries)
        for matching in matches.values():
            self._matches.stop_many(matching)
        for stream in streams:
            if isinstance(stream, LiveQuery | GatheredQuery | MatchQuery | NovelQuery | Feed):
                stream.give_back()

    def stop_all(self, shard: Shard) -> None:
        """End every stream of a shard that is dropped: where they are many, in ticks to come; they
        are told nothing any more."""
        streams: list[Stream] = [
            *self._feeds.of(shard),
            *self._live.of(shard),
            *self._matches.of(shard),
            *self._novels.of(shard),
        ]
        if len(streams) <= ENDED_AT_ONCE:
            self.stop_many(streams)
        else:
            self.let_go(streams)
