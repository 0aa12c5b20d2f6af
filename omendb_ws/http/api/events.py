"""A subscription as the body of an HTTP answer: its pushes as events, while the client takes them.

An ASGI application; knows no framework and no socket. It asks for the next push once the one
before was taken, so a slow reader gets fewer, merged ones, as on a WebSocket. Comments come by the
server's one timer for what comes every so often.

Invariant: whatever is sent is whole events or whole comments, so both may be sent by two tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from ...sessions.subscriptions.beats import Beats
from ...telemetry.metrics import Metrics
from .events_text import COMMENT, MEDIA_TYPE, Begun, event

#: Proxies end what is silent for a minute, some for half of one.
COMMENT_SECONDS: Final = 15.0
HEADERS: Final = (
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    # nginx keeps back what comes otherwise.
    (b"x-accel-buffering", b"no"),
)
_ENDED: Final = b'{"event":"ended",'

Sent = MutableMapping[str, Any]
Send = Callable[[Sent], Awaitable[None]]


class Pushing(Protocol):
    """Who hands pushes on: the next is made once it is asked for."""

    def pushes(self) -> AsyncIterator[bytes]:
        """Each message of the subscription, until its session ends."""
        ...


class EventStream:
    """One stream, from its first event to its end."""

    def __init__(self, source: Pushing, begun: Begun, beats: Beats, metrics: Metrics) -> None:
        self._source = source
        self._begun = begun
        self._beats = beats
        self._metrics = metrics
        self._is_sending = False
        self._comment: asyncio.Task[None] | None = None

    async def __call__(self, scope: Sent, receive: object, send: Send) -> None:
        """Send it. Returns at its end, or when the client is gone."""
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        beat = self._beats.begin(lambda: self._send_comment(send), COMMENT_SECONDS)
        self._metrics.http.event_streams += 1
        try:
            await self._send(send, self._begun.first)
            async for data in self._source.pushes():
                await self._send(send, event(data, self._begun.epoch))
                if data.startswith(_ENDED):
                    break
        finally:
            self._metrics.http.event_streams -= 1
            beat.stop()
            if self._comment is not None:
                self._comment.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, data: bytes) -> None:
        self._is_sending = True
        try:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._is_sending = False

    def _send_comment(self, send: Send) -> None:
        """Say that the stream is there, unless something waits that says it."""
        if self._is_sending or (self._comment is not None and not self._comment.done()):
            return
        said = {"type": "http.response.body", "body": COMMENT, "more_body": True}
        self._comment = asyncio.ensure_future(send(said))
