"""The synchronous client's searches: the twin of ``searching.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, cast, overload

from numpy.typing import NDArray

from .answers import Answer
from .given import Examples, Filter, IdsGiven, IncludeNames, Rank, Shape, Shaping, Vectors
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
        **shaping: Unpack[Shaping],
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
        **shaping: Unpack[Shaping],
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
        **shaping: Unpack[Shaping],
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
        **shaping: Unpack[Shaping],
    ) -> Answer: ...

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
        positive: Examples,
        negative: Examples | None = ...,
        **shaping: Unpack[Shaping],
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
                positive=positive,
                negative=negative,
                exclude=exclude,
                decay=decay,
                rank=rank,
                group=group,
                spread=spread,
                mmr=mmr,
                at=at,
            )
        )
        return found
