"""Messages on their way into a stream: in order, a bounded number at a time, each behind the other.

Each is published with the sequence that must be the stream's last, so none is stored unless all
before it are. Acknowledgements come in that order. Anything else (a refusal, another sequence,
silence, a lost connection) is *doubt*: nothing more is sent, and ``doubt`` is called, once.

One refusal leaves no doubt: NATS has no room. Then nothing that is behind it can be stored either;
once all of that is refused, too, ``full`` is called instead, once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson

from .api import ApiError, JetStream
from .ownership import WINDOW, store_batch

if TYPE_CHECKING:
    from nats.aio.msg import Msg

#: How long an acknowledgement may take.
ACKNOWLEDGED_SECONDS: Final = 5.0


class Pipeline:
    """Into the stream of ``subject``, behind ``last_sequence``; on the connection's thread.

    ``on_room`` is called when there is room again; ``full`` with the last sequence that is stored.
    """

    def __init__(
        self,
        jetstream: JetStream,
        subject: str,
        last_sequence: int,
        on_room: Callable[[], None],
        doubt: Callable[[str], None],
        full: Callable[[str, int], None],
    ) -> None:
        self._jetstream = jetstream
        self._connection = jetstream.connection
        self._subject = subject
        self._last = last_sequence
        self._on_room = on_room
        self._doubt = doubt
        self._full = full
        #: Why NATS has no room; and the last sequence that it acknowledged.
        self._refusal = ""
        self._stored = last_sequence
        self._flying: deque[tuple[int, float]] = deque()
        self._is_sending_batch = False
        self._is_over = False
        self._inbox = ""
        self._subscription: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self.acknowledged = 0

    async def begin(self) -> None:
        """Listen for acknowledgements. Unavailable."""
        client = self._connection.client
        self._inbox = client.new_inbox()
        self._subscription = await client.subscribe(f"{self._inbox}.*", cb=self._answered)
        self._connection.on_lost.add(self._lost)
        self._look()

    def end(self) -> None:
        """Send nothing more, and listen no more."""
        self._is_over = True
        self._connection.on_lost.discard(self._lost)
        if self._timer is not None:
            self._timer.cancel()
        if self._subscription is not None:
            self._connection.begin(self._unsubscribe(self._subscription))
            self._subscription = None

    @property
    def has_room(self) -> bool:
        """Whether another message may be sent."""
        is_free = not (self._is_over or self._is_sending_batch or self._refusal)
        return is_free and len(self._flying) < WINDOW

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on its way."""
        return not self._flying and not self._is_sending_batch

    async def send(self, message: bytes) -> None:
        """Send one message; there is room."""
        expected, self._last = self._last, self._last + 1
        self._flying.append((self._last, self._connection.now))
        headers = {"Nats-Expected-Last-Sequence": str(expected)}
        reply = f"{self._inbox}.{self._last}"
        try:
            await self._connection.client.publish(self._subject, message, reply, headers)
        except Exception as error:
            self._fail(f"a message could not be sent: {error}")

    async def send_batch(self, messages: list[bytes]) -> None:
        """Send messages that are stored as one; nothing else is on its way meanwhile.

        So what is in flight is never longer than a fence.
        """
        self._is_sending_batch = True
        expected, self._last = self._last, self._last + len(messages)
        try:
            stored = await store_batch(self._jetstream, self._subject, messages, expected)
        except Exception as error:
            if isinstance(error, ApiError) and error.is_full:
                self._refused(str(error))
                return
            self._fail(f"a large change was not acknowledged: {error}")
            return
        if stored != self._last:
            self._fail(f"a large change was stored at {stored}, and not at {self._last}")
            return
        self.acknowledged += len(messages)
        self._stored = stored
        self._is_sending_batch = False
        self._on_room()

    async def _answered(self, message: Msg) -> None:
        if self._is_over:
            return
        status = (message.headers or {}).get("Status")
        if status is not None:
            self._fail(f"the stream is not there to take changes (status {status})")
            return
        said = orjson.loads(message.data)
        if "error" in said:
            error = ApiError(said["error"])
            if self._flying and (error.is_full or (self._refusal and error.is_wrong_last)):
                self._flying.popleft()
                self._refused(str(error))
            else:
                self._fail(f"the stream refused a change: {error}")
            return
        if self._refusal or not self._flying or said.get("seq") != self._flying[0][0]:
            self._fail(f"a change was acknowledged as sequence {said.get('seq')}")
            return
        self._stored, _ = self._flying.popleft()
        self.acknowledged += 1
        self._on_room()

    def _refused(self, why: str) -> None:
        """There was no room for what came next; what is behind that is refused as well."""
        self._refusal = self._refusal or why
        if not self._flying and not self._is_over:
            self.end()
            self._full(self._refusal, self._stored)

    def _look(self) -> None:
        """Now and then: whether an acknowledgement is late."""
        now = self._connection.now
        if self._flying and now - self._flying[0][1] > ACKNOWLEDGED_SECONDS:
            self._fail(f"a change was not acknowledged within {ACKNOWLEDGED_SECONDS:g} s")
        elif not self._is_over:
            self._timer = self._connection.later(ACKNOWLEDGED_SECONDS / 4, self._look)

    def _lost(self) -> None:
        self._fail("the connection to NATS was lost")

    def _fail(self, why: str) -> None:
        if not self._is_over:
            self.end()
            self._doubt(why)

    @staticmethod
    async def _unsubscribe(subscription: Any) -> None:
        with suppress(Exception):
            await subscription.unsubscribe()
