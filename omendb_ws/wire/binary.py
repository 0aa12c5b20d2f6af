"""Binary requests: frames to typed messages and back (PROTOCOL section 7).

The server reads them, a client writes them; ``binary_replies.py`` is what comes back. Arrays are
views on the frame. ``decode_request`` never raises: what is no request is a ``Refusal``; faults of
the rows of an otherwise good ADD stand in ``Add.rows``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadFrame, BadRequest, OmenError, TooLarge
from omendb_core.model.types import F32, ColumnType, Include

from . import batches, examples, numbers
from . import fields as field_room
from .adds import read_plain as read_plain_add
from .frames import (
    PADDING,
    Header,
    check_reserved,
    json_section,
    pack,
    present,
    read_header,
    read_sections,
)
from .hits import dumps
from .limits import Limits
from .messages import (
    NOTHING,
    Add,
    Encoding,
    JsonObject,
    Move,
    Refusal,
    Request,
    RestoreBytes,
    Search,
    Subscribe,
)
from .opcodes import (
    ALIGNMENT,
    EXAMPLES,
    FLAG_COLUMNS,
    HEADER,
    KIND_NUMBERS,
    KINDS,
    MAGIC,
    OPS,
    PROTOCOL_BYTE,
    SUBSCRIPTION_KINDS,
    Field,
    Kind,
)

#: A handle to the declared columns of its collection; None where there is no such collection.
ColumnsOf: TypeAlias = Callable[[int], Mapping[str, ColumnType] | None]
#: What the JSON section says. OmenError: it is none.
ReadJson: TypeAlias = Callable[[], Any]

#: A query by a vector, by score, the first k.
NO_SHAPING: Final[Mapping[str, Any]] = MappingProxyType({})
_NO_VECTORS: Final[F32] = np.empty((0, 0), np.float32)
#: A message shorter than this has no id that could be read.
_ID_END: Final = 8

# -- reading ------------------------------------------------------------------------------------


def decode_request(
    frame: bytes,
    limits: Limits,
    columns_of: ColumnsOf | None = None,
    read_json: ReadJson | None = None,
) -> Request | Refusal:
    """A request, or why it is none; ``Refusal.id`` is None where no id can be read.

    ``columns_of`` is asked where an ADD lists its columns by name alone. ``read_json`` gives what
    the JSON section says where that was read before; the integers in it are not looked at then.
    """
    if len(frame) < _ID_END or frame[0] != MAGIC or frame[1] != PROTOCOL_BYTE:
        return Refusal(None, BadFrame("no message of this protocol: 8 bytes from 0xDB 0x01 on"))
    plain = read_plain_add(frame, limits)
    if plain is not None:
        return plain
    request_id = int.from_bytes(frame[4:_ID_END], "little")
    try:
        header = read_header(frame)
        kind = KINDS.get(header.kind)
        if kind is None or kind.direction != "request":
            raise BadFrame(f"kind: {header.kind} is none that clients send")
        check_reserved(header, kind)
        if header.n == 0 and not kind.empty_with:
            raise BadFrame("n: must be at least 1")
        if kind.name == "RESTORE":
            data = read_sections(frame, header, kind.sections)[0]["data"]
            return RestoreBytes(header.id, header.handle, data.data)
        if kind.name == "ADD":
            return _add(frame, header, kind, limits, columns_of, read_json)
        vectors = read_sections(frame, header, kind.sections)[0]["vectors"]
        if header.json_bytes > limits.max_text_bytes:
            raise TooLarge(f"json_bytes: at most {limits.max_text_bytes} (max_text_bytes)")
        json = _read_json(frame, header, kind, read_json)
        _check_n(header, kind, json)
        if header.dim > limits.max_dim:
            raise TooLarge(f"dim: at most {limits.max_dim} (max_dim)")
        return _READERS[kind.name](header, json, vectors, limits)
    except OmenError as error:
        return Refusal(request_id, error)


def _check_n(header: Header, kind: Kind, json: JsonObject) -> None:
    if kind.empty_with in json and header.n:
        raise BadFrame(f"n: must be 0 with {kind.empty_with}")
    if header.n == 0 and kind.empty_with not in json and not (kind.may_be_empty and json):
        raise BadFrame(f"n: must be at least 1 without {kind.empty_with}")


def _read_json(frame: bytes, header: Header, kind: Kind, read_json: ReadJson | None) -> JsonObject:
    """The JSON section, which lies within the message; {} where there is none."""
    if header.json_bytes == 0:
        return {}
    body = read_json() if read_json is not None else _parsed(json_section(frame, header))
    if type(body) is not dict:
        raise BadRequest("JSON section: must be an object")
    field_room.refuse_unknown(body, kind.json)
    field_room.check_traceparent(body)
    return body


def _parsed(section: memoryview) -> Any:
    try:
        return orjson.loads(section)
    except orjson.JSONDecodeError as error:
        if "infinity" in error.msg:
            numbers.refuse(numbers.metadata_of(numbers.exactly(bytes(section))))
        raise no_json(error.msg) from None


def no_json(message: str) -> BadRequest:
    """The refusal of a JSON section that is none."""
    return BadRequest(f"JSON section: not JSON: {message}")


def _add(
    frame: bytes,
    header: Header,
    kind: Kind,
    limits: Limits,
    columns_of: ColumnsOf | None,
    read_json: ReadJson | None,
) -> Add:
    """The fixed sections first: where the columns lie stands in the JSON section."""
    has_columns = bool(header.flags & FLAG_COLUMNS)
    arrays, end = read_sections(frame, header, present(kind, header, {}), is_all=not has_columns)
    json = _read_json(frame, header, kind, read_json)
    types = batches.column_types(header, json, columns_of)
    if has_columns:
        columns = batches.column_sections(types)
        arrays.update(read_sections(frame, header, columns, start=end)[0])
    values = field_room.read_fields(json, _ADD_FIELDS, limits)
    field_room.check_batch_pair(values)
    rows: RowBatch | OmenError
    try:
        rows = batches.row_batch(header, json, types, arrays, limits)
        if rows.metadata is not None and read_json is None:
            numbers.check_integers(json_section(frame, header), rows.metadata)
    except OmenError as error:
        rows = error.with_traceback(None)  # whose frames hold the message
    return Add(header.id, header.handle, rows, binary=True, **values)


def _search(header: Header, json: JsonObject, vectors: F32, limits: Limits) -> Search:
    if header.n > limits.max_queries:
        raise TooLarge(f"n: at most {limits.max_queries} vectors (max_queries)")
    k = field_room.check_k(header.k, limits)
    values = field_room.read_fields(json, _SEARCH_FIELDS, limits)
    field_room.check_needs(values)
    field_room.check_version(values)
    given = vectors if header.n else None
    return Search(header.id, header.handle, given, k=k, binary=True, **values)


def _subscribe(header: Header, json: JsonObject, vectors: F32, limits: Limits) -> Subscribe:
    kind = field_room.read_fields(json, (_SUBSCRIBE_KIND,), limits)["kind"]
    if kind == "match":
        return _subscribe_match(header, json, vectors, limits)
    k = field_room.check_k(header.k, limits)
    values = field_room.read_fields(json, _LIVE_FIELDS, limits)
    field_room.check_needs(values)
    field_room.check_version(values)
    given = vectors if header.n else None
    return Subscribe(header.id, kind, header.handle, given, k=k, binary=True, **values)


def _subscribe_match(header: Header, json: JsonObject, vectors: F32, limits: Limits) -> Subscribe:
    if header.k:
        raise BadFrame("k: must be 0 with kind match")
    field_room.refuse_unknown(json, _MATCH_NAMES)
    values = field_room.read_fields(json, _MATCH_FIELDS, limits)
    field_room.check_version(values)
    return Subscribe(header.id, "match", header.handle, vectors, binary=True, **values)


def _move(header: Header, json: JsonObject, vectors: F32, limits: Limits) -> Move:
    if header.n > 1:
        raise BadFrame("n: MOVE takes one vector")
    values = field_room.read_fields(json, _MOVE_FIELDS, limits)
    field_room.check_needs(values)
    given = vectors if header.n else None
    keeps = "min_score" not in values
    return Move(header.id, header.handle, given, keeps_min_score=keeps, binary=True, **values)


_READERS: Final[Mapping[str, Callable[[Header, JsonObject, F32, Limits], Request]]] = {
    "SEARCH": _search,
    "SUBSCRIBE": _subscribe,
    "MOVE": _move,
}


def _json_fields(kind: str, fields: tuple[Field, ...]) -> tuple[Field, ...]:
    names = KINDS[KIND_NUMBERS[kind]].json
    return tuple(one for one in fields if one.name in names)


_ADD_FIELDS: Final = tuple(
    one for one in OPS["add"].fields if one.name in ("producer", "batch", "unless_near")
)
_SEARCH_FIELDS: Final = _json_fields("SEARCH", OPS["search"].fields)
_SUBSCRIBE_KIND: Final = replace(OPS["subscribe"].fields[0], choices=("live", "match"))
_LIVE_FIELDS: Final = _json_fields("SUBSCRIBE", SUBSCRIPTION_KINDS["live"])
_MATCH_FIELDS: Final = _json_fields("SUBSCRIBE", SUBSCRIPTION_KINDS["match"])
_MATCH_NAMES: Final = frozenset({"kind", *(one.name for one in _MATCH_FIELDS)})
_MOVE_FIELDS: Final = _json_fields("MOVE", OPS["move"].fields)


# -- writing ------------------------------------------------------------------------------------


def encode_add(
    request_id: int,
    handle: int,
    rows: RowBatch,
    producer: str | None = None,
    batch: int | None = None,
    unless_near: JsonObject | None = None,
) -> bytes:
    """ADD. Raises BadRequest where a value has no JSON."""
    json, flags, arrays = batches.as_sections(rows)
    if producer is not None:
        json["producer"], json["batch"] = producer, batch
    if unless_near is not None:
        json["unless_near"] = unless_near
    return _request("ADD", flags, request_id, handle, rows.vectors, 0, json, arrays)


def addressed(message: bytes, request_id: int, handle: int) -> bytes:
    """A binary request again, with another id and handle."""
    made = bytearray(message)
    struct.pack_into("<II", made, 4, request_id, handle)
    return bytes(made)


def encode_search(
    request_id: int,
    handle: int,
    vectors: F32 | None,
    k: int = 10,
    filter: JsonObject | None = None,
    min_score: float | None = None,
    include: Include = NOTHING,
    last: int | None = None,
    shaping: Mapping[str, Any] = NO_SHAPING,
) -> bytes:
    """SEARCH with ``vectors`` float32 (n, dim), or None with ``positive``.

    ``shaping``: the fields of ``Shaped``, and ``at``, by name. Raises BadRequest where a value has
    no JSON.
    """
    json = _given(filter=filter, min_score=min_score, include=_names(include), last=last)
    json |= _shaping(shaping)
    given = _NO_VECTORS if vectors is None else vectors
    return _request("SEARCH", 0, request_id, handle, given, k, json, [])


def encode_subscribe(
    request_id: int,
    handle: int,
    vectors: F32 | None,
    k: int = 10,
    filter: JsonObject | None = None,
    min_score: float | None = None,
    include: Include = NOTHING,
    every_ms: int | None = None,
    encoding: Encoding = "json",
    shaping: Mapping[str, Any] = NO_SHAPING,
) -> bytes:
    """SUBSCRIBE: one ``live`` subscription for each of ``vectors`` float32 (n, dim), or one without
    them, with ``positive``. ``shaping``: the fields of ``Shaped`` by name.
    """
    json = _given(
        kind="live", filter=filter, min_score=min_score, include=_names(include),
        every=every_ms, encoding=encoding,
    )  # fmt: skip
    json |= _shaping(shaping)
    given = _NO_VECTORS if vectors is None else vectors
    return _request("SUBSCRIBE", 0, request_id, handle, given, k, json, [])


def encode_subscribe_match(
    request_id: int,
    handle: int,
    vectors: F32,
    min_score: float,
    filter: JsonObject | None = None,
    include: Include = NOTHING,
    encoding: Encoding = "json",
) -> bytes:
    """SUBSCRIBE: one ``match`` subscription for each of ``vectors`` float32 (n, dim)."""
    json = _given(
        kind="match", filter=filter, min_score=min_score, include=_names(include), encoding=encoding
    )
    return _request("SUBSCRIBE", 0, request_id, handle, vectors, 0, json, [])


def encode_move(
    request_id: int, sub: int, vector: F32 | None, changes: Mapping[str, Any] = NO_SHAPING
) -> bytes:
    """MOVE to ``vector`` float32 (1, dim), with what else changes, by name."""
    json = _shaping(changes)
    if "min_score" in changes:
        json["min_score"] = changes["min_score"]  # null, too
    given = _NO_VECTORS if vector is None else vector
    return _request("MOVE", 0, request_id, sub, given, 0, json, [])


def encode_restore(request_id: int, restore: int, data: bytes | memoryview) -> bytes:
    """RESTORE: the next bytes of a snapshot, at least one."""
    kind, size = KIND_NUMBERS["RESTORE"], len(data)
    header = Header(MAGIC, PROTOCOL_BYTE, kind, 0, request_id, restore, size, 0, 0, 0, 0)
    return b"".join((HEADER.pack(*header), data, PADDING[size % ALIGNMENT]))


def _given(**values: Any) -> JsonObject:
    return {name: value for name, value in values.items() if value is not None}


def _shaping(fields: Mapping[str, Any]) -> JsonObject:
    json = _given(**fields)
    for one in EXAMPLES:
        if one.name in json:
            json[one.name] = examples.as_json(json[one.name])
    return json


def _names(include: Include) -> list[str] | None:
    return [name for name, wanted in include._asdict().items() if wanted] or None


def _request(
    kind: str,
    flags: int,
    request_id: int,
    handle: int,
    vectors: F32,
    k: int,
    json: JsonObject,
    arrays: list[tuple[str, Any]],
) -> bytes:
    """A request; ``arrays`` named ``ids`` stand before the vectors, others after."""
    try:
        text = dumps(json) if json else b""
    except TypeError as error:
        raise BadRequest(f"{kind}: no JSON: {error}") from None
    n, dim = vectors.shape
    header = Header(
        MAGIC, PROTOCOL_BYTE, KIND_NUMBERS[kind], flags, request_id, handle, n, dim, k, len(text), 0
    )
    before = [array for name, array in arrays if name == "ids"]
    after = [array for name, array in arrays if name != "ids"]
    return pack(header, text, [*before, np.ascontiguousarray(vectors, "<f4"), *after])
