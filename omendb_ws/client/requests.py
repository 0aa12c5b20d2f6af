"""Requests as messages: arguments of calls in, bytes out; and received bytes to typed messages.

Pure functions over ``wire``; know no socket. What builds a message is an ``Encode``: it is called
with the request's id, and the collection as the connection at hand opened it, once for each time
that the request is sent. Local refusals raise the class that the server would answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from omendb_core.model.errors import BadK, BadMetadata, BadRequest, BadVector
from omendb_core.model.types import F32, Include

from ..runtime.transport import TEXT_MARK
from ..wire import binary, binary_replies, messages, searches, text, text_replies
from ..wire.messages import Incoming, JsonObject
from ..wire.opcodes import MAX_U32
from . import arguments
from .arguments import integer
from .arrays import as_vectors, check_dim
from .descriptions import Description, Opened
from .given import Filter, IdsGiven, IncludeNames, Vectors
from .ids import json_ids
from .plain import filter_document, metadata_objects
from .rows import GivenRows, checked_rows, listed_metadata

#: Builds a request's message, given its id and the collection as this connection opened it.
Encode: TypeAlias = Callable[[int, Opened | None], bytes]

_TEXT_MARK = bytes([TEXT_MARK])


def decode(message: bytes) -> Incoming:
    """Return what a received message says. Raises OmenError where it is none of the protocol's."""
    if message[:1] == _TEXT_MARK:
        return text_replies.decode_incoming(message)
    return searches.read_answer(message) or binary_replies.decode_incoming(message)


def plain(kind: Callable[..., messages.Request], /, **fields: Any) -> Encode:
    """Return what builds a JSON request; None stands for a field's default."""
    given = {name: value for name, value in fields.items() if value is not None}
    return lambda request_id, _: text.encode_request(kind(id=request_id, **given))


def add(
    given: GivenRows, producer: str | None, batch: int | None, unless_near: JsonObject | None
) -> Encode:
    """Return what builds the binary ADD of one named batch. Raises BadRequest.

    Building it raises what ``checked_rows`` does. It is built once for a collection as it is: a
    name stands for one content, whatever becomes of the caller's arrays meanwhile.
    """
    if producer is None or batch is None:
        raise BadRequest("producer and batch go together")
    name = arguments.producer(producer)
    number = integer(batch, "batch", 1)
    built: dict[tuple[Any, ...], bytes] = {}

    def encode(request_id: int, opened: Opened | None) -> bytes:
        assert opened is not None
        shape = _shape(opened.description)
        if shape not in built:
            rows = checked_rows(opened.description, given)
            part = rows.part(0, len(rows))
            built[shape] = binary.encode_add(
                request_id, opened.handle, part, name, number, unless_near
            )
        return binary.addressed(built[shape], request_id, opened.handle)

    return encode


def _shape(description: Description) -> tuple[Any, ...]:
    """What the rows of an add are checked against."""
    return description.dim, description.ids, tuple(sorted(description.columns.items()))


def search(vectors: F32 | None, options: SearchOptions) -> Encode:
    """Return what builds a binary SEARCH for ``vectors`` float32 (q, dim), None with examples.

    Building it raises DimMismatch.
    """
    is_plain = options.is_plain

    def encode(request_id: int, opened: Opened | None) -> bytes:
        assert opened is not None
        if vectors is not None:
            check_dim(vectors, opened.description.dim)
            if is_plain:
                return searches.encode_plain(request_id, opened.handle, vectors, options.k)
        return binary.encode_search(
            request_id,
            opened.handle,
            vectors,
            options.k,
            options.filter,
            options.min_score,
            options.include,
            options.last,
            options.shaping,
        )

    return encode


def search_like(collection: str, like: int | str, options: SearchOptions) -> Encode:
    """Return what builds a JSON search by the row with the id ``like``."""
    kind = partial(messages.Search, vectors=None, single=True)
    return plain(
        kind,
        collection=collection,
        like=like,
        k=options.k,
        filter=options.filter,
        min_score=options.min_score,
        last=options.last,
        include=options.include,
        **options.shaping,
    )


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """All of a search but the vector that it is near to. ``shaping``: as ``shaping.shaping``."""

    k: int
    filter: dict[str, Any] | None
    min_score: float | None
    last: int | None
    include: Include
    shaping: JsonObject

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but ``k``."""
        is_open = self.filter is None and self.min_score is None and self.last is None
        return is_open and not self.shaping and self.include == messages.NOTHING


def search_options(
    k: int,
    *,
    filter: Filter | None,
    min_score: float | None,
    last: int | None,
    include: IncludeNames,
    shaping: JsonObject,
) -> SearchOptions:
    """Return the options of a search, copied. Raises BadK, BadFilter, BadRequest."""
    return SearchOptions(
        k=wanted_k(k),
        filter=filter_document(filter),
        min_score=None if min_score is None else arguments.number(min_score, "min_score"),
        last=None if last is None else integer(last, "last", 1),
        include=arguments.included(include),
        shaping=shaping,
    )


def wanted_k(k: object) -> int:
    """``k``, which no server takes beyond a u32; its ``max_k`` is for the server to say."""
    return integer(k, "k", 1, MAX_U32, BadK)


def one_vector(vector: Vectors) -> F32:
    """Return ``vector`` (dim,) as float32 (1, dim), a copy. Raises BadVector, NonFinite."""
    made = as_vectors(vector, "vector")
    if made.ndim != 1 or len(made) == 0:
        raise BadVector("vector: must be one vector (dim,)")
    return made.reshape(1, -1).copy()


def as_queries(vectors: F32) -> F32:
    """Return ``vectors``, (dim,) or (q, dim), as (q, dim). Raises BadVector where one is 0."""
    queries: F32 = vectors.reshape(1, -1) if vectors.ndim == 1 else vectors
    if queries.size == 0:
        raise BadVector("vector: must be a vector (dim,), or at least one (q, dim)")
    return queries


def update_rows(ids: IdsGiven, metadata: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of an ``update``. Raises BadId, BadMetadata, BadRequest."""
    listed = json_ids(ids)
    entries = listed_metadata(metadata, len(listed), "ids", BadRequest)
    if entries is None or None in entries:
        row = None if entries is None else entries.index(None)
        raise BadMetadata("metadata: must be an object", row=row)
    return [
        {"id": one, "metadata": entry or {}}
        for one, entry in zip(listed, metadata_objects(entries), strict=True)
    ]
