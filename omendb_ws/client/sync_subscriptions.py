"""Subscriptions of the synchronous client as iterators: the twins of those in ``subscriptions.py``
and ``live.py``, which do the work on the loop of ``background.py``.

A step that was taken on the loop while its caller was interrupted is kept here for the next one, so
neither a timeout nor Ctrl-C loses anything.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Iterator
from types import EllipsisType, TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from omendb_core.model.errors import BadRequest

from . import arguments, live, subscriptions
from .answers import FeedRows, LiveAnswer
from .background import Background
from .counts import Counts
from .given import Examples, Filter, IdsGiven, Vectors
from .map import Picture

T = TypeVar("T")


class Subscription(Generic[T]):
    """An iterator over pushes, and a context manager that ends it.

    ``for item in subscription`` waits for each as long as it takes; ``next`` and ``until_quiet``
    wait so long and no longer. Entering it subscribes at once; else the first step does. It lives
    through reconnects. When the collection is dropped the iteration ends; when the right to read is
    taken it raises Forbidden, when a fault of the server left the collection in need of repair
    Unavailable; a client that is closed, or cannot come back, raises ConnectionLost or what ended
    it. Leaving the loop without ``close`` is fine too: once nothing refers to it, the server is
    told. Several threads may read one: each item goes to one of them. Ctrl-C loses none.
    """

    def __init__(
        self, client: object, twin: subscriptions.Subscription[T], background: Background
    ) -> None:
        self._client = client  # which is closed when nothing refers to it
        self._twin = twin
        self._background = background
        self._turn = threading.Lock()
        self._taken: list[T] = []
        weakref.finalize(self, background.soon, twin.close).atexit = False

    def __enter__(self) -> Self:
        self._background.run(self._twin.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.next()

    def next(self, timeout_seconds: float | None = None) -> T:
        """Return the next item, waiting for it at most so long; None waits for ever.

        0, or less, returns what is there already, of a subscription that was entered. Raises
        TimeoutError where nothing came, and nothing is lost by it; StopIteration at the end.
        """
        limit = None if timeout_seconds is None else _patience(timeout_seconds)
        found = self._next(limit)
        if found is _NOTHING:
            raise TimeoutError(f"nothing came within {timeout_seconds} s")
        if found is _END:
            raise StopIteration
        item: T = found
        return item

    def until_quiet(self, timeout_seconds: float) -> Iterator[T]:
        """Iterate as long as the next item comes within ``timeout_seconds``; go on later as well.

        ``for rows in feed.until_quiet(2)`` ends when nothing was added for two seconds.
        """
        return self._until_quiet(_patience(timeout_seconds))

    def _until_quiet(self, timeout_seconds: float) -> Iterator[T]:
        while True:
            found = self._next(timeout_seconds)
            if found is _NOTHING or found is _END:
                return
            yield found

    def close(self) -> None:
        """End it: nothing comes any more. May be called twice."""
        self._background.run(self._twin.close())

    # -- inside ---------------------------------------------------------------------------

    def _next(self, timeout_seconds: float | None) -> Any:
        """Return the next item, or _NOTHING, or _END."""
        if timeout_seconds is None:
            left_seconds = None
            self._turn.acquire()
        else:
            until = time.monotonic() + timeout_seconds
            if not self._turn.acquire(timeout=timeout_seconds):
                return _NOTHING
            left_seconds = until - time.monotonic()
        try:
            why_none = None
            if not self._taken:
                why_none = self._background.run(self._take(left_seconds))
            return self._taken.pop() if self._taken else why_none
        finally:
            self._turn.release()

    async def _take(self, timeout_seconds: float | None) -> object:
        """Put the next item in ``_taken``; or return why there is none. On the loop."""
        clock = asyncio.timeout(timeout_seconds)
        try:
            async with clock:
                self._taken.append(await anext(self._twin))
        except StopAsyncIteration:
            return _END
        except TimeoutError:
            if not clock.expired():
                raise
            return _NOTHING
        return None


def _patience(timeout_seconds: object) -> float:
    """How long to wait: what is left of a deadline that has passed is nothing, of none for ever."""
    made = arguments.real(timeout_seconds)
    if made is None or made != made:
        raise BadRequest(
            f"timeout_seconds: must be a number, not {arguments.kind(timeout_seconds)}"
        )
    return float(min(max(0, made), threading.TIMEOUT_MAX))


_NOTHING: Final = object()
_END: Final = object()


class Feed(Subscription[FeedRows]):
    """Every added row of a collection, in seq order, each at most once in an epoch.

    Yields ``FeedRows``: arrays, iterable as rows. Where rows left the window before they could be
    delivered, a step without rows holds a ``gap`` that says which; where the collection began anew
    (see ``Gap``) the gap's reason is ``epoch`` and delivery goes on with the first row that the new
    epoch still has. Nothing else is ever missed. (Rows that were replaced or deleted before they
    were delivered are not delivered.) Of a collection with several shards each step is of one, and
    the order that of its rows.
    """

    _twin: subscriptions.Feed

    @property
    def epoch(self) -> str | None:
        """The epoch of ``to_seq``; None before the start."""
        return self._twin.epoch

    @property
    def to_seq(self) -> int | None:
        """How far the reader has come: every row up to it was yielded, is in a gap, or never will
        be. None before the start without ``from_seq``, and where there are several shards."""
        return self._twin.to_seq

    @property
    def to_seqs(self) -> tuple[int, ...]:
        """The same of each shard of a collection with several."""
        return self._twin.to_seqs


class MatchFeed(Feed):
    """Every added row that scores at least ``min_score`` against a vector, in seq order.

    As ``Feed``, with ``scores``. A gap with the reason ``slow`` says that more rows matched than
    the server keeps for a reader that does not take them (``max_pending_rows``).
    """


class NovelFeed(Feed):
    """Every added row that is like none before it, in seq order.

    As ``Feed``, with ``scores``, that of the best row before each (-inf: there was none), and
    ``near``, whose id that was. A gap with the reason ``slow`` says that more rows were new than
    the server keeps for a reader that does not take them (``max_pending_rows``), or compares of
    the past.
    """


class CountWatch(Subscription[Counts]):
    """How many rows there are, now and whenever that has changed, at most each ``every_ms``.

    Yields ``Counts``: first that of this moment, then each that differs from the one yielded
    before, always the latest.
    """


class StatsWatch(Subscription[dict[str, Any]]):
    """Statistics of a collection or of the server, every ``every_ms``: always the latest.

    Yields the fields of PROTOCOL section 6 "stats" as a dict; what a slow reader did not take in
    time is replaced by what came after.
    """


class ClusterWatch(Subscription[dict[str, Any]]):
    """Who is in the cluster, and holds what, whenever that has changed: always the latest.

    Yields what ``cluster`` returns: first that of this moment, then, at most each ``every_ms``,
    what is so now.
    """


class MapWatch(Subscription[Picture]):
    """A picture of a collection's window along its principal axes, every ``every_ms``.

    Yields the whole Picture, whenever rows came: always the latest.
    """


class LiveQuery(Subscription[LiveAnswer]):
    """The ``k`` nearest rows of a collection, now and whenever that changes.

    Yields ``LiveAnswer``: first the answer of this moment, then each that differs from the one
    yielded before, always the latest. A slow reader skips answers and never sees a stale one;
    ``entered`` and ``left`` then span what it skipped. After a lost connection it yields one
    answer with ``resumed``. It ends when the collection is dropped; it raises NotFound where a
    reconnect finds no such collection, and DimMismatch where that has another dimension. One that
    asks by examples looks them up again after a lost connection, and raises NotFound, with ``row``,
    where one of them has left the window since.
    """

    _twin: live.LiveQuery

    def move(
        self,
        vector: Vectors | None = None,
        *,
        positive: Examples | None = None,
        negative: Examples | None = None,
        exclude: IdsGiven | EllipsisType | None = ...,
        filter: Filter | EllipsisType | None = ...,
        min_score: float | EllipsisType | None = ...,
    ) -> None:
        """Point the query at ``vector`` (dim,), or change what else is given; return once answers
        are for that, or for a later move.

        ``positive`` and ``negative`` examples instead of ``vector``, as in ``live``. What is not
        given stays as it was; None (or nothing in it) clears ``exclude``, ``filter`` or
        ``min_score``. Answers yielded before are for what was asked before; the first for the new
        has ``moved``. Of moves that are called faster than the server answers, those are passed
        over whose every argument a later one gives too; where no connection stands, the query
        subscribes with the next. Cancelled, or timed out, it may still take effect.

        Raises BadVector, DimMismatch, NonFinite, ZeroNorm, BadId, BadFilter, BadRequest, TooLarge,
        Quota, NotFound with ``row`` (an example): the query stays as it was; NotFound (it has
        ended), Forbidden, Unavailable, ConnectionLost, TimeoutError.
        """
        self._background.run(
            self._twin.move(
                vector,
                positive=positive,
                negative=negative,
                exclude=exclude,
                filter=filter,
                min_score=min_score,
            )
        )
