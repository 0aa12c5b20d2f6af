"""The id of a message that is refused unread, so that its refusal can be a reply.

Reading all of a message costs as much as it is long, and whoever sends it is refused whatever it
says: before authentication, over a rate. So only a short text is parsed whole. Of a longer one the
beginning is looked at, where clients write ``id``; PROTOCOL section 2.6 says how far.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from .messages import Posted, Said, Uploaded
from .opcodes import MAGIC, MAX_U32, PROTOCOL_BYTE

#: Texts up to here are parsed whole: at most 9 µs for 4,000 characters, where 64 KiB take 480.
WHOLE_CHARACTERS: Final = 4096
#: How far into a longer one its id is looked for.
BEGINNING_CHARACTERS: Final = 512
_ID_BYTES: Final = slice(4, 8)
#: So much of a text is looked at for the fields that it begins with.
START_BYTES: Final = 96
#: How a binary frame begins.
FRAME_START: Final = bytes((MAGIC, PROTOCOL_BYTE))
_OBJECT: Final = re.compile(r"[ \t\r\n]*\{")
#: A field whose value is neither list nor object, and what ends it.
_FIELD: Final = re.compile(
    r'[ \t\r\n]*"([^"\\]*)"[ \t\r\n]*:[ \t\r\n]*("[^"\\]*"|[^]["{},: \t\r\n]+)[ \t\r\n]*[,}]'
)


def start_of(start: bytes) -> tuple[int, str] | None:
    """The id and the op of a text by its first ``START_BYTES``, where these are its first fields.

    Up to the second comma, and closed there, it is an object only if it is cut between two fields.
    """
    end = start.find(b",", start.find(b",") + 1)
    try:
        body = orjson.loads(start if end < 0 else start[:end] + b"}")
        request_id, op = body["id"], body["op"]
    except (orjson.JSONDecodeError, KeyError, TypeError):  # a TypeError where it is a list
        return None
    if type(request_id) is int and 0 <= request_id <= MAX_U32 and type(op) is str:
        return request_id, op
    return None


def id_of(message: Said) -> int | None:
    """The id of a request, or None where none is found without reading it."""
    if isinstance(message, Posted):
        return _valid(message.given["id"])
    if isinstance(message, Uploaded):
        return message.request.id
    if isinstance(message, bytes):
        # As ``binary.decode_request`` answers frames that are too short to be one.
        is_frame = message[:2] == FRAME_START and len(message) >= _ID_BYTES.stop
        return int.from_bytes(message[_ID_BYTES], "little") if is_frame else None
    return _whole(message) if len(message) <= WHOLE_CHARACTERS else _beginning(message)


def head_of(message: Said) -> tuple[int | None, object]:
    """The id and the op of a request, each None where it is not found; longer texts have no op."""
    if isinstance(message, Posted):
        return _valid(message.given["id"]), message.given.get("op")
    if not isinstance(message, str) or len(message) > WHOLE_CHARACTERS:
        return id_of(message), None
    try:
        body = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None, None
    return (_valid(body.get("id")), body.get("op")) if type(body) is dict else (None, None)


def _whole(text: str) -> int | None:
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return _valid(body.get("id")) if type(body) is dict else None


def _beginning(text: str) -> int | None:
    start = _OBJECT.match(text, 0, BEGINNING_CHARACTERS)
    at = None if start is None else start.end()
    while at is not None:
        field = _FIELD.match(text, at, BEGINNING_CHARACTERS)
        if field is None:
            return None
        name, value = field.groups()
        if name == "id":
            return _valid(int(value)) if value.isascii() and value.isdigit() else None
        at = field.end()
    return None


def simple_fields(text: str) -> dict[str, int | str]:
    """The numbers and strings at the beginning of a text that is an object, before any list or
    object in it; of fields that come twice the first."""
    found: dict[str, int | str] = {}
    start = _OBJECT.match(text, 0, BEGINNING_CHARACTERS)
    at = None if start is None else start.end()
    while at is not None:
        field = _FIELD.match(text, at, BEGINNING_CHARACTERS)
        if field is None:
            break
        name, value = field.groups()
        if value[0] == '"':
            found.setdefault(name, value[1:-1])
        elif value.isascii() and value.isdigit():
            found.setdefault(name, int(value))
        at = field.end()
    return found


def _valid(found: object) -> int | None:
    return found if type(found) is int and 0 <= found <= MAX_U32 else None
