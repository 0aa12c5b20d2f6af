"""The client's searches: the arguments of ``search`` to requests, and what comes of them.

One vector, many, or the id of a row; many go out ``max_queries`` at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import F32

from ..wire import messages
from . import answers, arguments, requests
from .answers import Answer
from .arrays import as_vectors
from .given import Filter, IncludeNames, Vectors
from .ids import json_id
from .requests import SearchOptions
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
    ) -> Answer | list[Answer]:
        """Return the ``k`` nearest rows, best first: score, then newest.

        ``vector`` (dim,) gives one Answer; (q, dim) a list of q, asked together (``max_queries`` at
        a time). ``like``, the id of a row, instead searches by its vector and leaves it out. Only
        rows that pass ``filter`` (PROTOCOL section 5), score at least ``min_score``, and are among
        the newest ``last`` sequence numbers. ``include`` out of ``"metadata"``, ``"vector"``.
        (A row's cosine with itself is 1 within 2**-23: to find equal rows, ``min_score=0.999999``.)

        The arrays of an Answer are views on the received message. Raises BadVector, DimMismatch,
        NonFinite, ZeroNorm, BadK, BadFilter, BadId, TooLarge, NotFound (the collection, or the row
        of ``like``), Forbidden.
        """
        if (vector is None) == (like is None):
            raise BadRequest("a search takes either a vector or like")
        name = arguments.collection(collection)
        options = requests.search_options(
            k, filter=filter, min_score=min_score, last=last, include=include
        )
        if vector is None:
            near = json_id(like, name="like")
            return await self._connection.within(self._search_like(name, near, options))
        vectors = as_vectors(vector, "vector")
        if isinstance(vector, np.ndarray):
            vectors = vectors.copy()  # the caller's may change while this is asked again
        queries = requests.as_queries(vectors)
        found = await self._connection.within(self._search(name, queries, options))
        return found[0] if vectors.ndim == 1 else found

    async def _search(self, collection: str, queries: F32, options: SearchOptions) -> list[Answer]:
        most = (await self._connection.ready()).limits.max_queries
        found: list[Answer] = []
        for start in range(0, len(queries), most):
            encode = requests.search(queries[start : start + most], options)
            _, reply = await self._connection.call(encode, repeat=True, collection=collection)
            assert isinstance(reply, messages.Results)
            found += answers.read_results(reply)
        return found

    async def _search_like(
        self, collection: str, near: int | str, options: SearchOptions
    ) -> Answer:
        _, opened = await self._connection.opened(collection)
        kind = partial(messages.Search, vectors=None, single=True)
        encode = requests.plain(kind, collection=collection, like=near, **asdict(options))
        _, reply = await self._connection.call(encode, repeat=True)
        assert isinstance(reply, messages.Reply)
        return answers.read_search(reply.ok, opened.description.ids)
