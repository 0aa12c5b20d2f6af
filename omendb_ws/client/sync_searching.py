"""The synchronous client's searches: the twin of ``searching.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, overload

from numpy.typing import NDArray

from .answers import Answer
from .given import Filter, IncludeNames, Vectors
from .sync_watching import SyncWatching


class SyncSearching(SyncWatching):
    """What ``Client`` is beside requests about the server, collections and rows."""

    @overload
    def search(
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
    def search(
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
    def search(
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
    def search(
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

    def search(
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
        search = cast("Any", self._aio).search
        found: Answer | list[Answer] = self._run(
            search(
                collection,
                vector,
                k,
                filter=filter,
                min_score=min_score,
                last=last,
                include=include,
                like=like,
            )
        )
        return found
