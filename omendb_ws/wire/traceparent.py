"""``traceparent``: of which trace a request is part, as W3C Trace Context writes it.

The codec takes the field, and gives it to nobody: who does not trace does not pay for it. Who does
looks for it here. Pure.

Invariant: what is found is a well-formed ``traceparent``; any other is as good as none.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from .frames import Header, read_header
from .messages import Posted, Said, Uploaded
from .more_fields import put_fields
from .opcodes import HEADER_BYTES, KIND_NUMBERS, TRACEPARENT
from .unread import FRAME_START

_FORM: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
#: A longer text is read in pieces, and not twice: there it must stand at the beginning.
_READ_CHARACTERS: Final = 64 << 10
_BEGINNING_CHARACTERS: Final = 512
_AT_THE_BEGINNING: Final = re.compile(rf'"{TRACEPARENT}"\s*:\s*"([^"\\]*)"')
#: Binary requests that may have it in their JSON sections.
_WITH_JSON: Final = frozenset({KIND_NUMBERS["ADD"], KIND_NUMBERS["SEARCH"]})


def well_formed(text: Any) -> str | None:
    """``text`` if it is one."""
    return text if isinstance(text, str) and _FORM.fullmatch(text) else None


def found_in(said: Said) -> str | None:
    """That of a request, as it came."""
    if isinstance(said, Uploaded):
        return None
    if isinstance(said, Posted):
        return _of_text(said.text)
    if isinstance(said, str):
        return _of_text(said)
    section = _json_section(said)
    return None if section is None else _of_text(section.decode(errors="replace"))


def put_into(message: bytes, traceparent: str) -> bytes:
    """A request of a client's with it: in its text, or its JSON section if it may have it there."""
    if message[:1] != b"{" and _header(message) is None:
        return message
    return put_fields(message, {TRACEPARENT: traceparent})


def _of_text(text: str) -> str | None:
    if len(text) > _READ_CHARACTERS:
        there = _AT_THE_BEGINNING.search(text, 0, _BEGINNING_CHARACTERS)
        return None if there is None else well_formed(there[1])
    if f'"{TRACEPARENT}"' not in text:
        return None
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return well_formed(body.get(TRACEPARENT)) if type(body) is dict else None


def _json_section(message: bytes) -> bytes | None:
    header = _header(message)
    if header is None or not header.json_bytes:
        return None
    return message[HEADER_BYTES : HEADER_BYTES + header.json_bytes]


def _header(message: bytes) -> Header | None:
    """Of a binary request that may have it."""
    if message[:2] != FRAME_START or len(message) < HEADER_BYTES:
        return None
    header = read_header(message)
    return header if header.kind in _WITH_JSON else None
