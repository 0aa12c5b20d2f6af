"""Subscriptions as async iterators, and those of added rows (feeds, match and novel queries).

Knows connections and links, no socket. A subscription attaches itself *on demand*: when someone
waits for its next item and no link carries it, it subscribes, from its cursor where it has one. So
the first start, a reconnect, and going on after a pause are the same few lines, no task runs for a
subscription, and one that nobody reads costs nothing.

**A slow reader of a feed.** What has arrived and was not taken waits here, up to BUFFER_BYTES.
Beyond that the feed unsubscribes, and subscribes again from its cursor once the reader has taken
everything. Meanwhile the server's window is the buffer, and rows that leave it are a stated gap.
(Not reading the socket would hold up every reply of the connection as well; and dropping rows would
be silent.)

Each kind is a ``Subscription`` with its own request and its own way to keep what arrives. Others
are in modules of their own (``live.py``, ``counts.py``, ``stats.py``, ``map.py``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from omendb_core.model.errors import OmenError, WrongEpoch
from omendb_core.model.types import F32, Include

from ..wire import messages
from ..wire.messages import JsonObject, SubscriptionKind
from . import requests
from .answers import FeedRows, Gap, gap_alone, read_feed_rows
from .connection import Connection
from .cursor import Cursor
from .descriptions import Opened
from .ends import why_ended
from .given import Filter
from .link import Answer, Link, Push
from .requests import Encode

#: Bytes of pushes that wait for a slow reader (the server splits pushes at 1 MiB).
BUFFER_BYTES = 4 * 1024 * 1024

T = TypeVar("T")


class Subscription(Generic[T]):
    """An async iterator over pushes, and a context manager that ends it.

    Entering it subscribes at once; else the first step does. It lives through reconnects. When the
    collection is dropped the iteration ends; when the right to read is taken it raises Forbidden,
    when a fault of the server left the collection in need of repair Unavailable; a client that is
    closed, or cannot come back, raises ConnectionLost or what ended it. Leaving the loop without
    ``close`` is fine too: once nothing refers to it, the server is told.
    One reader at a time.
    """

    def __init__(self, connection: Connection, collection: str | None) -> None:
        self._connection = connection
        #: What it reads, and the epoch of what comes; None: the server.
        self._collection = collection
        self._epoch: str | None = None
        self._link: Link | None = None
        self._sub = 0
        self._news = asyncio.Event()
        self._ended: str | None = None
        self._client: object = None
        self._beginning: asyncio.Timeout | None = None

    def hold(self, client: object) -> None:
        """Keep ``client``, which is closed when nothing refers to it, as long as this is there."""
        self._client = client

    async def __aenter__(self) -> Self:
        if self._link is None and self._ended is None:
            await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._connection.check_here()
        while self._ended != "closed":
            item = self._next_item()
            if item is not None:
                return item
            if self._ended is not None:
                raise why_ended(self._ended) or StopAsyncIteration
            if self._link is None:
                await self._begin()
            else:
                self._news.clear()
                await self._news.wait()
        raise StopAsyncIteration

    async def close(self) -> None:
        """End it: nothing comes any more. May be called twice."""
        self._connection.check_here()
        if self._ended is None:
            self._ended = "closed"
        if self._beginning is not None and not self._beginning.expired():
            self._beginning.reschedule(asyncio.get_running_loop().time())
        self._detach()
        self._news.set()

    # -- for the link (link.Receiver) -----------------------------------------------------

    def take(self, push: Push, size_bytes: int) -> None:
        """Keep a push."""
        self._note(push)
        if isinstance(push, messages.Event) and push.event == "ended":
            self._ended = str(push.body.get("reason"))
            self._link = None
        else:
            self._keep(push, size_bytes)
        self._news.set()

    def lose(self, reason: str) -> None:
        """Learn that the link is gone."""
        self._link = None
        self._news.set()

    # -- inside ---------------------------------------------------------------------------

    def _detach(self) -> None:
        if self._link is not None:
            self._link.detach(self._sub)
            self._link = None

    async def _begin(self) -> None:
        """Subscribe, unless ``close`` is called first: there may be no connection for long.

        (A clock without an end, which ``close`` ends: a task of its own cost 34 µs of CPU.)
        """
        try:
            async with asyncio.timeout(None) as self._beginning:
                await self._subscribe()
        except TimeoutError:
            if self._beginning is None or not self._beginning.expired():
                raise
        finally:
            self._beginning = None

    async def _subscribe(self) -> None:
        """Wait for a link, however long; then subscribe, in the time that a call may take."""
        while True:
            await self._connection.ready(waits=True)
            try:
                await self._connection.within(self._ask())
                return
            except TimeoutError:
                if self._connection.is_connected:
                    raise
            except OmenError as error:
                self._refused(error)

    async def _ask(self) -> None:
        """Subscribe once."""
        await self._connection.call(
            self._request(),
            repeat=True,
            reads=self._reads(),
            accept=self._accept,
            waits=True,
        )

    def _reads(self) -> str | None:
        """The collection whose newest version it is to begin at, or later."""
        return self._collection

    def _accept(
        self, link: Link, opened: Opened | None, answer: Answer, *, is_wanted: bool
    ) -> None:
        assert isinstance(answer, messages.Reply)
        sub: int = answer.ok["sub"]
        if not is_wanted:
            link.detach(sub)
        elif self._attach(link, sub):
            self._epoch = answer.ok.get("epoch")
            self._start(answer.ok)

    def _attach(self, link: Link, sub: int) -> bool:
        """Be carried by ``link`` under ``sub``; False, and give that up, where this has ended."""
        if self._ended is not None:
            link.detach(sub)
            return False
        self._link, self._sub = link, sub
        link.carry(sub, self)
        return True

    def _note(self, push: Push) -> None:
        """What it shows is of a version."""
        number = push.body.get("version") if isinstance(push, messages.Event) else push.version
        if self._link and self._collection and self._epoch and isinstance(number, int):
            self._connection.seen.note(self._link, self._collection, self._epoch, number)

    def _request(self) -> Encode:
        raise NotImplementedError

    def _refused(self, error: OmenError) -> None:
        """Make another ``_request`` possible after ``error``, or raise it."""
        if not isinstance(error, WrongEpoch):  # of what was seen, which is forgotten by now
            raise error

    def _start(self, ok: JsonObject) -> None:
        """Note what the reply to the subscribe says."""

    def _keep(self, push: Push, size_bytes: int) -> None:
        raise NotImplementedError

    def _next_item(self) -> T | None:
        raise NotImplementedError


class Feed(Subscription[FeedRows]):
    """Every added row of a collection, in seq order, each at most once in an epoch.

    Yields ``FeedRows``: arrays, iterable as rows. Where rows left the window before they could be
    delivered, a step without rows holds a ``gap`` that says which; where the collection began anew
    (see ``Gap``) the gap's reason is ``epoch`` and delivery goes on with the first row that the new
    epoch still has. Nothing else is ever missed. (Rows that were replaced or deleted before they
    were delivered are not delivered.) Of a collection with several shards each step is of one, and
    the order that of its rows.
    """

    _kind: ClassVar[SubscriptionKind] = "feed"

    def __init__(
        self,
        connection: Connection,
        collection: str,
        *,
        filter: Filter | None,
        include: Include,
        from_seq: int | list[int] | None,
        epoch: str | None,
    ) -> None:
        super().__init__(connection, collection)
        self._fields: dict[str, Any] = {
            "collection": collection, "filter": filter, "include": include,
        }  # fmt: skip
        self._cursor = Cursor.at(from_seq)
        self._epoch = epoch
        self._waiting: deque[tuple[FeedRows, int]] = deque()
        self._waiting_bytes = 0
        #: How far the reader has come.
        self._reached = self._cursor
        self._version = 0

    @property
    def epoch(self) -> str | None:
        """The epoch of ``to_seq``; None before the start."""
        return self._epoch

    @property
    def to_seq(self) -> int | None:
        """How far the reader has come: every row up to it was yielded, is in a gap, or never will
        be. None before the start without ``from_seq``, and where there are several shards."""
        return self._reached.to_seq

    @property
    def to_seqs(self) -> tuple[int, ...]:
        """The same of each shard of a collection with several."""
        return self._reached.to_seqs

    def _request(self) -> Encode:
        return requests.plain(
            messages.Subscribe,
            kind=self._kind,
            encoding="binary",
            **self._cursor.fields(),
            epoch=self._epoch if self._cursor.is_set else None,
            **self._fields,
        )

    def _reads(self) -> str | None:
        """Nothing where it comes back to another epoch than what was seen: that is to be said."""
        collection: str = self._fields["collection"]
        is_other = not self._connection.seen.is_in(collection, self._epoch)
        return None if self._cursor.is_set and is_other else collection

    def _start(self, ok: JsonObject) -> None:
        self._version = ok["version"]
        if not self._cursor.is_set:
            self._reached = self._cursor = Cursor.begun(ok)

    def _refused(self, error: OmenError) -> None:
        if not self._cursor.is_set:
            return super()._refused(error)
        epoch = error.details.get("epoch")
        if not isinstance(error, WrongEpoch) or not isinstance(epoch, str) or epoch == self._epoch:
            raise error
        gap = Gap(self._cursor.first_seq, None, "epoch")
        self._cursor = self._cursor.anew()
        step = gap_alone(gap, version=0, to_seq=0, epoch=epoch)
        self._waiting.append((replace(step, to_seqs=self._cursor.to_seqs), 0))
        self._epoch = epoch
        return None

    def _keep(self, push: Push, size_bytes: int) -> None:
        assert self._epoch is not None
        if isinstance(push, messages.Rows):
            rows = read_feed_rows(push, self._epoch)
            self._version = rows.version
            if not len(rows):
                size_bytes = 0
        elif isinstance(push, messages.Event) and push.event == "gap":
            gap = Gap(push.body["from_seq"], push.body["to_seq"], push.body["reason"])
            rows = gap_alone(
                gap,
                version=self._version,
                to_seq=push.body["to_seq"],
                epoch=self._epoch,
                shard=push.body.get("shard"),
            )
        else:
            return
        self._cursor = self._cursor.behind(rows)
        rows = replace(rows, to_seqs=self._cursor.to_seqs)
        last = self._waiting[-1][0] if self._waiting else None
        if last is not None and not len(last) and last.gap is None:
            self._waiting.pop()  # mere progress, overtaken
        self._waiting.append((rows, size_bytes))
        self._waiting_bytes += size_bytes
        if self._waiting_bytes > BUFFER_BYTES:
            self._detach()

    def _next_item(self) -> FeedRows | None:
        while self._waiting:
            rows, size_bytes = self._waiting.popleft()
            self._waiting_bytes -= size_bytes
            self._reached = Cursor.of(rows)
            if len(rows) or rows.gap is not None:
                return rows
        return None


class MatchFeed(Feed):
    """Every added row that scores at least ``min_score`` against a vector, in seq order.

    As ``Feed``, with ``scores``. A gap with the reason ``slow`` says that more rows matched than
    the server keeps for a reader that does not take them (``max_pending_rows``).
    """

    _kind = "match"

    def __init__(
        self,
        connection: Connection,
        collection: str,
        *,
        vector: F32,
        min_score: float,
        filter: Filter | None,
        include: Include,
        from_seq: int | list[int] | None,
        epoch: str | None,
    ) -> None:
        super().__init__(
            connection, collection, filter=filter, include=include, from_seq=from_seq, epoch=epoch
        )
        self._fields |= {"vectors": vector, "min_score": min_score}


class NovelFeed(Feed):
    """Every added row that is like none before it, in seq order.

    As ``Feed``, with ``scores``, that of the best row before each (-inf: there was none), and
    ``near``, whose id that was. A gap with the reason ``slow`` says that more rows were new than
    the server keeps for a reader that does not take them (``max_pending_rows``), or compares of
    the past.
    """

    _kind = "novel"

    def __init__(
        self,
        connection: Connection,
        collection: str,
        *,
        below: float,
        last: int | None,
        filter: Filter | None,
        include: Include,
        from_seq: int | list[int] | None,
        epoch: str | None,
    ) -> None:
        super().__init__(
            connection, collection, filter=filter, include=include, from_seq=from_seq, epoch=epoch
        )
        self._fields |= {"below": below, "last": last}
