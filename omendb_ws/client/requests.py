"""Requests as messages: arguments of calls in, bytes out; and received bytes to typed messages.

Pure functions over ``wire``; know no socket. What builds a message is an ``Encode``: it is called
with the request's id, and the collection as the connection at hand opened it, once for each time
that the request is sent. Local refusals raise the class that the server would answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.errors import BadId, BadK, BadRequest, BadVector
from omendb_core.types import F32, MAX_SAFE_INTEGER, Include

from ..wire import binary, messages, text
from ..wire.hits import dumps
from ..wire.messages import Incoming
from ..wire.opcodes import MAX_U32
from .answers import Opened
from .rows import (
    ColumnGiven,
    IdsGiven,
    Metadata,
    Vectors,
    as_vectors,
    check_dim,
    checked_rows,
)
from .transport import TEXT_MARK

#: Builds a request's message, given its id and the collection as this connection opened it.
Encode: TypeAlias = Callable[[int, Opened | None], bytes]
Id: TypeAlias = int | str
SomeIds: TypeAlias = Sequence[int] | Sequence[str] | NDArray[Any]
#: A filter of PROTOCOL section 5.
Filter: TypeAlias = Mapping[str, Any]

_TEXT_MARK = bytes([TEXT_MARK])


def decode(message: bytes) -> Incoming:
    """Return what a received message says. Raises OmenError where it is none of the protocol's."""
    if message[:1] == _TEXT_MARK:
        return text.decode_incoming(message)
    return binary.decode_incoming(message)


def plain(kind: Callable[..., messages.Request], /, **fields: Any) -> Encode:
    """Return what builds a JSON request; None stands for a field's default."""
    given = {name: value for name, value in fields.items() if value is not None}
    return lambda request_id, _: text.encode_request(kind(id=request_id, **given))


def add(
    vectors: Vectors,
    ids: IdsGiven | None,
    metadata: Metadata | None,
    columns: Mapping[str, ColumnGiven] | None,
    producer: str | None,
    batch: int | None,
) -> Encode:
    """Return what builds the binary ADD of one named batch. Raises BadRequest.

    Building it raises what ``checked_rows`` does.
    """
    if producer is None or batch is None:
        raise BadRequest("producer and batch go together")

    def encode(request_id: int, opened: Opened | None) -> bytes:
        assert opened is not None
        rows = checked_rows(opened.description, vectors, ids, metadata, columns)
        part = rows.part(0, len(rows))
        return binary.encode_add(request_id, opened.handle, part, producer, batch)

    return encode


def search(
    vectors: F32,
    k: int,
    *,
    filter: Filter | None,
    min_score: float | None,
    last: int | None,
    include: Include,
) -> Encode:
    """Return what builds a binary SEARCH for ``vectors`` float32 (q, dim).

    Building it raises DimMismatch.
    """
    check_k(k)
    wanted = None if filter is None else dict(filter)

    def encode(request_id: int, opened: Opened | None) -> bytes:
        assert opened is not None
        check_dim(vectors, opened.description.dim)
        return binary.encode_search(
            request_id, opened.handle, vectors, k, wanted, min_score, include, last
        )

    return encode


def subscribe_live(vectors: F32, options: LiveOptions) -> Encode:
    """Return what builds a SUBSCRIBE for ``vectors`` float32 (n, dim): n live subscriptions.

    Building it raises DimMismatch.
    """

    def encode(request_id: int, opened: Opened | None) -> bytes:
        assert opened is not None
        check_dim(vectors, opened.description.dim)
        return binary.encode_subscribe(
            request_id,
            opened.handle,
            vectors,
            options.k,
            options.filter,
            options.min_score,
            options.include,
            options.every_ms,
            "binary",
        )

    return encode


def move(sub: int, vector: F32) -> Encode:
    """Return what builds a MOVE of ``sub`` to ``vector`` float32 (1, dim)."""
    return lambda request_id, _: binary.encode_move(request_id, sub, vector)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """All of a live subscription but its vector. ``text``: the same for options that are alike."""

    collection: str
    k: int
    filter: dict[str, Any] | None
    min_score: float | None
    include: Include
    every_ms: int
    text: bytes


def live_options(
    collection: str,
    k: int,
    *,
    filter: Filter | None,
    min_score: float | None,
    include: Iterable[str],
    every_ms: int,
) -> LiveOptions:
    """Return the options of a live subscription, copied. Raises BadK, BadRequest."""
    if not isinstance(collection, str):
        raise BadRequest("collection: must be a string")
    check_k(k)
    check_min_score(min_score)
    wanted = included(include)
    given_filter = dict(filter) if isinstance(filter, Mapping) else filter
    given = [collection, int(k), given_filter, min_score, list(wanted), every_ms]
    try:
        text = dumps(given)
    except TypeError as error:
        raise BadRequest(f"live: no JSON: {error}") from None
    _, _, copied, floor, _, every = orjson.loads(text)
    return LiveOptions(collection, int(k), copied, floor, wanted, every, text)


def check_min_score(min_score: object) -> None:
    """Raise BadRequest for NaN and infinities, which JSON does not know; the rest is the server's
    to say."""
    if isinstance(min_score, float | np.floating) and not math.isfinite(min_score):
        raise BadRequest("min_score: must be finite")


def one_vector(vector: Vectors) -> F32:
    """Return ``vector`` (dim,) as float32 (1, dim), a copy. Raises BadVector, NonFinite."""
    made = as_vectors(vector)
    if made.ndim != 1 or len(made) == 0:
        raise BadVector("vector: must be one vector (dim,)")
    return made.reshape(1, -1).copy()


def check_k(k: object) -> None:
    """Raise BadK for what no server takes; its ``max_k`` is for the server to say."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= MAX_U32:
        raise BadK("k: must be an integer from 1")


def included(include: Iterable[str]) -> Include:
    """Return ``include`` as the wire has it. Raises BadRequest."""
    if isinstance(include, str):
        raise BadRequest("include: must be a list out of metadata, vector")
    names = set(include)
    if not names <= set(Include._fields):
        raise BadRequest("include: must be a list out of metadata, vector")
    return Include(metadata="metadata" in names, vector="vector" in names)


def as_queries(vectors: F32) -> F32:
    """Return ``vectors``, (dim,) or (q, dim), as (q, dim). Raises BadVector for q = 0."""
    queries: F32 = vectors.reshape(1, -1) if vectors.ndim == 1 else vectors
    if len(queries) == 0:
        raise BadVector("vectors: at least one")
    return queries


def json_id(one: object, row: int | None = None) -> Id:
    """Return an id as JSON carries it: a string above 2**53 - 1. Raises BadId."""
    if isinstance(one, str):
        return one
    if isinstance(one, bool) or not isinstance(one, int | np.integer) or not 0 <= one < 2**64:
        raise BadId("ids: must be integers from 0 to 2**64 - 1, or strings", row=row)
    return int(one) if one <= MAX_SAFE_INTEGER else str(int(one))


def json_ids(ids: SomeIds) -> list[Id]:
    """Return ids as JSON carries them. Raises BadId with ``row``."""
    listed = ids.tolist() if isinstance(ids, np.ndarray) else ids
    if isinstance(listed, str):
        raise BadId("ids: must be a list of ids")
    return [json_id(one, row) for row, one in enumerate(listed)]


def update_rows(ids: SomeIds, metadata: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of an ``update``. Raises BadId, BadRequest."""
    listed = json_ids(ids)
    if len(listed) != len(metadata):
        raise BadRequest(f"metadata: {len(metadata)} objects for {len(listed)} ids")
    return [
        {"id": one, "metadata": dict(entry)} for one, entry in zip(listed, metadata, strict=True)
    ]
