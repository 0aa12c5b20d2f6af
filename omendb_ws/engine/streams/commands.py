"""Subscriptions as the engine is asked for them, and what their readers took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from omendb_core.filters.parser import Filter
from omendb_core.model.types import F32, Ids
from omendb_core.search.query import Examples

from ..model.commands import Change, Read, Signal
from ..model.shard import Shard
from ..model.sharded import Sharded
from ..model.ticket import Lane
from .deliveries import Push, Stream
from .feeds import Feed
from .gathered_query import GatheredQuery, PartQuery
from .live_query import LiveQuery
from .matches import MatchQuery
from .novels import NovelQuery


class Watcher(Protocol):
    """A subscription to statistics, or to a map."""

    def reply(self, shard: Shard) -> dict[str, Any]:
        """The ``ok`` of its subscribe; on the thread that holds the window."""
        ...


class Measurer(Protocol):
    """A subscription to the statistics of a shard."""

    visible: Filter | None

    @property
    def shard(self) -> Shard | Sharded | None:
        """Whose statistics."""
        ...

    def measured(self, stats: dict[str, Any] | None) -> None:
        """The engine's numbers of this moment; None: a fault came between."""


@dataclass(slots=True, eq=False)
class _Standing(Read):
    """A read whose order is that of a subscription's stream."""

    shard: Shard


@dataclass(slots=True, eq=False)
class Follow(Change):
    """Start a feed, at ``from_seq`` or with the next row."""

    feed: Feed
    from_seq: int | None


@dataclass(slots=True, eq=False)
class Watch(Change):
    """Answer the subscription to a collection's statistics, or to a map of it."""

    subscription: Watcher


@dataclass(slots=True, eq=False)
class Unfollow(Change):
    """End a feed at its reader's wish; None for other kinds, which hold nothing in the engine."""

    feed: Feed | None


@dataclass(frozen=True, slots=True)
class SameAs:
    """What another live query of the shard is near to."""

    query: LiveQuery


#: What live queries are near to: a vector each float32 (n, dim), or examples, of one query.
Target: TypeAlias = F32 | Examples | SameAs


@dataclass(slots=True, eq=False)
class Live(_Standing):
    """Begin live queries at their target; ``is_binary``: asked by SUBSCRIBE."""

    queries: list[LiveQuery]
    target: Target
    is_binary: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What a move changes: the ``target``, with the ids of ``examples`` (None: it is a vector), and
    the ids ``given`` to be left out, where they are not None; what ``asked`` names of the query.
    """

    target: Target | None
    examples: Ids | None
    given: Ids | None
    asked: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Move(_Standing):
    """Have a live query ask something else."""

    query: LiveQuery
    changes: Changes
    is_binary: bool


@dataclass(slots=True, eq=False)
class Together(Read):
    """Tell what live queries over several shards answer, whose ``parts`` have begun, and go on;
    ``moves``: they take the place of those of its one query. ``is_binary``: asked by SUBSCRIBE or
    MOVE."""

    shard: Sharded
    queries: Sequence[GatheredQuery]
    parts: Sequence[Sequence[PartQuery]]
    moves: bool
    is_binary: bool


@dataclass(slots=True, eq=False)
class Match(_Standing):
    """Begin match queries, at ``from_seq`` or with the next row; ``vectors`` float32 (n, dim), one
    for each. ``is_binary``: asked by SUBSCRIBE, without ``from_seq``."""

    queries: list[MatchQuery]
    vectors: F32
    from_seq: int | None
    is_binary: bool


@dataclass(slots=True, eq=False)
class Novel(_Standing):
    """Begin a novel query, at ``from_seq`` or with the next row."""

    query: NovelQuery
    from_seq: int | None


@dataclass(slots=True, eq=False)
class Leave(Read):
    """End a live, match or novel query at its reader's wish."""

    shard: Shard | Sharded
    stream: Stream


#: Commands about standing queries.
Standing: TypeAlias = Live | Move | Together | Match | Novel | Leave


@dataclass(slots=True, eq=False)
class Sent(Signal):
    """Pushes went out to the socket; ``take`` calls what it is given with each of them."""

    take: Callable[[Callable[[Push], None]], None]


@dataclass(slots=True, eq=False)
class Measure(Signal):
    """Say the numbers of a collection for a push of ``stats``."""

    lane: Lane
    subscription: Measurer


@dataclass(slots=True, eq=False)
class Gone(Signal):
    """Nobody reads this stream any more."""

    stream: Stream


@dataclass(slots=True, eq=False)
class Measured:
    """Effect: the numbers that a subscription asked for."""

    subscription: Measurer
    stats: dict[str, Any] | None

    def deliver(self) -> None:
        """Hand them over."""
        self.subscription.measured(self.stats)
