"""Live queries as messages: what one asks, what a move changes of it, and the bytes of both.

Pure functions over ``wire``; know no socket. What a query asks is ``Asked``: a vector and options.
A ``Change`` makes of it what is asked after a move. Local refusals raise the class that the server
would answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any, Final

from omendb_core.model.errors import BadRequest
from omendb_core.model.types import F32, Include

from ..wire import binary, examples
from ..wire.hits import dumps
from ..wire.messages import JsonObject
from . import arguments
from .arrays import check_dim
from .descriptions import Opened
from .given import Examples, Filter, IdsGiven, IncludeNames, Rank, Shape, Vectors
from .plain import filter_document
from .requests import Encode, one_vector, wanted_k
from .shaping import shaping
from .view import Order

_EXAMPLES: Final = frozenset(("positive", "negative"))
_TARGET: Final = frozenset(("target",))


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """All of a live subscription but its vector. ``text``: the same for options that are alike.

    ``shape``: ``decay``, ``rank``, ``group``, ``spread``; ``fields``: what a move may change, the
    examples in place of a vector among it. Both as JSON has them, but for vectors.
    """

    collection: str
    k: int
    include: Include
    every_ms: int
    shape: JsonObject
    fields: JsonObject
    text: bytes = field(default=b"", compare=False)

    def __post_init__(self) -> None:
        alike = {
            name: examples.as_json(value) if name in _EXAMPLES else value
            for name, value in self.fields.items()
        }
        head = [self.collection, self.k, list(self.include), self.every_ms]
        object.__setattr__(self, "text", dumps([*head, self.shape, alike]))

    @property
    def order(self) -> Order:
        """What orders its answers."""
        if "decay" in self.shape:
            return "decay"
        return "rank" if "rank" in self.shape else "score"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a live query asks: ``vector`` float32 (1, dim), None where examples stand for it."""

    options: LiveOptions
    vector: F32 | None


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What a move changes: ``vector`` float32 (1, dim), and ``fields`` as JSON has them.

    ``names``: what it sets; a vector and examples stand in the same place.
    """

    vector: F32 | None
    fields: JsonObject

    @property
    def has_target(self) -> bool:
        """Whether the query is near to something else after it."""
        return self.vector is not None or "positive" in self.fields

    @property
    def names(self) -> frozenset[str]:
        """What it sets; a vector and examples stand in the same place."""
        named = frozenset(self.fields) - _EXAMPLES
        return named | _TARGET if self.has_target else named

    def made(self, asked: Asked) -> Asked:
        """What is asked after it."""
        vector, before = asked.vector, asked.options.fields
        if self.has_target:
            vector = self.vector
            before = {name: value for name, value in before.items() if name not in _EXAMPLES}
        fields = {**before, **self.fields}
        kept = {name: value for name, value in fields.items() if not _clears(name, value)}
        return Asked(replace(asked.options, fields=kept), vector)


def _clears(name: str, value: Any) -> bool:
    return value is None or (name not in _EXAMPLES and value in ({}, []))


def asked(
    collection: str,
    vector: Vectors | None,
    k: int,
    *,
    positive: Examples | None,
    negative: Examples | None,
    exclude: IdsGiven | None,
    decay: Shape | None,
    rank: Rank | None,
    group: Shape | None,
    spread: Shape | None,
    filter: Filter | None,
    min_score: float | None,
    include: IncludeNames,
    every_ms: int,
) -> Asked:
    """Return what a live query asks, copied. Raises OmenError for arguments that are none."""
    options = LiveOptions(
        arguments.collection(collection),
        wanted_k(k),
        arguments.included(include),
        arguments.bounded(every_ms, arguments.field("live", "every_ms")),
        shaping(decay=decay, rank=rank, group=group, spread=spread),
        {},
    )
    first = change(
        vector,
        positive=positive,
        negative=negative,
        exclude=... if exclude is None else exclude,
        filter=... if filter is None else filter,
        min_score=... if min_score is None else min_score,
    )
    if not first.has_target:
        raise BadRequest("vector: missing; a live query takes a vector, or positive examples")
    return first.made(Asked(options, None))


def change(
    vector: Vectors | None,
    *,
    positive: Examples | None,
    negative: Examples | None,
    exclude: IdsGiven | EllipsisType | None,
    filter: Filter | EllipsisType | None,
    min_score: float | EllipsisType | None,
) -> Change:
    """Return what a move changes, copied; ``...`` stands for what stays. Raises OmenError."""
    if positive is not None and vector is not None:
        raise BadRequest("vector: does not go together with positive")
    left_out = None if exclude is ... else [] if exclude is None else exclude
    fields = shaping(positive=positive, negative=negative, exclude=left_out)
    if filter is not ...:
        fields["filter"] = filter_document({} if filter is None else filter)
    if min_score is not ...:
        fields["min_score"] = (
            None if min_score is None else arguments.number(min_score, "min_score")
        )
    return Change(None if vector is None else one_vector(vector), fields)


def subscribe(vectors: F32 | None, options: LiveOptions) -> Encode:
    """Return what builds a SUBSCRIBE for ``vectors`` float32 (n, dim): n live subscriptions; None:
    one, by the examples in ``options``.

    Building it raises DimMismatch.
    """

    def encode(request_id: int, opened: Opened | None) -> bytes:
        assert opened is not None
        if vectors is not None:
            check_dim(vectors, opened.description.dim)
        fields = {**options.shape, **options.fields}
        return binary.encode_subscribe(
            request_id,
            opened.handle,
            vectors,
            options.k,
            include=options.include,
            every_ms=options.every_ms,
            encoding="binary",
            **{name: fields.pop(name) for name in ("filter", "min_score") if name in fields},
            shaping=fields,
        )

    return encode


def move(sub: int, changed: Change) -> Encode:
    """Return what builds a MOVE of ``sub``."""
    return lambda request_id, _: binary.encode_move(request_id, sub, changed.vector, changed.fields)
