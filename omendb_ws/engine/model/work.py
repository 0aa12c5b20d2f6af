"""What the loop's thread asks of the engine's thread, and what comes back.

Plain data, with no behaviour but ``deliver``. A *work* goes one way through the engine's queue;
an *effect* comes back and is delivered on the loop's thread, in the order in which effects were
made. A work that answers a request carries that request's ``Ticket``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from omendb_core.filters.parser import Filter
from omendb_core.model.change import AddRequest, UpdateRequest
from omendb_core.model.errors import OmenError
from omendb_core.model.types import F32, Ids, Include
from omendb_core.search.query import Query

from ...runtime.faults import as_error
from ...sessions.outbox import Message
from ...wire import searches as wire
from ..streams.drawing import Draw, Look

if TYPE_CHECKING:
    from ...catalog.catalog import Catalog, Collection
    from ...catalog.held import HeldNames
    from ...journal.interface import Log
    from ...journal.interface import Stored as StoredCollection
    from ...sessions.subscriptions.maps import MapSubscription
    from ...sessions.subscriptions.subscription import StatsSubscription, Subscription
    from ..streams.deliveries import Stream
    from ..streams.feeds import Feed
    from ..streams.live import LiveQuery
    from ..streams.matches import MatchQuery
    from .pending import Flight

#: Subscriptions of a collection that end in one turn of the loop: 13 µs each, as readers are told.
TOLD_AT_ONCE: Final = 128


class Lane:
    """The order of one connection's requests, and its share of unsent pushes.

    ``queued`` counts the changes handed to the engine (the loop writes it), ``done`` those that it
    is through with (the engine writes it): a read waits for the changes sent before it. ``is_open``
    turns False, on the loop, when the connection is gone.

    The engine's: ``push_bytes``, of pushes made and not yet sent; ``flying``, how many changes
    behind the ``done`` ones are on their way through the log of ``flying_in``; ``parked``, those
    that wait for changes ahead of them (``turns.py``).
    """

    __slots__ = ("done", "flying", "flying_in", "is_open", "parked", "push_bytes", "queued")

    def __init__(self) -> None:
        self.queued = self.done = 0
        self.is_open = True
        self.push_bytes = 0
        self.flying = 0
        self.flying_in: Collection | None = None
        self.parked: deque[Change] = deque()


class Asker(Protocol):
    """Whoever sent a request and gets its reply: a session."""

    lane: Lane

    def answered(self, answer: Answer) -> None:
        """The reply to one of its requests. On the loop's thread."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One accepted request.

    ``after``: how many changes of its connection it follows. ``reply_bytes``: about as much as its
    reply may take. ``max_reply_bytes`` is the limit on a message. ``then`` is called on the loop's
    thread once the reply is queued, with whether it was an ``ok``.
    """

    asker: Asker
    id: int
    op: str
    collection: Collection | None
    arrival_us: int
    request_bytes: int
    reply_bytes: int
    max_reply_bytes: int
    after: int
    then: Callable[[bool], None] | None = None


@dataclass(slots=True, eq=False)
class Answer:
    """Effect: the reply to a request. ``error``: the code of the protocol, if it is one."""

    ticket: Ticket
    message: Message
    error: str | None = None
    queries: int = 0

    def deliver(self) -> None:
        """Give the reply to whoever asked."""
        self.ticket.asker.answered(self)


@dataclass(slots=True, eq=False)
class Ended:
    """Effect: a collection is gone, or nobody knows any more what it holds."""

    collection: Collection
    reason: Literal["dropped", "unavailable"]
    _left: list[Subscription] | None = None

    def deliver(self) -> None:
        """End what subscribed to it, some in each turn of the loop: there may be 200,000."""
        if self._left is None:
            self._left = list(self.collection.subscriptions)
        for _ in range(min(TOLD_AT_ONCE, len(self._left))):
            self._left[-1].end(self.reason)
            self._left.pop()
        if self._left:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        try:
            self.deliver()
        except Exception as error:
            as_error(error, "the end of subscriptions")
            self.deliver()


@dataclass(slots=True, eq=False)
class Uncreated:
    """Effect: a collection could not be made durable, and is none."""

    catalog: Catalog
    collection: Collection

    def deliver(self) -> None:
        """Take it out of the catalog, and end what subscribed to it."""
        if self.collection.is_listed:
            self.catalog.drop(self.collection)
        self.collection.let_go()
        Ended(self.collection, "dropped").deliver()


# -- changes: done in the order in which they came -----------------------------------------------


@dataclass(slots=True, eq=False)
class Create:
    """Make a collection durable that is in the catalog already; its creator has ``handle``."""

    ticket: Ticket
    collection: Collection
    catalog: Catalog
    handle: int


@dataclass(slots=True, eq=False)
class Add:
    """PROTOCOL section 4; ``is_binary``: answered by ADDED."""

    ticket: Ticket
    collection: Collection
    request: AddRequest
    is_binary: bool


@dataclass(slots=True, eq=False)
class Delete:
    """PROTOCOL section 4."""

    ticket: Ticket
    collection: Collection
    ids: Ids


@dataclass(slots=True, eq=False)
class Update:
    """PROTOCOL section 4."""

    ticket: Ticket
    collection: Collection
    request: UpdateRequest


@dataclass(slots=True, eq=False)
class Drop:
    """A barrier: reads that came before it are answered first. ``held`` takes the name again if the
    store cannot drop it."""

    ticket: Ticket
    collection: Collection
    held: HeldNames


@dataclass(slots=True, eq=False)
class Follow:
    """Start a feed, at ``from_seq`` or with the next row."""

    ticket: Ticket
    collection: Collection
    feed: Feed
    from_seq: int | None


@dataclass(slots=True, eq=False)
class Watch:
    """Answer the subscription to a collection's statistics, or to a map of it."""

    ticket: Ticket
    collection: Collection
    subscription: StatsSubscription | MapSubscription


@dataclass(slots=True, eq=False)
class Unfollow:
    """End a feed at its reader's wish; None for other kinds, which hold nothing in the engine."""

    ticket: Ticket
    collection: Collection
    feed: Feed | None


# -- reads: done after the changes that their connection sent before them -------------------------


@dataclass(slots=True, eq=False)
class Search:
    """PROTOCOL section 5; ``is_single``: asked with ``vector`` or ``like``."""

    ticket: Ticket
    collection: Collection
    query: Query
    is_single: bool
    is_binary: bool


@dataclass(slots=True, eq=False)
class PlainSearch:
    """A search with nothing but vectors and ``k``."""

    ticket: Ticket
    collection: Collection
    request: wire.PlainSearch


@dataclass(slots=True, eq=False)
class Get:
    """Rows by id."""

    ticket: Ticket
    collection: Collection
    ids: Ids
    include: Include


@dataclass(slots=True, eq=False)
class Count:
    """How many rows pass a filter."""

    ticket: Ticket
    collection: Collection
    filter: Filter | None


@dataclass(slots=True, eq=False)
class Describe:
    """Describe one collection; with its ``handle`` where it was opened."""

    ticket: Ticket
    collection: Collection
    handle: int | None


@dataclass(slots=True, eq=False)
class List:
    """Describe a tenant's collections."""

    ticket: Ticket
    collections: list[Collection]


@dataclass(slots=True, eq=False)
class Stats:
    """The statistics of one collection."""

    ticket: Ticket
    collection: Collection


# -- reads whose order is that of a subscription's stream ---------------------------------------


@dataclass(slots=True, eq=False)
class Live:
    """Begin live queries at ``vectors`` float32 (n, dim); ``is_binary``: asked by SUBSCRIBE."""

    ticket: Ticket
    collection: Collection
    queries: list[LiveQuery]
    vectors: F32
    is_binary: bool


@dataclass(slots=True, eq=False)
class Move:
    """Point a live query at ``vectors`` float32 (1, dim)."""

    ticket: Ticket
    collection: Collection
    query: LiveQuery
    vectors: F32
    is_binary: bool


@dataclass(slots=True, eq=False)
class Match:
    """Begin a match query, at ``from_seq`` or with the next row."""

    ticket: Ticket
    collection: Collection
    query: MatchQuery
    vectors: F32
    from_seq: int | None


@dataclass(slots=True, eq=False)
class Leave:
    """End a live or match query at its reader's wish."""

    ticket: Ticket
    collection: Collection
    stream: Stream


# -- neither: done at once -----------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Sent:
    """Pushes went out to the socket (``Engine.sent``)."""


@dataclass(slots=True, eq=False)
class Measure:
    """Say the numbers of a collection for a push of ``stats``."""

    subscription: StatsSubscription


@dataclass(slots=True, eq=False)
class Gone:
    """Nobody reads this stream any more."""

    stream: Stream


@dataclass(slots=True, eq=False)
class Settled:
    """A log says of changes, in order, that they are as safe as promised, or why not."""

    collection: Collection
    flights: Sequence[Flight]
    error: OmenError | None


@dataclass(slots=True, eq=False)
class Stored:
    """What the store was asked for is done: the new ``log`` of a collection, or None for a drop."""

    work: Create | Drop | DropGivenUp
    log: Log | None
    error: Exception | None


@dataclass(slots=True, eq=False)
class DropGivenUp:
    """Drop what is in the store and nowhere else; its name is free already.

    It does not wait for changes that its connection sent before: they were for other collections.
    So whatever is made under that name later comes to the store behind it.
    """

    ticket: Ticket
    held: HeldNames
    stored: list[StoredCollection]


@dataclass(slots=True, eq=False)
class NotDropped:
    """Effect: what was to be dropped is in the store still."""

    held: HeldNames
    stored: list[StoredCollection]

    def deliver(self) -> None:
        """Hold the name again."""
        self.held.undrop(self.stored, "could not be dropped; try again")


@dataclass(slots=True, eq=False)
class Recovered:
    """A collection is back, and listed from now on."""

    collection: Collection


Change: TypeAlias = Create | Add | Delete | Update | Drop | Follow | Watch | Unfollow
Standing: TypeAlias = Live | Move | Match | Leave
PlainRead: TypeAlias = Search | PlainSearch | Get | Count | Describe | List | Stats
Read: TypeAlias = PlainRead | Standing
Note: TypeAlias = Sent | Measure | Draw | Look | Gone | Settled | Stored | Recovered | DropGivenUp
Work: TypeAlias = Change | Read | Note


class Effect(Protocol):
    """What a tick leads to on the loop's thread."""

    def deliver(self) -> None:
        """Do it."""
