"""Messages from one event loop to another, or within one: in order, and a bounded number of bytes.

What a socket is between two processes, between two loops of one process; knows nothing of what the
messages say. ``put`` and ``room`` are for tasks of the source loop, ``get`` for one task of the
target loop, ``close`` for both.

Both threads look at the same few fields without a lock: whoever is about to wait says so first and
looks once more, and whoever changes something looks afterwards whether somebody waits. So no
wake-up is lost, and few are sent to a side that is awake.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from .transport import Closed

#: Bytes on their way at which a sender waits. What is in here can no longer be merged.
ROOM_BYTES: Final = 256 << 10


class Channel:
    """One direction between two event loops. ``source`` and ``target`` may be the same loop."""

    def __init__(
        self, source: asyncio.AbstractEventLoop, target: asyncio.AbstractEventLoop
    ) -> None:
        self._source = source
        self._target = target
        self._messages: deque[bytes] = deque()
        self._put_bytes = 0
        self._got_bytes = 0
        self._closed: Closed | None = None
        self._news, self._is_target_waiting = asyncio.Event(), False
        self._room, self._is_source_waiting = asyncio.Event(), False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more can be put."""
        return self._closed is not None

    def put(self, messages: Sequence[bytes]) -> None:
        """Hand messages over; never waits. Raises Closed."""
        if self._closed is not None:
            raise self._closed
        self._put_bytes += sum(map(len, messages))
        self._messages.extend(messages)
        if self._is_target_waiting:
            self._is_target_waiting = False
            self._wake(self._target, self._news)

    async def room(self) -> None:
        """Return once fewer than ROOM_BYTES are on their way, or it is closed."""
        while self._is_full():
            self._room.clear()
            self._is_source_waiting = True
            if self._is_full():
                await self._room.wait()

    async def get(self) -> bytes:
        """Return the next message. Raises Closed, after what had been put was returned."""
        while True:
            closed = self._closed  # looked at first: all that was put before it is there
            if self._messages:
                break
            if closed is not None:
                raise closed
            self._news.clear()
            self._is_target_waiting = True
            if not self._messages and self._closed is None:
                await self._news.wait()
        message = self._messages.popleft()
        self._got_bytes += len(message)
        if self._is_source_waiting and not self._is_full():
            self._is_source_waiting = False
            self._wake(self._source, self._room)
        return message

    def close(self, code: int, reason: str) -> None:
        """Let nothing more be put. From any thread; only the first call counts."""
        if self._closed is None:
            self._closed = Closed(code, reason)
            self._wake(self._target, self._news)
            self._wake(self._source, self._room)

    def _is_full(self) -> bool:
        return self._closed is None and self._put_bytes - self._got_bytes >= ROOM_BYTES

    def _wake(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        if self._source is self._target:
            event.set()
            return
        try:
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:  # that loop is closed: nobody is there any more
            if self._closed is None:
                self._closed = Closed(1006, "the other side's loop is closed")
