"""What a stream is, to whoever has it told, and what is told: a push, or those of many together.

Lives on the engine's thread; ``Push.deliver`` runs on the loop's, and ``went_out``. A *stream* is
the engine's side of one subscription.

A *maker* knows what a kind of stream says; it makes the pushes of many streams at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

from omendb_core.model.budget import Budget
from omendb_core.model.types import Include

from ...wire.encoded import Messages, Pushed, each
from ..model.shard import Shard
from ..model.sharded import Sharded
from ..model.ticket import Lane


class Reader(Protocol):
    """Who reads a stream: a subscription, on the loop's thread, by its ``sub`` and connection."""

    lane: Lane
    sub: int

    @property
    def hears(self) -> bool:
        """Whether it is still told anything."""
        ...

    def pushed(self, push: Push) -> None:
        """Queue a push for the socket."""

    def sent(self, push: Push) -> None:
        """The socket took it."""


#: What one stream has to say; or what some of one connection have, a message each.
Said: TypeAlias = "tuple[Stream | list[Stream], Sequence[Messages]]"


class Maker(Protocol):
    """Makes what streams of one kind say.

    What it yields counts as said. A fault leaves the others as if they had not been looked at.
    """

    def make(self, streams: Sequence[Any], now_us: int) -> Iterable[Said]:
        """What each of ``streams`` has to say now; one with nothing to say is left out."""


class Stream:
    """One subscription as the engine has it. ``Deliveries`` owns what is not set here at once.

    ``usual_bytes``: about as much as one push takes. ``behind_since_us``: the arrival of the oldest
    change that its reader was not told of. ``due_us``: when it is looked at again unasked.
    """

    __slots__ = (
        "_budget", "_reserved_bytes", "behind_since_us", "due_us", "has_unsent", "include",
        "is_active", "is_binary", "lane", "maker", "reader", "shard", "sub", "usual_bytes",
    )  # fmt: skip

    #: Of a live query over several shards all of them.
    shard: Shard | Sharded

    def __init__(
        self,
        maker: Maker,
        reader: Reader,
        shard: Shard | Sharded,
        is_binary: bool,
        include: Include,
        usual_bytes: int,
    ) -> None:
        self.maker = maker
        self.reader = reader
        self.lane = reader.lane
        self.sub = reader.sub
        self.shard = shard
        self.is_binary = is_binary
        self.include = include
        self.usual_bytes = usual_bytes
        self.has_unsent = self.is_active = False
        self.behind_since_us: int | None = None
        self.due_us: int | None = None
        self._budget: Budget | None = None
        self._reserved_bytes = 0

    def hold(self, budget: Budget, reserved_bytes: int) -> None:
        """Bytes were taken for it, and are given back when the engine lets go of it."""
        self._budget, self._reserved_bytes = budget, reserved_bytes

    def give_back(self) -> None:
        """Its query is gone, and with it what was taken for it."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.give_back(self._reserved_bytes)

    @property
    def expected_bytes(self) -> int:
        """About as much as its next push takes."""
        return self.usual_bytes

    #: Whether it tells of lists, which do not follow their window at once.
    is_of_lists: ClassVar = False

    @property
    def has_more(self) -> bool:
        """Whether, its push taken, it may have something to say right away."""
        return True


@dataclass(slots=True, eq=False)
class Push(Pushed):
    """Effect: messages of one stream, in order, that count as one push."""

    stream: Stream
    arrival_us: int | None

    @property
    def maker(self) -> object:
        """See ``Pushed.maker``."""
        return self.stream.reader

    def deliver(self) -> None:
        """Queue them for the socket."""
        self.stream.reader.pushed(self)

    def went_out(self) -> None:
        """See ``Pushed``."""
        self.stream.reader.sent(self)

    def of(self) -> Sequence[Stream]:
        """Whose it is."""
        return (self.stream,)


@dataclass(slots=True, eq=False)
class Bundle(Push):
    """Effect: a message each of several streams of one connection, which go out together."""

    streams: Sequence[Stream]
    arrivals_us: Sequence[int | None]
    #: Where it had to be taken apart: what is not delivered of it.
    _left: deque[Push] | None = field(default=None)

    @property
    def in_runs(self) -> int:
        """See ``Pushed.in_runs``."""
        return len(self.streams) - len(self.messages)

    def of(self) -> Sequence[Stream]:
        """Whose they are."""
        return self.streams

    def apart(self) -> Sequence[Push]:
        """See ``Pushed.apart``."""
        return [
            Push((message,), message.size_bytes, stream, arrival_us)
            for stream, message, arrival_us in zip(
                self.streams, each(self.messages), self.arrivals_us, strict=True
            )
        ]

    def deliver(self) -> None:
        """Queue them for the socket; those of subscriptions that have ended are for nobody."""
        if self._left is None and all(stream.reader.hears for stream in self.streams):
            Push.deliver(self)
            return
        self._left = deque(self.apart()) if self._left is None else self._left
        while self._left:
            self._left[0].deliver()
            self._left.popleft()
