"""One WebSocket of websockets, with what the server needs beside: batches, and who takes nothing.

Subclasses ``ServerConnection``, as its ``create_connection`` provides for, and leans on its
``send_context``, ``send_data`` and ``recv_messages``; tests hold each use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from websockets.asyncio.server import ServerConnection

from .outbox import Message

#: PROTOCOL section 1.5: how long a client may take no byte although some wait for it.
STALL_SECONDS: Final = 30.0


class Connection(ServerConnection):
    """See the module. ``max_unread_bytes``: with so much unsent, nothing more is read."""

    max_unread_bytes = 1 << 20

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._written_bytes = 0
        self._taken_bytes = 0
        self._taken_at = self.loop.time()

    def allow(self, max_message_bytes: int) -> None:
        """Take messages of that size from now on."""
        self.protocol.max_message_size = max_message_bytes

    async def send_all(self, messages: Sequence[Message]) -> None:
        """Send messages with one write; returns when the socket's buffer has room again."""
        async with self.send_context():
            protocol = self.protocol
            for message in messages:
                if message.is_text:
                    protocol.send_text(message.data)
                else:
                    protocol.send_binary(message.data)

    def stalled_seconds(self) -> float:
        """For how long the client has taken nothing, 0 if nothing waits. Call it regularly."""
        unsent_bytes = self.transport.get_write_buffer_size()
        taken_bytes = self._written_bytes - unsent_bytes
        now = self.loop.time()
        if not unsent_bytes or taken_bytes != self._taken_bytes:
            self._taken_bytes, self._taken_at = taken_bytes, now
        return now - self._taken_at

    def send_data(self) -> None:
        """Write what the protocol has to send: all at once, and counted."""
        writes = self.protocol.writes
        if not writes or b"" in writes:  # an empty one means the end of the stream
            super().send_data()
            return
        data = self.protocol.data_to_send()
        self._written_bytes += sum(map(len, data))
        self.transport.write(data[0] if len(data) == 1 else b"".join(data))

    def data_received(self, data: bytes) -> None:
        """Read; but no further while answers to what was read (pongs, too) pile up unsent."""
        super().data_received(data)
        if self.transport.get_write_buffer_size() > self.max_unread_bytes:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        super().resume_writing()
        if not self.recv_messages.paused and not self.transport.is_closing():
            self.transport.resume_reading()
