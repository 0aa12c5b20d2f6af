"""What a connection asks of the engine: its lane, the ticket of each request, and the reply.

A *work* goes one way through the engine's queue; an *effect* comes back and is delivered on the
loop's thread, in the order in which effects were made. A ``Command`` answers a request, whose
``Ticket`` it carries. Plain data, with no behaviour but ``deliver``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ...tenants.share import TenantShare
from ...wire.encoded import Message
from .shares import Share


class Counts:
    """What happened to one shard, for its ``stats``; one thread writes each.

    ``engine_us``: what its changes, reads and standing queries took; whoever has the windows.
    """

    __slots__ = ("adds", "engine_us", "errors", "gaps", "merged", "pushes", "searches")

    def __init__(self) -> None:
        self.adds = self.searches = self.pushes = 0
        self.merged = self.gaps = self.errors = 0
        self.engine_us = 0.0

    def rated(self) -> tuple[int, ...]:
        """The counters behind ``metrics.RATES``, in that order."""
        return (self.adds, self.searches, self.pushes, self.merged, self.gaps, self.errors)


class Target(Protocol):
    """What tickets and lanes know of a shard."""

    name: str
    counts: Counts

    @property
    def is_made(self) -> bool:
        """Whether its log is there."""
        ...

    @property
    def parts(self) -> Sequence[Target]:
        """The shards that it is: of one shard itself."""
        ...


class Lane:
    """The order of one connection's requests, and its share of unsent pushes.

    ``queued`` counts the changes handed to the engine (the loop writes it), ``done`` those that it
    is through with (the engine writes it): a read waits for the changes sent before it. ``is_open``
    turns False, on the loop, when the connection is gone; the loop also says whose tenant's its
    ``share`` of the engine's time is.

    The engine's: ``push_bytes``, of pushes made and not yet sent; ``pending``, how many changes
    behind the ``done`` ones are on their way through the log of ``pending_in``; ``parked``, those
    that wait for changes ahead of them (``turns.py``).
    """

    __slots__ = (
        "done",
        "is_open",
        "parked",
        "pending",
        "pending_in",
        "push_bytes",
        "queued",
        "share",
    )

    def __init__(self) -> None:
        self.share = Share(TenantShare())
        self.queued = self.done = 0
        self.is_open = True
        self.push_bytes = 0
        self.pending = 0
        self.pending_in: Target | None = None
        self.parked: deque[Command] = deque()


class Asker(Protocol):
    """Whoever sent a request and gets its reply: a session."""

    lane: Lane

    def answered(self, reply: Reply) -> None:
        """The reply to one of its requests. On the loop's thread."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One accepted request.

    ``after``: how many changes of its connection it follows. ``arrival_us``: when its bytes
    came, ``late_us`` before they were looked at. ``reply_bytes``: about as much as its
    reply may take. ``max_reply_bytes`` is the limit on a message. ``then`` is called on the loop's
    thread once the reply is queued, with whether it was an ``ok``. ``is_part``: it is what one
    shard of several does of a request, and its reply a ``PartReply``.
    """

    asker: Asker
    id: int
    op: str
    shard: Target | None
    arrival_us: int
    request_bytes: int
    reply_bytes: int
    max_reply_bytes: int
    after: int
    late_us: int = 0
    then: Callable[[bool], None] | None = None
    is_part: bool = False

    def took(self, us: float) -> None:
        """Some of the engine's time went to it."""
        if self.shard is not None:
            self.shard.counts.engine_us += us


class Effect(Protocol):
    """What a tick leads to on the loop's thread."""

    def deliver(self) -> None:
        """Do it."""


@dataclass(slots=True, eq=False)
class Reply:
    """Effect: the reply to a request. ``error``: the code of the protocol, if it is one."""

    ticket: Ticket
    message: Message
    error: str | None = None
    queries: int = 0

    def deliver(self) -> None:
        """Give the reply to whoever asked."""
        self.ticket.asker.answered(self)


#: What a part says is a value.
_NO_MESSAGE: Final = Message((), True)


@dataclass(slots=True, eq=False)
class PartReply(Reply):
    """Effect: what one shard says of a request, as a value that nobody has written; an OmenError
    where it is refused."""

    message: Message = _NO_MESSAGE
    value: Any = None


@dataclass(slots=True, eq=False)
class Command:
    """A work that answers a request."""

    ticket: Ticket
