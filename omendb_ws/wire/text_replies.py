"""Text replies and events: JSON out of typed messages and back (PROTOCOL sections 2 to 6).

The server writes them, a client reads them; ``text.py`` is what they answer. No index, no socket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from omendb_core.model.errors import BY_CODE, BadRequest, Internal, OmenError
from omendb_core.model.types import F32

from .hits import dumps, near_text, row_objects
from .messages import Added, ErrorReply, Event, Found, JsonObject, Reply, Results, Rows
from .text import valid_id


def encode_ok(request_id: int, ok: Mapping[str, Any]) -> bytes:
    """``{"id":…,"ok":{…}}``."""
    return b'{"id":%d,"ok":%b}' % (request_id, dumps(ok))


def error_object(error: OmenError) -> JsonObject:
    """What says of an error what is wrong (PROTOCOL section 2)."""
    fault: JsonObject = {"code": error.code, "message": error.message, "retry": error.retry}
    if error.row is not None:
        fault["row"] = error.row
    fault.update(error.details)
    return fault


def encode_error(request_id: int | None, error: OmenError) -> bytes:
    """An error reply, or with None the event ``error``."""
    fault = error_object(error)
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
    if added.shards is not None:
        ok["shards"] = added.shards
    if added.is_compared:
        ok["skipped"], ok["near"] = added.skipped, near_text(added.near)
    return encode_ok(request_id, ok)


def encode_results(request_id: int, results: Results, single: bool) -> bytes:
    """The answer to a search: one list of rows (``single``), or one for each query."""
    return _whole(results_list(request_id, results, single, row_objects(results.hits)))


class JsonList(NamedTuple):
    """A message that is mostly one list, whose items may be joined in pieces."""

    head: bytes
    items: list[bytes]
    tail: bytes


def _whole(message: JsonList) -> bytes:
    return b"%b%b%b" % (message.head, b",".join(message.items), message.tail)


def results_list(request_id: int, results: Results, single: bool, rows: list[bytes]) -> JsonList:
    """As ``encode_results``; ``rows``: the rows as JSON objects."""
    at = b"" if results.at is None else b'"at":%b,' % dumps(results.at)
    if results.versions is not None:
        at += b'"versions":%b,' % dumps(results.versions)
    return JsonList(
        b'{"id":%d,"ok":{"version":%d,"results":[' % (request_id, results.version),
        rows if single else _cut(rows, results.counts.tolist()),
        b'],%b"took_us":%d}}' % (at, results.took_us),
    )


def _cut(rows: Sequence[bytes], counts: Sequence[int]) -> list[bytes]:
    """``rows`` as one JSON list for each count."""
    lists, start = [], 0
    for count in counts:
        lists.append(b"[%b]" % b",".join(rows[start : start + count]))
        start += count
    return lists


def encode_found(request_id: int, found: Found) -> bytes:
    """The answer to ``get``: a row or null for each id."""
    return _whole(found_list(request_id, found, row_objects(found.hits)))


def found_list(request_id: int, found: Found, objects: list[bytes]) -> JsonList:
    """As ``encode_found``; ``objects``: the rows as JSON objects."""
    rows = iter(objects)
    versions = b"" if found.versions is None else b',"versions":%b' % dumps(found.versions)
    return JsonList(
        b'{"id":%d,"ok":{"version":%d,"rows":[' % (request_id, found.version),
        [next(rows) if there else b"null" for there in found.found.tolist()],
        b"]%b}}" % versions,
    )


def encode_event(event: str, body: Mapping[str, Any]) -> bytes:
    """A push: ``{"event":…}`` and the fields of ``body``."""
    return dumps({"event": event, **body})


def encode_rows(rows: Rows) -> bytes:
    """One push of a ``feed``, ``match`` or ``novel`` subscription."""
    return b'{"event":"%b","sub":%d%b,"version":%d,"to_seq":%d,"rows":[%b]}' % (
        rows.kind.encode(),
        rows.sub,
        b"" if rows.shard is None else b',"shard":%d' % rows.shard,
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
    reply_id, ok, error = valid_id(body), body.get("ok"), body.get("error")
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
