"""The synchronous client's life, and its subscriptions: the twin of ``watching.py``.

Arguments are checked in the caller's thread; whatever waits runs on the loop of ``background.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from . import aio
from .background import Background
from .given import Examples, Filter, IdsGiven, IncludeNames, Rank, Shape, Vectors
from .sync_subscriptions import (
    ClusterWatch,
    CountWatch,
    Feed,
    LiveQuery,
    MapWatch,
    MatchFeed,
    NovelFeed,
    StatsWatch,
)

T = TypeVar("T")


class SyncWatching:
    """What ``Client`` is beside requests and answers. Owns an asyncio client."""

    def __init__(self, client: aio.Client, background: Background) -> None:
        self._aio = client
        self._background = background
        weakref.finalize(self, background.soon, _closing, client, background).atexit = False

    def __repr__(self) -> str:
        return repr(self._aio)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Calls and subscriptions that wait raise ConnectionLost."""
        self._run(_closing(self._aio, self._background))

    def live(
        self,
        collection: str,
        vector: Vectors | None = None,
        k: int = 10,
        *,
        positive: Examples | None = None,
        negative: Examples | None = None,
        exclude: IdsGiven | None = None,
        decay: Shape | None = None,
        rank: Rank | None = None,
        group: Shape | None = None,
        spread: Shape | None = None,
        filter: Filter | None = None,
        min_score: float | None = None,
        include: IncludeNames = (),
        every_ms: int = 0,
    ) -> LiveQuery:
        """Return an iterator over the ``k`` nearest rows: whole, each time they change.

        ``for answer in db.live(…)``: each step is a ``LiveAnswer``, first that of this
        moment; it equals what ``search`` with these arguments returns at its ``version``.
        ``vector`` (dim,); ``query.move(vector)`` on what this returns points it at another.
        ``positive`` and ``negative`` examples, ``exclude``, ``decay``, ``rank`` (without
        ``"$age"``), ``group`` and ``spread`` are as in ``search``; what examples come to is fixed
        when the query begins.
        ``every_ms`` is the least time between two answers from the server, 0 … 60,000. Enter it
        (``with``) to subscribe at once, else the first step does. Queries that subscribe at
        the same time do so together, so start thousands with the asyncio client.

        Raises BadVector, NonFinite, BadId, BadK, BadRequest here; DimMismatch, ZeroNorm, BadFilter,
        BadRank, BadId, BadK, BadRequest, TooLarge, Quota, NotFound (the collection, or with ``row``
        an example), Forbidden, ConnectionLost in the first step or on entering.
        """
        query = self._aio.live(
            collection,
            vector,
            k,
            positive=positive,
            negative=negative,
            exclude=exclude,
            decay=decay,
            rank=rank,
            group=group,
            spread=spread,
            filter=filter,
            min_score=min_score,
            include=include,
            every_ms=every_ms,
        )
        return LiveQuery(self, query, self._background)

    def match(
        self,
        collection: str,
        vector: Vectors,
        min_score: float,
        *,
        filter: Filter | None = None,
        include: IncludeNames = (),
        from_seq: int | Sequence[int] | None = None,
        epoch: str | None = None,
    ) -> MatchFeed:
        """Return an iterator over added rows that score at least ``min_score``.

        ``vector`` (dim,). Otherwise as ``feed``: each step is a ``FeedRows``, with ``scores``, and
        its ``gap`` tells of rows that were missed. (A row's cosine with itself is 1 within 2**-23:
        to hear of equal rows, ``min_score=0.999999``.)

        Raises BadVector, NonFinite, BadRequest here; DimMismatch, ZeroNorm, BadFilter, BadRequest,
        Quota, NotFound, Forbidden in the first step or on entering.
        """
        feed = self._aio.match(
            collection,
            vector,
            min_score,
            filter=filter,
            include=include,
            from_seq=from_seq,
            epoch=epoch,
        )
        return MatchFeed(self, feed, self._background)

    def feed(
        self,
        collection: str,
        *,
        filter: Filter | None = None,
        include: IncludeNames = (),
        from_seq: int | Sequence[int] | None = None,
        epoch: str | None = None,
    ) -> Feed:
        """Return an iterator over the rows that are added: ``for rows in db.feed(…)``.

        It begins with the next row; with ``from_seq`` and ``epoch`` (of the last step of an earlier
        feed: ``to_seq + 1``, ``epoch``) with that row, as far as it is still in the window; of a
        collection with several shards ``from_seq`` is a list, each of ``to_seqs`` + 1. Each
        step is a ``FeedRows``; look at its ``gap`` to learn of rows that were missed. Raises
        NotFound, BadFilter, BadRequest, Forbidden, in the first step or on entering.
        """
        feed = self._aio.feed(
            collection, filter=filter, include=include, from_seq=from_seq, epoch=epoch
        )
        return Feed(self, feed, self._background)

    def novel(
        self,
        collection: str,
        below: float,
        *,
        filter: Filter | None = None,
        last: int | None = None,
        include: IncludeNames = (),
        from_seq: int | None = None,
        epoch: str | None = None,
    ) -> NovelFeed:
        """Return an iterator over added rows whose best score is below ``below``.

        Each is compared with the rows that were alive when it was added, and those before it in
        the same add (never with the one that it replaces); with ``filter`` only rows that pass it
        are compared and told of, with ``last`` only that many seqs before the row. Otherwise as
        ``feed``: each step is a ``FeedRows``, with ``scores`` and ``near``, and its ``gap`` tells
        of rows that were missed. With ``from_seq`` rows are compared with those before them that
        are there still.

        Raises BadRequest here; BadFilter, BadRequest, Quota, NotFound, Forbidden in the first step
        or on entering.
        """
        feed = self._aio.novel(
            collection,
            below,
            filter=filter,
            last=last,
            include=include,
            from_seq=from_seq,
            epoch=epoch,
        )
        return NovelFeed(self, feed, self._background)

    def watch_count(
        self,
        collection: str,
        *,
        filter: Filter | None = None,
        by: str | None = None,
        limit: int | None = None,
        every_ms: int = 1000,
    ) -> CountWatch:
        """Return an iterator over how many rows pass ``filter``, whenever that has changed.

        Each step is a ``Counts``, first that of this moment; ``by`` and ``limit`` are as in
        ``count``. ``every_ms`` is the least time between two of them, 100 … 60,000.

        Raises BadRequest here; BadFilter, BadRequest (no such column), TooLarge, Quota, NotFound,
        Forbidden in the first step or on entering.
        """
        watch = self._aio.watch_count(
            collection, filter=filter, by=by, limit=limit, every_ms=every_ms
        )
        return CountWatch(self, watch, self._background)

    def watch_stats(self, collection: str | None = None, *, every_ms: int = 1000) -> StatsWatch:
        """Return an iterator over what ``stats`` returns, one each ``every_ms``."""
        watch = self._aio.watch_stats(collection, every_ms=every_ms)
        return StatsWatch(self, watch, self._background)

    def watch_cluster(self, *, every_ms: int = 1000) -> ClusterWatch:
        """Return an iterator over what ``cluster`` returns, whenever that has changed.

        Each step is a dict, first that of this moment; ``every_ms`` is the least time between two
        of them, 100 … 60,000. Raises BadRequest here; Unsupported on a server by itself, Forbidden
        in the first step or on entering.
        """
        watch = self._aio.watch_cluster(every_ms=every_ms)
        return ClusterWatch(self, watch, self._background)

    def watch_map(self, collection: str, *, sample: int = 2000, every_ms: int = 1000) -> MapWatch:
        """Return an iterator over pictures of the window in two dimensions.

        They show at most ``sample`` rows (100 to 20,000).
        """
        watch = self._aio.watch_map(collection, sample=sample, every_ms=every_ms)
        return MapWatch(self, watch, self._background)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._background.run(coroutine)


async def _closing(client: aio.Client, background: Background) -> None:
    await client.close()
    background.release(id(client))
