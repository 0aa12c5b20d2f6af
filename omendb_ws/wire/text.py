"""Text messages: JSON to typed messages and back (PROTOCOL sections 2 to 6).

The server reads requests and writes replies and events; a client writes requests and reads the
rest. No index, no socket. ``decode_request`` never raises: what is no request is a ``Refusal``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np
import orjson
from omendb_core.model.errors import (
    BY_CODE,
    BadRequest,
    Internal,
    NonFinite,
    OmenError,
    TooLarge,
)
from omendb_core.model.types import F32, Include

from . import fields as field_room
from . import numbers
from .hits import array_text, dumps, row_objects
from .limits import Limits
from .messages import (
    Add,
    Added,
    Auth,
    Count,
    Create,
    Delete,
    Describe,
    Drop,
    ErrorReply,
    Event,
    Found,
    Get,
    JsonObject,
    List,
    Move,
    Open,
    Ping,
    Refusal,
    Reply,
    Request,
    Results,
    Rows,
    Search,
    Stats,
    Subscribe,
    Unsubscribe,
    Update,
)
from .opcodes import MAX_U32, OPS, SUBSCRIPTION_KINDS, Field

_KNOWN_FIELDS: Final = {name: op.field_names for name, op in OPS.items()}
_ADD_ROWS: Final = [one for one in OPS["add"].fields if one.name == "rows"]
_ADD_BUT_ROWS: Final = [one for one in OPS["add"].fields if one.name != "rows"]

# -- requests ---------------------------------------------------------------------------------


def decode_request(text: str | bytes, limits: Limits) -> Request | Refusal:
    """A request, or why it is none; ``Refusal.id`` is None where no id can be read."""
    if longer_than(text, limits.max_text_bytes):
        return too_long(limits)
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _unreadable(text, error)
    request_id = id_of(body)
    if isinstance(request_id, Refusal):
        return request_id
    try:
        if has_rows(body):
            numbers.check_integers(text, numbers.metadata_of(body))
        return request_of(request_id, body, limits)
    except OmenError as error:
        return Refusal(request_id, error)


def id_of(body: Any) -> int | Refusal:
    """The id of a request, or why there is none."""
    if type(body) is not dict:
        return Refusal(None, BadRequest("a request is a JSON object"))
    request_id = _id_of(body)
    if request_id is None:
        return Refusal(None, BadRequest(f"id: must be an integer from 0 to {MAX_U32}"))
    return request_id


def has_rows(body: JsonObject) -> bool:
    """Whether it is an op with metadata of rows."""
    return body.get("op") in ("add", "update")


def too_long(limits: Limits) -> Refusal:
    """Of a text over ``max_text_bytes``."""
    return Refusal(None, TooLarge(f"text over {limits.max_text_bytes} bytes (max_text_bytes)"))


def no_json(message: str, position: int) -> Refusal:
    """Of a text that is none."""
    return Refusal(None, BadRequest(f"not JSON: {message} at character {position}"))


def longer_than(text: str | bytes, most_bytes: int) -> bool:
    """Whether ``text`` has more bytes of UTF-8; encodes only where its length leaves a doubt."""
    if len(text) > most_bytes:
        return True
    if isinstance(text, bytes) or len(text) * 4 <= most_bytes or text.isascii():
        return False
    return len(text.encode(errors="surrogatepass")) > most_bytes


def _id_of(body: Mapping[str, Any]) -> int | None:
    found = body.get("id")
    return found if type(found) is int and 0 <= found <= MAX_U32 else None


def _unreadable(text: str | bytes, error: orjson.JSONDecodeError) -> Refusal:
    """A number beyond a double is valid JSON all the same, and its message has an id."""
    if is_of_infinity(error.msg):
        body = numbers.exactly(text)
        request_id = id_of(body)
        if not isinstance(request_id, Refusal):
            try:
                numbers.refuse(numbers.metadata_of(body))
            except OmenError as fault:
                return Refusal(request_id, fault)
            return not_finite(request_id)
    return no_json(error.msg, error.pos)


def is_of_infinity(message: str) -> bool:
    """Whether that is what orjson says of a number beyond a double."""
    return "infinity" in message


def not_finite(request_id: int) -> Refusal:
    """Of a text with such a number, but none in metadata."""
    return Refusal(request_id, NonFinite("a number in the message is no finite double"))


def request_of(request_id: int, body: JsonObject, limits: Limits) -> Request:
    """The request that ``body`` is. OmenError."""
    name = body.get("op")
    if type(name) is not str:
        raise BadRequest("op: must be a string" if "op" in body else "op: missing")
    op = OPS.get(name)
    if op is None:
        raise BadRequest(f"op: {field_room.shown(name)} is unknown")
    field_room.refuse_unknown(body, _KNOWN_FIELDS[name])
    special = _SPECIAL.get(name)
    if special is not None:
        return special(request_id, body, limits)
    return _PLAIN[name](request_id, **field_room.read_fields(body, op.fields, limits))


def _add(request_id: int, body: JsonObject, limits: Limits) -> Add:
    """Faults of ``rows`` stand in their place: a repeated batch is answered before them."""
    values = field_room.read_fields(body, _ADD_BUT_ROWS, limits)
    field_room.check_batch_pair(values)
    if "rows" not in body:
        raise BadRequest("rows: missing")
    try:
        rows = field_room.read_fields(body, _ADD_ROWS, limits)["rows"]
    except OmenError as error:
        rows = error
    return Add(request_id, rows=rows, **values)


def _search(request_id: int, body: JsonObject, limits: Limits) -> Search:
    given = [name for name in OPS["search"].one_of if name in body]
    if len(given) != 1:
        raise BadRequest(f"exactly one of {', '.join(OPS['search'].one_of)}")
    values = field_room.read_fields(body, OPS["search"].fields, limits)
    values.setdefault("vectors", None)
    return Search(request_id, single=given != ["vectors"], **values)


def _subscribe(request_id: int, body: JsonObject, limits: Limits) -> Subscribe:
    kind = field_room.read_fields(body, OPS["subscribe"].fields[:1], limits)["kind"]
    wanted = SUBSCRIPTION_KINDS[kind]
    field_room.refuse_unknown(body, {one.name for one in wanted} | {"id", "op", "kind"})
    values = field_room.read_fields(body, wanted, limits)
    if "from_seq" in values and "epoch" not in values:
        raise BadRequest("epoch: missing; from_seq needs it")
    return Subscribe(request_id, kind, **values)


_PLAIN: Final[Mapping[str, Callable[..., Request]]] = {
    one.op: one
    for one in (
        Ping, Auth, Create, Open, Describe, List, Drop, Delete, Update, Get, Count, Move,
        Unsubscribe, Stats,
    )
}  # fmt: skip
_SPECIAL: Final[Mapping[str, Callable[[int, JsonObject, Limits], Request]]] = {
    "add": _add,
    "search": _search,
    "subscribe": _subscribe,
}


#: op -> attribute -> its default.
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    one.op: {field.name: field.default for field in dataclasses.fields(one)}
    for one in get_args(Request)
}


def encode_request(request: Request) -> bytes:
    """A request as JSON; fields that have their defaults are left out.

    ``Add.rows`` must be a list of JSON rows here. Raises BadRequest where a value has no JSON.
    """
    body: JsonObject = {"id": request.id, "op": request.op}
    wanted = OPS[request.op].fields
    if isinstance(request, Subscribe):
        body["kind"] = request.kind
        wanted = SUBSCRIPTION_KINDS[request.kind]
    if isinstance(request, Search):
        passed = "vectors" if request.single else "vector"
        wanted = tuple(one for one in wanted if one.name != passed)
    defaults = _DEFAULTS[request.op]
    for one in wanted:
        value = getattr(request, one.target)
        if value is not None and (one.required or value is not defaults.get(one.target)):
            body[one.name] = _as_json(value, one)
    try:
        return dumps(body)
    except TypeError as error:
        raise BadRequest(f"{request.op}: no JSON: {error}") from None


def _as_json(value: Any, field: Field) -> Any:
    if isinstance(value, Include):
        return [name for name, wanted in value._asdict().items() if wanted]
    if isinstance(value, np.ndarray):
        return orjson.Fragment(array_text(value[0] if field.type == "vector" else value))
    return dict(value) if field.type == "columns" else value


# -- replies and events -----------------------------------------------------------------------


def encode_ok(request_id: int, ok: Mapping[str, Any]) -> bytes:
    """``{"id":…,"ok":{…}}``."""
    return b'{"id":%d,"ok":%b}' % (request_id, dumps(ok))


def encode_error(request_id: int | None, error: OmenError) -> bytes:
    """An error reply, or with None the event ``error``."""
    fault: JsonObject = {"code": error.code, "message": error.message, "retry": error.retry}
    if error.row is not None:
        fault["row"] = error.row
    fault.update(error.details)
    if request_id is None:
        return dumps({"event": "error", **fault})
    return dumps({"id": request_id, "error": fault})


def encode_added(request_id: int, added: Added) -> bytes:
    """The acknowledgement of an add."""
    ok: JsonObject = {
        "version": added.version,
        "first_seq": added.first_seq,
        "last_seq": added.last_seq,
    }
    if added.duplicate:
        ok["duplicate"] = True
    return encode_ok(request_id, ok)


def encode_results(
    request_id: int, results: Results, single: bool, rows: list[bytes] | None = None
) -> bytes:
    """The answer to a search: one list of rows (``single``), or one for each query.

    ``rows``: the rows as JSON objects, where they have been written before.
    """
    rows = row_objects(results.hits) if rows is None else rows
    listed = b",".join(rows if single else _cut(rows, results.counts.tolist()))
    return b'{"id":%d,"ok":{"version":%d,"results":[%b],"took_us":%d}}' % (
        request_id,
        results.version,
        listed,
        results.took_us,
    )


def _cut(rows: Sequence[bytes], counts: Sequence[int]) -> list[bytes]:
    """``rows`` as one JSON list for each count."""
    lists, start = [], 0
    for count in counts:
        lists.append(b"[%b]" % b",".join(rows[start : start + count]))
        start += count
    return lists


def encode_found(request_id: int, found: Found, objects: list[bytes] | None = None) -> bytes:
    """The answer to ``get``: a row or null for each id; ``objects`` as in ``encode_results``."""
    rows = iter(row_objects(found.hits) if objects is None else objects)
    listed = b",".join([next(rows) if there else b"null" for there in found.found.tolist()])
    return b'{"id":%d,"ok":{"version":%d,"rows":[%b]}}' % (request_id, found.version, listed)


def encode_event(event: str, body: Mapping[str, Any]) -> bytes:
    """A push: ``{"event":…}`` and the fields of ``body``."""
    return dumps({"event": event, **body})


def encode_rows(rows: Rows) -> bytes:
    """One push of a ``feed`` or ``match`` subscription."""
    return b'{"event":"%b","sub":%d,"version":%d,"to_seq":%d,"rows":[%b]}' % (
        rows.kind.encode(),
        rows.sub,
        rows.version,
        rows.to_seq,
        b",".join(row_objects(rows.hits)),
    )


def encode_map(
    sub: int,
    version: int,
    first_seq: int,
    basis: int,
    rows: list[bytes],
    said_plane: bytes = b"",
) -> bytes:
    """One push of a ``map`` subscription; ``rows`` are JSON objects, ``said_plane`` a member."""
    form = b'{"event":"map","sub":%d,"version":%d,"first_seq":%d,"basis":%d,%b"rows":[%b]}'
    return form % (sub, version, first_seq, basis, said_plane, b",".join(rows))


def encode_plane(plane: Mapping[str, F32]) -> bytes:
    """The member ``plane`` of the first push of a basis."""
    return b'"plane":%b,' % dumps(plane)


def decode_incoming(text: str | bytes) -> Reply | ErrorReply | Event:
    """What a client received. Raises BadRequest where it is nothing of the protocol."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise BadRequest(f"the server sent no JSON: {fault.msg}") from None
    if type(body) is not dict:
        raise BadRequest("the server sent JSON that is no object")
    event = body.pop("event", None)
    if type(event) is str:
        return ErrorReply(None, _error(body)) if event == "error" else Event(event, body)
    reply_id, ok, error = _id_of(body), body.get("ok"), body.get("error")
    if reply_id is not None and type(ok) is dict:
        return Reply(reply_id, ok)
    if reply_id is not None and type(error) is dict:
        return ErrorReply(reply_id, _error(error))
    raise BadRequest("the server sent neither a reply nor an event")


def _error(fault: JsonObject) -> OmenError:
    """The exception of an error's code; of a code that is not known, ``Internal``."""
    code, row = fault.pop("code", None), fault.pop("row", None)
    message = str(fault.pop("message", ""))
    fault.pop("retry", None)
    row = row if type(row) is int else None
    known = BY_CODE.get(code) if type(code) is str else None
    if known is None:
        return Internal(f"{code}: {message}", row=row)
    details = {name: value for name, value in fault.items() if type(value) in (str, int)}
    return known(message, row=row, **details)
