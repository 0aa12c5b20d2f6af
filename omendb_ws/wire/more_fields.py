"""Requests of clients to which fields are added once they are encoded. Pure.

What a connection adds (of which trace a request is part, of which version its answer must be) is
known when it is sent, and not where it is built.
"""

from __future__ import annotations

from typing import Any

import orjson

from .frames import PADDING, read_header, sections_end
from .opcodes import HEADER, HEADER_BYTES


def put_fields(message: bytes, fields: dict[str, Any]) -> bytes:
    """``message``, a text or a frame, with ``fields`` in front of those that it has.

    A field that is there already counts as it was (PROTOCOL section 1.6: the last one does).
    """
    added = orjson.dumps(fields)[:-1]
    if message[:1] == b"{":
        return b"%b,%b" % (added, message[1:])
    header = read_header(message)
    before = message[HEADER_BYTES : HEADER_BYTES + header.json_bytes]
    json = b"%b,%b" % (added, before[1:]) if before else added + b"}"
    rest = memoryview(message)[sections_end(header) :]
    head = HEADER.pack(*header._replace(json_bytes=len(json)))
    return b"".join((head, json, PADDING[len(json) % len(PADDING)], rest))
