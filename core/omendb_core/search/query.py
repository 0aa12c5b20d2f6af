"""What a search asks and answers, and query vectors as they are scored. Pure, no window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..filters.parser import Filter
from ..model.errors import DimMismatch, OmenError
from ..model.types import F32, U32, Definition, Hits, Ids, Include
from ..ranking.shape import PLAIN, Shape
from ..scoring import score
from ..state import NOTHING

#: An example of what is sought: the id of a stored row, or a vector float32 (dim,) as it came.
Example: TypeAlias = int | str | F32


@dataclass(frozen=True, slots=True)
class Examples:
    """What to be like and unlike (PROTOCOL section 5); at least one ``positive``.

    Rows that do not pass ``visible`` are not there for whoever asks.
    """

    positive: tuple[Example, ...]
    negative: tuple[Example, ...] = ()
    visible: Filter | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One search request: ``vectors`` float32 (q, dim) as they came, ``like``, a list of one id, or
    ``examples``.

    ``exclude`` are ids that are left out. ``at`` is the Unix time, in seconds, that ages and
    weights count to; needed where ``shape`` has an order. A row of ``like`` that does not
    pass ``visible`` is not there for whoever asks.

    ``max_hits`` bounds the rows of the whole answer (TooLarge beyond it), before vectors and
    metadata are gathered. ``is_prepared``: ``vectors`` are as they are scored already.
    """

    vectors: F32 | None
    like: Ids | None = None
    k: int = 10
    filter: Filter | None = None
    min_score: float | None = None
    last: int | None = None
    include: Include = NOTHING
    max_hits: int | None = None
    examples: Examples | None = None
    exclude: Ids | None = None
    shape: Shape = PLAIN
    at: float | None = None
    visible: Filter | None = None
    is_prepared: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the answer is the first k by score."""
        return self.shape is PLAIN or self.shape == PLAIN


@dataclass(frozen=True, slots=True)
class Answer:
    """``counts`` uint32 (q,) rows of ``hits`` for each query, each in the order of its shape."""

    counts: U32
    hits: Hits


def check_dim(vectors: F32, definition: Definition) -> None:
    """DimMismatch, naming the field, if query vectors (q, dim) are not of the collection's."""
    if vectors.shape[1] != definition.dim:
        field = "vector" if len(vectors) == 1 else "vectors"
        raise DimMismatch(f"{field}: {wrong_dim(vectors.shape[1], definition)}")


def wrong_dim(dim: int, definition: Definition) -> str:
    """What is wrong with vectors of ``dim`` dimensions."""
    return f"{dim} dimensions, the collection has {definition.dim}"


def prepared_of(definition: Definition, query: Query) -> F32:
    """The vectors of a query as they are scored. As ``prepare_queries``."""
    if query.is_prepared and query.vectors is not None:
        return query.vectors
    return prepare_queries(definition, query.vectors)


def prepare_queries(definition: Definition, vectors: F32 | None) -> F32:
    """Query vectors float32 (q, dim) as they are scored: checked, normalised for ``cosine``.

    Raises DimMismatch, NonFinite or ZeroNorm, with ``row`` where there are several.
    """
    if vectors is None:
        raise TypeError("a query has vectors, or like")
    check_dim(vectors, definition)
    try:
        return score.prepare(vectors, definition.metric)
    except OmenError as error:
        if len(vectors) == 1:
            error.row = None
        raise
