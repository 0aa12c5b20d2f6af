"""The client's searches: the arguments of ``search`` to requests, and what comes of them.

One vector, many, the id of a row, or examples; many go out ``max_queries`` at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import F32

from ..wire import messages
from . import answers, arguments, requests
from .answers import Answer
from .arrays import as_vectors
from .given import Examples, Filter, IdsGiven, IncludeNames, Rank, Shape, Shaping, Vectors
from .ids import json_id
from .requests import SearchOptions
from .shaping import shaping as as_shaping
from .watching import Watching


class Searching(Watching):
    """What ``Client`` is beside requests about the server, collections and rows."""

    @overload
    async def search(
        self,
        collection: str,
        vector: Sequence[float],
        k: int = ...,
        *,
        filter: Filter | None = ...,
        min_score: float | None = ...,
        last: int | None = ...,
        include: IncludeNames = ...,
        **shaping: Unpack[Shaping],
    ) -> Answer: ...

    @overload
    async def search(
        self,
        collection: str,
        vector: Sequence[Sequence[float]],
        k: int = ...,
        *,
        filter: Filter | None = ...,
        min_score: float | None = ...,
        last: int | None = ...,
        include: IncludeNames = ...,
        **shaping: Unpack[Shaping],
    ) -> list[Answer]: ...

    @overload
    async def search(
        self,
        collection: str,
        vector: NDArray[Any],
        k: int = ...,
        *,
        filter: Filter | None = ...,
        min_score: float | None = ...,
        last: int | None = ...,
        include: IncludeNames = ...,
        **shaping: Unpack[Shaping],
    ) -> Any: ...

    @overload
    async def search(
        self,
        collection: str,
        vector: None = ...,
        k: int = ...,
        *,
        filter: Filter | None = ...,
        min_score: float | None = ...,
        last: int | None = ...,
        include: IncludeNames = ...,
        like: int | str,
        **shaping: Unpack[Shaping],
    ) -> Answer: ...

    @overload
    async def search(
        self,
        collection: str,
        vector: None = ...,
        k: int = ...,
        *,
        filter: Filter | None = ...,
        min_score: float | None = ...,
        last: int | None = ...,
        include: IncludeNames = ...,
        positive: Examples,
        negative: Examples | None = ...,
        **shaping: Unpack[Shaping],
    ) -> Answer: ...

    async def search(
        self,
        collection: str,
        vector: Vectors | None = None,
        k: int = 10,
        *,
        filter: Filter | None = None,
        min_score: float | None = None,
        last: int | None = None,
        include: IncludeNames = (),
        like: int | str | None = None,
        positive: Examples | None = None,
        negative: Examples | None = None,
        exclude: IdsGiven | None = None,
        decay: Shape | None = None,
        rank: Rank | None = None,
        group: Shape | None = None,
        spread: Shape | None = None,
        mmr: Shape | None = None,
        at: float | None = None,
    ) -> Answer | list[Answer]:
        """Return the ``k`` nearest rows, best first: score, then newest.

        ``vector`` (dim,) gives one Answer; (q, dim) a list of q, asked together (``max_queries`` at
        a time). Instead ``like``, the id of a row, searches by its vector and leaves it out, and
        ``positive`` and ``negative``, lists of ids and vectors, by what is like and unlike them.
        Only rows that pass ``filter`` (PROTOCOL section 5), score at least ``min_score``, are among
        the newest ``last`` sequence numbers, and whose ids are not in ``exclude``.
        ``include`` out of ``"metadata"``, ``"vector"``.
        (A row's cosine with itself is 1 within 2**-23: to find equal rows, ``min_score=0.999999``.)

        What shapes the answer is what PROTOCOL section 5 says, exact over the whole window. Its
        order: ``decay={"half_life": 3600}`` (newer is better), or an expression as ``rank``, by
        which rows have ranks; ``at``, Unix seconds, is the time that ages count to, else now. Which
        rows are taken in that order: ``group={"by": "category", "size": 2}``,
        ``spread={"max_similarity": 0.95}``, ``mmr={"lambda": 0.7}``.

        The arrays of an Answer are views on the received message. Raises BadVector, DimMismatch,
        NonFinite, ZeroNorm, BadK, BadFilter, BadRank, BadRequest, BadId, TooLarge, NotFound (the
        collection, the row of ``like``, an example), Forbidden.
        """
        if sum(one is not None for one in (vector, like, positive)) != 1:
            raise BadRequest("a search takes one of vector, like and positive")
        name = arguments.collection(collection)
        options = requests.search_options(
            k,
            filter=filter,
            min_score=min_score,
            last=last,
            include=include,
            shaping=as_shaping(
                positive=positive,
                negative=negative,
                exclude=exclude,
                decay=decay,
                rank=rank,
                group=group,
                spread=spread,
                mmr=mmr,
                at=at,
            ),
        )
        if like is not None:
            near = json_id(like, name="like")
            return await self._connection.within(self._search_like(name, near, options))
        if vector is None:
            found = await self._connection.within(self._ask_search(name, None, options))
            return found[0]
        vectors = as_vectors(vector, "vector")
        if isinstance(vector, np.ndarray) or not vectors.flags.owndata:
            vectors = vectors.copy()  # the caller's may change while this is asked again
        queries = requests.as_queries(vectors)
        found = await self._connection.within(self._search(name, queries, options))
        return found[0] if vectors.ndim == 1 else found

    async def _search(self, collection: str, queries: F32, options: SearchOptions) -> list[Answer]:
        most = (await self._connection.ready()).limits.max_queries
        found: list[Answer] = []
        for start in range(0, len(queries), most):
            found += await self._ask_search(collection, queries[start : start + most], options)
            if found[0].at is not None:  # all at one time
                options = replace(options, shaping={**options.shaping, "at": found[0].at})
        return found

    async def _ask_search(
        self, collection: str, queries: F32 | None, options: SearchOptions
    ) -> list[Answer]:
        encode = requests.search(queries, options)
        _, reply = await self._connection.call(
            encode, repeat=True, collection=collection, reads=collection
        )
        assert isinstance(reply, messages.Results)
        return answers.read_results(reply)

    async def _search_like(
        self, collection: str, near: int | str, options: SearchOptions
    ) -> Answer:
        _, opened = await self._connection.opened(collection)
        encode = requests.search_like(collection, near, options)
        _, reply = await self._connection.call(encode, repeat=True, reads=collection)
        assert isinstance(reply, messages.Reply)
        return answers.read_search(reply.ok, opened.description.ids)
