"""What a node reads of a message that it passes on: which op, of what, and under which number.

Of requests as they come and of replies and pushes as they come back, without decoding them: the
fields of a short text, the beginning of a longer one, the header of a frame. Pure.

Invariant: what is read here decides where a message goes and nothing else; who answers it decodes
it whole.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from .frames import padded
from .messages import Add, Posted, Request, RestoreBytes, Said, Uploaded
from .opcodes import HEADER_BYTES, KIND_NUMBERS, MAX_U32
from .unread import BEGINNING_CHARACTERS, FRAME_START, simple_fields

#: Longer texts are read in pieces, unless what is asked for stands at their beginning.
WHOLE_CHARACTERS: Final = 64 << 10
_OPS: Final = {
    KIND_NUMBERS["ADD"]: "add",
    KIND_NUMBERS["SEARCH"]: "search",
    KIND_NUMBERS["SUBSCRIBE"]: "subscribe",
    KIND_NUMBERS["MOVE"]: "move",
    KIND_NUMBERS["RESTORE"]: "restore",
}
_KIND: Final = 2
_NUMBERS: Final = struct.Struct("<II")
_NUMBERS_AT: Final = 4
_JSON_BYTES: Final = struct.Struct("<I")
_JSON_BYTES_AT: Final = 24
_VERSION_BYTES: Final = struct.Struct("<Q")
_PUSHES: Final = frozenset({KIND_NUMBERS["LIVE"], KIND_NUMBERS["ROWS"]})
_WITH_VERSION: Final = frozenset({KIND_NUMBERS["ADDED"], KIND_NUMBERS["RESULTS"]})
_RESULTS: Final = KIND_NUMBERS["RESULTS"]

_REPLY: Final = re.compile(rb'\{"id":(\d+),"(?:ok|error":\{"code":"([a-z_0-9]+))"')
_EVENT: Final = re.compile(rb'\{"event":"([a-z]+)"(?:,"sub":(\d+))?')
_VERSION: Final = re.compile(rb'"version":(\d+)')
_SUB: Final = re.compile(rb'\{"id":\d+,"ok":\{"sub":(\d+)')
#: How far into a reply its version is looked for: it stands before rows.
_VERSION_WITHIN: Final = 256


class Head(NamedTuple):
    """Of a request. Of ``collection``, ``handle`` and ``number`` one at most is there.

    ``number``: of the subscription, or the snapshot, that it is about.
    """

    id: int
    op: str
    collection: str | None = None
    handle: int | None = None
    number: int | None = None


class Told(NamedTuple):
    """Of what a node sends: a reply (``id``), or a push (``event``, of ``sub``).

    ``error``: the code of a reply that is one.
    """

    id: int | None
    error: str | None = None
    event: str = ""
    sub: int | None = None


def head_of(message: Said) -> Head | None:
    """Of a request; None where it is not found without reading all of it, or is not there."""
    if isinstance(message, bytes):
        return _of_frame(message)
    if isinstance(message, Posted):
        text = message.text.strip()
        return _made(message.given) if text[:1] == "{" and text[-1:] == "}" else None
    if isinstance(message, Uploaded):
        return _of_upload(message.request)
    if len(message) > BEGINNING_CHARACTERS:
        found = _made(simple_fields(message))
        if found is not None and (found.collection is not None or found.number is not None):
            return found
    if len(message) > WHOLE_CHARACTERS:
        return None
    try:
        body = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None
    return _made(body) if type(body) is dict else None


def _of_upload(request: Add | RestoreBytes) -> Head:
    if isinstance(request, Add):
        return Head(request.id, request.op, str(request.collection))
    return Head(request.id, request.op, number=request.restore)


def head_of_fault(message: Said) -> Head | None:
    """Of a request that cannot be read, as far as its beginning tells."""
    found = head_of(message)
    return _made(simple_fields(message)) if found is None and isinstance(message, str) else found


def _made(fields: Mapping[str, Any]) -> Head | None:
    request_id, op, name = fields.get("id"), fields.get("op"), fields.get("collection")
    if type(request_id) is not int or not 0 <= request_id <= MAX_U32 or type(op) is not str:
        return None
    if type(name) is str:
        return Head(request_id, op, name)
    for field in ("sub", "snapshot", "end"):
        if type(fields.get(field)) is int:
            return Head(request_id, op, number=fields[field])
    return Head(request_id, op)


def _of_frame(frame: bytes) -> Head | None:
    if frame[:2] != FRAME_START or len(frame) < HEADER_BYTES or frame[_KIND] not in _OPS:
        return None
    request_id, named = _NUMBERS.unpack_from(frame, _NUMBERS_AT)
    op = _OPS[frame[_KIND]]
    if op in ("move", "restore"):
        return Head(request_id, op, number=named)
    return Head(request_id, op, handle=named)


def told_by(data: bytes, is_text: bool) -> Told | None:
    """Of what a node sent; None: nothing of the protocol."""
    if not is_text:
        if data[:2] != FRAME_START or len(data) < HEADER_BYTES:
            return None
        number = _NUMBERS.unpack_from(data, _NUMBERS_AT)[0]
        return Told(None, None, "push", number) if data[_KIND] in _PUSHES else Told(number)
    reply = _REPLY.match(data)
    if reply is not None:
        return Told(int(reply[1]), None if reply[2] is None else reply[2].decode())
    event = _EVENT.match(data)
    if event is None:
        return None
    return Told(None, None, event[1].decode(), None if event[2] is None else int(event[2]))


def version_in(data: bytes, is_text: bool) -> int | None:
    """The version that a reply states at its beginning."""
    if is_text:
        found = _VERSION.search(data, 0, _VERSION_WITHIN)
        return None if found is None else int(found[1])
    if data[_KIND] not in _WITH_VERSION:
        return None
    at = HEADER_BYTES + padded(_JSON_BYTES.unpack_from(data, _JSON_BYTES_AT)[0])
    return int(_VERSION_BYTES.unpack_from(data, at)[0])


def subs_in(data: bytes, is_text: bool) -> list[int]:
    """What the reply to a subscribe calls the subscriptions that it began."""
    if is_text:
        found = _SUB.match(data)
        return [] if found is None else [int(found[1])]
    if data[_KIND] != _RESULTS:
        return []
    length = _JSON_BYTES.unpack_from(data, _JSON_BYTES_AT)[0]
    body = orjson.loads(data[HEADER_BYTES : HEADER_BYTES + length]) if length else {}
    return list(body.get("subs", ()))


def as_text(posted: Posted) -> str:
    """A request whose fields came in two places, as one text. What is given stands in front, so
    that it is found, and at the end, so that it counts."""
    given = orjson.dumps(dict(posted.given)).decode()
    inner = posted.text.strip()
    fields = inner[1:-1].strip()
    return f"{given[:-1]},{fields},{given[1:]}" if fields else given


def head_of_request(request: Request) -> Head:
    """Of a request that was decoded."""
    name = getattr(request, "collection", None)
    if isinstance(name, str):
        return Head(request.id, request.op, name)
    if isinstance(name, int):
        return Head(request.id, request.op, handle=name)
    return Head(request.id, request.op, number=getattr(request, "sub", None))
