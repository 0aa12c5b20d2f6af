"""Text requests: JSON to typed messages and back (PROTOCOL sections 2 to 6).

The server reads them, a client writes them; ``text_replies.py`` is what comes back. No index, no
socket. ``decode_request`` never raises: what is no request is a ``Refusal``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, get_args

import numpy as np
import orjson
from omendb_core.model.errors import (
    BadRequest,
    NonFinite,
    OmenError,
    TooLarge,
)
from omendb_core.model.types import Include

from . import examples, numbers
from . import fields as field_room
from .hits import array_text, dumps
from .limits import Limits
from .messages import (
    Add,
    Auth,
    Cluster,
    Count,
    Create,
    Delete,
    Describe,
    Drop,
    Evacuate,
    Get,
    Given,
    Heal,
    JsonObject,
    List,
    Move,
    MoveOwner,
    Open,
    Ping,
    Refusal,
    Request,
    Restore,
    Search,
    Shaped,
    Snapshot,
    Stats,
    Subscribe,
    Unsubscribe,
    Update,
    Usage,
)
from .opcodes import COMMON_FIELDS, MAX_U32, OPS, SUBSCRIPTION_KINDS, Field

_KNOWN_FIELDS: Final = {name: op.field_names for name, op in OPS.items()}
_ADD_ROWS: Final = [one for one in OPS["add"].fields if one.name == "rows"]
_SHAPING: Final = frozenset(one.name for one in dataclasses.fields(Shaped)) | {"at"}
_UNSHAPED: Final = [one for one in OPS["search"].fields if one.name not in _SHAPING]
_ADD_BUT_ROWS: Final = [one for one in OPS["add"].fields if one.name != "rows"]


def decode_request(
    text: str | bytes, limits: Limits, given: Given | None = None
) -> Request | Refusal:
    """A request, or why it is none; ``Refusal.id`` is None where no id can be read."""
    if longer_than(text, limits.max_text_bytes):
        return too_long(limits)
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _unreadable(text, error, given)
    request_id = id_of(body, given)
    if isinstance(request_id, Refusal):
        return request_id
    try:
        if has_rows(body):
            numbers.check_integers(text, numbers.metadata_of(body))
        return request_of(request_id, body, limits)
    except OmenError as error:
        return Refusal(request_id, error)


def id_of(body: Any, given: Given | None = None) -> int | Refusal:
    """The id of a request, or why there is none. What is ``given`` goes into the body."""
    if type(body) is not dict:
        return Refusal(None, BadRequest("a request is a JSON object"))
    if given is not None:
        twice = body.keys() & given
        if twice:
            return Refusal(None, BadRequest(f"{min(twice)}: unknown field"))
        body.update(given)
    request_id = valid_id(body)
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


def valid_id(body: Mapping[str, Any]) -> int | None:
    """Its ``id``; None where that is none."""
    found = body.get("id")
    return found if type(found) is int and 0 <= found <= MAX_U32 else None


def _unreadable(text: str | bytes, error: orjson.JSONDecodeError, given: Given | None) -> Refusal:
    """A number beyond a double is valid JSON all the same, and its message has an id."""
    if is_of_infinity(error.msg):
        body = numbers.exactly(text)
        request_id = id_of(body, given)
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
    field_room.check_traceparent(body)
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
        rows = error.with_traceback(None)  # whose frames hold the message
    return Add(request_id, rows=rows, **values)


def _search(request_id: int, body: JsonObject, limits: Limits) -> Search:
    given = [name for name in OPS["search"].one_of if name in body]
    if len(given) != 1:
        raise BadRequest(f"exactly one of {', '.join(OPS['search'].one_of)}")
    if body.keys().isdisjoint(_SHAPING):  # nearly every one: half as many fields to look for
        values = field_room.read_fields(body, _UNSHAPED, limits)
    else:
        values = field_room.read_fields(body, OPS["search"].fields, limits)
        field_room.check_needs(values)
    field_room.check_version(values)
    values.setdefault("vectors", None)
    return Search(request_id, single=given != ["vectors"], **values)


def _one_of(
    kind: type[Snapshot] | type[Restore], request_id: int, body: JsonObject, limits: Limits
) -> Request:
    op = OPS[kind.op]
    values = field_room.read_fields(body, op.fields, limits)
    if sum(name in body for name in op.one_of) != 1:
        raise BadRequest(f"exactly one of {', '.join(op.one_of)}")
    for name in ("durability", "replicas"):
        if name in values and "collection" not in body:
            raise BadRequest(f"{name}: goes with collection")
    return kind(request_id, **values)


def _get(request_id: int, body: JsonObject, limits: Limits) -> Get:
    values = field_room.read_fields(body, OPS["get"].fields, limits)
    field_room.check_version(values)
    return Get(request_id, **values)


def _count(request_id: int, body: JsonObject, limits: Limits) -> Count:
    values = field_room.read_fields(body, OPS["count"].fields, limits)
    field_room.check_limit_of(values)
    field_room.check_version(values)
    return Count(request_id, **values)


def _subscribe(request_id: int, body: JsonObject, limits: Limits) -> Subscribe:
    kind = field_room.read_fields(body, OPS["subscribe"].fields[:1], limits)["kind"]
    wanted = SUBSCRIPTION_KINDS[kind]
    field_room.refuse_unknown(body, {one.name for one in wanted} | COMMON_FIELDS | {"kind"})
    values = field_room.read_fields(body, wanted, limits)
    field_room.check_limit_of(values)
    if kind == "live":
        field_room.check_target(values, required=True)
    field_room.check_version(values)
    if "min_version" in values and "collection" not in values:
        raise BadRequest("min_version: needs a collection")
    for name in ("from_seq", "from_seqs"):
        if name in values and "epoch" not in values:
            raise BadRequest(f"epoch: missing; {name} needs it")
    return Subscribe(request_id, kind, **values)


def _move(request_id: int, body: JsonObject, limits: Limits) -> Move:
    values = field_room.read_fields(body, OPS["move"].fields, limits)
    field_room.check_target(values, required=values.keys() == {"sub"})
    return Move(request_id, keeps_min_score="min_score" not in values, **values)


_PLAIN: Final[Mapping[str, Callable[..., Request]]] = {
    one.op: one
    for one in (
        Ping, Auth, Create, Open, Describe, List, Drop, Delete, Update, Move,
        Unsubscribe, Stats, Usage, Cluster, MoveOwner, Evacuate, Heal,
    )
}  # fmt: skip
_SPECIAL: Final[Mapping[str, Callable[[int, JsonObject, Limits], Request]]] = {
    "add": _add,
    "count": _count,
    "get": _get,
    "search": _search,
    "subscribe": _subscribe,
    "move": _move,
    "snapshot": partial(_one_of, Snapshot),
    "restore": partial(_one_of, Restore),
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
    if isinstance(request, Move) and not request.keeps_min_score:
        body["min_score"] = request.min_score
    try:
        return dumps(body)
    except TypeError as error:
        raise BadRequest(f"{request.op}: no JSON: {error}") from None


def _as_json(value: Any, field: Field) -> Any:
    if isinstance(value, Include):
        return [name for name, wanted in value._asdict().items() if wanted]
    if isinstance(value, np.ndarray):
        return orjson.Fragment(array_text(value[0] if field.type == "vector" else value))
    if field.type == "examples":
        return examples.as_json(value)
    return dict(value) if field.type == "columns" else value
