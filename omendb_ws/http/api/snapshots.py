"""Routes of whole collections: a snapshot as the body of an answer, a restore as that of a request.

Both are ops of the session, a piece at a time (PROTOCOL section 12): the next one is asked for once
the client took the one before, and read of a body once the server has taken in the one before. So
nobody holds more than a piece, and whoever goes away ends what was begun. A piece that is refused
for now (rates, load) is asked for again, as a client does on the WebSocket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import orjson
from fastapi import Request
from omendb_core.model.errors import BadRequest

from ...wire.messages import RestoreBytes, Uploaded
from ...wire.opcodes import HEADER_BYTES
from .answers import JsonAnswer
from .api import COLLECTION, Answer, Api, asking_of, in_path
from .bodies import content_type
from .body import Body
from .conversation import Conversation, Ended
from .documents import DESCRIPTION, JSON_TYPE, Document
from .gate import Scope, Send
from .parameters import fields_of, read_query
from .refusals import Refused, other_type

T = TypeVar("T")
OCTETS: Final = "application/octet-stream"
_BYTES: Final = {"type": "string", "format": "binary"}
_OPTIONS: Final = fields_of("restore", "durability", "replicas")
_PIECE_BYTES: Final = 1 << 20
#: What passes by itself, and how often that is waited for at one piece.
_PASSING: Final = frozenset(("rate_limited", "overloaded"))
_ATTEMPTS: Final = 20
_WAIT_SECONDS: Final = 0.05
_MOST_WAIT_SECONDS: Final = 2.0


def add_routes(api: Api) -> None:
    """Add them."""
    path = f"{COLLECTION}/snapshot"
    reading = Document(
        "read_snapshot",
        "Read all of a collection",
        "snapshot",
        "All of a collection as it is now, as bytes (PROTOCOL section 12); rights: admin and read,"
        " on all of it. One whose connection is cut off before its end is none.",
        answers={OCTETS: _BYTES},
    )
    restoring = Document(
        "restore_snapshot",
        "Make a collection of a snapshot",
        "restore",
        "Make a collection of a snapshot's bytes; rights: admin and write, on all of it. It is"
        " there when this is answered, or nothing of it is.",
        query=_OPTIONS,
        body={OCTETS: _BYTES},
        answers={JSON_TYPE: DESCRIPTION},
        statuses=(409, 501),
    )
    api.route("GET", path, read_snapshot, reading)
    api.route("PUT", path, restore_snapshot, restoring)


async def read_snapshot(request: Request) -> Answer:
    """As the op ``snapshot``, to its end."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    collection = in_path(request, "collection")
    begun = orjson.loads(await conversation.ask("snapshot", collection=collection))
    reading = _Reading(conversation, begun)
    if asking.method == "HEAD":
        await conversation.ask("snapshot", end=begun["snapshot"])
        return reading.head
    return reading


class _Reading:
    """200 with a snapshot. ASGI."""

    def __init__(self, conversation: Conversation, begun: dict[str, Any]) -> None:
        self._conversation = conversation
        self._begun = begun

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Send it. Ended where it cannot be sent to its end: the answer breaks off."""
        number, is_last = self._begun["snapshot"], False
        await self._start(send)
        try:
            while not is_last:
                data, is_last = await _patiently(lambda: self._conversation.snapshot_piece(number))
                await send({"type": "http.response.body", "body": data, "more_body": True})
        except Refused:
            raise Ended from None
        finally:
            if not is_last and not self._conversation.is_over:
                await _quietly(self._conversation.ask("snapshot", end=number))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def head(self, scope: Scope, receive: Any, send: Send) -> None:
        """What it would begin with."""
        await self._start(send)
        await send({"type": "http.response.body", "body": b""})

    async def _start(self, send: Send) -> None:
        name = f"{self._begun['collection']}-{self._begun['version']}.snapshot"
        headers = [
            (b"content-type", OCTETS.encode()),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"etag", f'"{self._begun["epoch"]}:{self._begun["version"]}"'.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


async def restore_snapshot(request: Request) -> Answer:
    """As the op ``restore``, with the whole body."""
    asking = asking_of(request)
    given = read_query(asking.query, _OPTIONS)
    if content_type(asking) != OCTETS:
        raise other_type(f"Content-Type: must be {OCTETS}")
    if (asking.headers.get("content-encoding") or "identity").strip().lower() != "identity":
        raise other_type("Content-Encoding: none, of a snapshot")
    conversation = await asking.enter()
    collection = in_path(request, "collection")
    begun = await conversation.ask("restore", collection=collection, **given)
    number: int = orjson.loads(begun)["restore"]
    most = min(_PIECE_BYTES, asking.context.limits.max_message_bytes - HEADER_BYTES - 8)
    found: bytes | memoryview = b""
    size_bytes, is_there = 0, False
    try:
        async for piece in _pieces(asking.body, most):
            if is_there:
                break  # its end was that of a piece, and what follows is nothing of ours
            asking.connection.route_bytes = len(piece)
            upload = _Upload(number, piece)
            found = await _patiently(lambda upload=upload: conversation.upload(upload))  # type: ignore[misc]
            size_bytes += len(piece)
            is_there = len(found) > len(b"{}")
    except BaseException:
        if not is_there and not conversation.is_over:
            await _quietly(conversation.ask("restore", end=number))
        raise
    if not is_there:
        await _quietly(conversation.ask("restore", end=number))
        raise BadRequest(f"the body: it is cut off behind {size_bytes} bytes")
    return JsonAnswer(asking, found)


class _Upload:
    """The next bytes of a restore, once they have their number."""

    def __init__(self, restore: int, data: bytes) -> None:
        self._restore, self._data = restore, data

    def __call__(self, number: int) -> Uploaded:
        """The request of that number."""
        request = RestoreBytes(number, self._restore, memoryview(self._data))
        return Uploaded(request, len(self._data))


async def _pieces(body: Body, most_bytes: int) -> AsyncIterator[bytes]:
    """A body, cut anew."""
    waiting = bytearray()
    while chunks := await body.take():
        for chunk in chunks:
            waiting += chunk
        while len(waiting) >= most_bytes:
            yield bytes(waiting[:most_bytes])
            del waiting[:most_bytes]
    if waiting:
        yield bytes(waiting)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What ``ask`` gives, once it is not refused for now. Refused."""
    wait_seconds = _WAIT_SECONDS
    for _ in range(_ATTEMPTS):
        try:
            return await ask()
        except Refused as refused:
            if refused.code not in _PASSING:
                raise
            asked_ms = refused.fault.get("retry_after_ms") or 0
            await asyncio.sleep(max(asked_ms / 1000, wait_seconds))
            wait_seconds = min(2 * wait_seconds, _MOST_WAIT_SECONDS)
    return await ask()


async def _quietly(asked: Awaitable[object]) -> None:
    with suppress(Refused, Ended):
        await asked
