"""The client's subscriptions: calls that return async iterators, named as the wire.

Here arguments are checked and copied; the iterators are in ``subscriptions.py`` and ``live.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, TypeVar

from omendb_core.model.errors import BadRequest

from . import arguments, live_requests, requests
from .arguments import field, integer
from .connection import Connection
from .counts import CountWatch, count_fields
from .given import Examples, Filter, IdsGiven, IncludeNames, Rank, Shape, Vectors
from .live import LiveQuery
from .map import MapWatch
from .plain import filter_document
from .stats import ClusterWatch, StatsWatch
from .subscribing import Subscribing
from .subscriptions import Feed, MatchFeed, NovelFeed, Subscription

S = TypeVar("S", bound=Subscription[Any])


class Watching:
    """What ``Client`` is beside requests and answers. Owns the connection.

    One that nothing refers to any more, no call and no subscription either, is closed.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._subscribing = Subscribing(connection)
        weakref.finalize(self, connection.forget).atexit = False

    def __repr__(self) -> str:
        return f"<Client of {self._connection}>"

    async def close(self) -> None:
        """Close the connection. Calls and subscriptions that wait raise ConnectionLost."""
        await self._connection.close()
        await self._subscribing.close()

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
        """Return an async iterator over the ``k`` nearest rows: whole, each time they change.

        ``async for answer in db.live(…)``: each step is a ``LiveAnswer``, first that of this
        moment; it equals what ``search`` with these arguments returns at its ``version``.
        ``vector`` (dim,); ``await query.move(vector)`` on what this returns points it at another.
        ``positive`` and ``negative`` examples, ``exclude``, ``decay``, ``rank`` (without
        ``"$age"``), ``group`` and ``spread`` are as in ``search``; what examples come to is fixed
        when the query begins.
        ``every_ms`` is the least time between two answers from the server, 0 … 60,000. Enter it
        (``async with``) to subscribe at once, else the first step does. Queries that subscribe at
        the same time do so together, so start thousands with ``asyncio.gather``.

        Raises BadVector, NonFinite, BadId, BadK, BadRequest here; DimMismatch, ZeroNorm, BadFilter,
        BadRank, BadId, BadK, BadRequest, TooLarge, Quota, NotFound (the collection, or with ``row``
        an example), Forbidden, ConnectionLost in the first step or on entering.
        """
        asked = live_requests.asked(
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
        return self._held(LiveQuery(self._connection, self._subscribing, asked))

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
        """Return an async iterator over added rows that score at least ``min_score``.

        ``vector`` (dim,). Otherwise as ``feed``: each step is a ``FeedRows``, with ``scores``, and
        its ``gap`` tells of rows that were missed. (A row's cosine with itself is 1 within 2**-23:
        to hear of equal rows, ``min_score=0.999999``.)

        Raises BadVector, NonFinite, BadRequest here; DimMismatch, ZeroNorm, BadFilter, BadRequest,
        Quota, NotFound, Forbidden in the first step or on entering.
        """
        feed = MatchFeed(
            self._connection,
            arguments.collection(collection),
            vector=requests.one_vector(vector),
            min_score=arguments.number(min_score, "min_score"),
            **_feed_options(filter, include, from_seq, epoch),
        )
        return self._held(feed)

    def feed(
        self,
        collection: str,
        *,
        filter: Filter | None = None,
        include: IncludeNames = (),
        from_seq: int | Sequence[int] | None = None,
        epoch: str | None = None,
    ) -> Feed:
        """Return an async iterator over the rows that are added: ``async for rows in db.feed(…)``.

        It begins with the next row; with ``from_seq`` and ``epoch`` (of the last step of an earlier
        feed: ``to_seq + 1``, ``epoch``) with that row, as far as it is still in the window; of a
        collection with several shards ``from_seq`` is a list, each of ``to_seqs`` + 1. Each
        step is a ``FeedRows``; look at its ``gap`` to learn of rows that were missed. Raises
        NotFound, BadFilter, BadRequest, Forbidden, in the first step or on entering.
        """
        feed = Feed(
            self._connection,
            arguments.collection(collection),
            **_feed_options(filter, include, from_seq, epoch),
        )
        return self._held(feed)

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
        """Return an async iterator over added rows whose best score is below ``below``.

        Each is compared with the rows that were alive when it was added, and those before it in
        the same add (never with the one that it replaces); with ``filter`` only rows that pass it
        are compared and told of, with ``last`` only that many seqs before the row. Otherwise as
        ``feed``: each step is a ``FeedRows``, with ``scores`` and ``near``, and its ``gap`` tells
        of rows that were missed. With ``from_seq`` rows are compared with those before them that
        are there still.

        Raises BadRequest here; BadFilter, BadRequest, Quota, NotFound, Forbidden in the first step
        or on entering.
        """
        feed = NovelFeed(
            self._connection,
            arguments.collection(collection),
            below=arguments.number(below, "below"),
            last=None if last is None else integer(last, "last", 1),
            **_feed_options(
                filter,
                include,
                None if from_seq is None else integer(from_seq, "from_seq", 1),
                epoch,
            ),
        )
        return self._held(feed)

    def watch_count(
        self,
        collection: str,
        *,
        filter: Filter | None = None,
        by: str | None = None,
        limit: int | None = None,
        every_ms: int = 1000,
    ) -> CountWatch:
        """Return an async iterator over how many rows pass ``filter``, whenever that has changed.

        Each step is a ``Counts``, first that of this moment; ``by`` and ``limit`` are as in
        ``count``. ``every_ms`` is the least time between two of them, 100 … 60,000.

        Raises BadRequest here; BadFilter, BadRequest (no such column), TooLarge, Quota, NotFound,
        Forbidden in the first step or on entering.
        """
        fields = {
            "collection": arguments.collection(collection),
            **count_fields(filter, by, limit),
            "every_ms": arguments.bounded(every_ms, field("count", "every_ms")),
        }
        return self._held(CountWatch(self._connection, fields))

    def watch_stats(self, collection: str | None = None, *, every_ms: int = 1000) -> StatsWatch:
        """Return an async iterator over what ``stats`` returns, one each ``every_ms``."""
        of = None if collection is None else arguments.collection(collection)
        every = arguments.bounded(every_ms, field("stats", "every_ms"))
        return self._held(StatsWatch(self._connection, of, every))

    def watch_cluster(self, *, every_ms: int = 1000) -> ClusterWatch:
        """Return an async iterator over what ``cluster`` returns, whenever that has changed.

        Each step is a dict, first that of this moment; ``every_ms`` is the least time between two
        of them, 100 … 60,000. Raises BadRequest here; Unsupported on a server by itself, Forbidden
        in the first step or on entering.
        """
        every = arguments.bounded(every_ms, field("cluster", "every_ms"))
        return self._held(ClusterWatch(self._connection, every))

    def watch_map(self, collection: str, *, sample: int = 2000, every_ms: int = 1000) -> MapWatch:
        """Return an async iterator over pictures of the window in two dimensions.

        They show at most ``sample`` rows (100 to 20,000).
        """
        watch = MapWatch(
            self._connection,
            arguments.collection(collection),
            arguments.bounded(sample, field("map", "sample")),
            arguments.bounded(every_ms, field("map", "every_ms")),
        )
        return self._held(watch)

    def _held(self, subscription: S) -> S:
        """``subscription``, which keeps this client from being forgotten."""
        subscription.hold(self)
        return subscription


def _feed_options(
    filter: Filter | None,
    include: IncludeNames,
    from_seq: int | Sequence[int] | None,
    epoch: str | None,
) -> dict[str, Any]:
    """What feeds, match and novel queries have in common, checked and copied."""
    if (from_seq is None) != (epoch is None):
        raise BadRequest("from_seq and epoch go together")
    return {
        "filter": filter_document(filter),
        "include": arguments.included(include),
        "from_seq": _begins_at(from_seq),
        "epoch": None if epoch is None else arguments.text(epoch, "epoch"),
    }


def _begins_at(from_seq: int | Sequence[int] | None) -> int | list[int] | None:
    if from_seq is None:
        return None
    if isinstance(from_seq, list | tuple):
        if not from_seq:
            raise BadRequest("from_seq: must name a seq for each shard")
        return [integer(one, "from_seq", 1) for one in from_seq]
    return integer(from_seq, "from_seq", 1)
