"""The few replies of other nodes that clients hear otherwise. Pure."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from omendb_core.model.errors import BadFrame

from ...wire import binary_replies, text_replies
from ...wire.encoded import Message, text
from ...wire.messages import Added


def with_handle(data: bytes, handle_of: Callable[[str], int]) -> Message:
    """The reply to ``open`` or ``create`` with a handle of the client's own, by the epoch."""
    body = orjson.loads(data)
    body["ok"]["handle"] = handle_of(body["ok"]["epoch"])
    return text(orjson.dumps(body))


def added_as_text(data: bytes) -> Message:
    """ADDED as its client hears it that did not send a frame. BadFrame."""
    request_id, added = _added(data)
    return text(text_replies.encode_added(request_id, added))


def _added(data: bytes) -> tuple[int, Added]:
    found = binary_replies.decode_incoming(data)
    if isinstance(found, tuple) and isinstance(found[1], Added):
        return found[0], found[1]
    raise BadFrame("no ADDED")
