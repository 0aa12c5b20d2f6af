"""The way out of a connection: what an outbox holds, into the socket, and how a connection ends.

What an outbox holds is written in one piece (``websocket_frames.py``), for as long as the socket
takes it; much of it in chunks, some in each turn of the loop, as the system copies and sends what
it is given before it returns. What is written and not taken tells for how long a client has stood
still. The other half is ``connection.py``.

Invariant: whatever else is written while a batch is under way goes behind it, never into a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State

from ..runtime.faults import as_error
from ..runtime.progress import Progress
from ..sessions.outbox import Batch, Outbox
from ..wire.encoded import Messages, Run
from .handshake import Handshaking
from .websocket_frames import head

#: What is handed over at once: 5 MB in one piece kept the loop for 14 ms.
_CHUNK_BYTES: Final = 128 << 10
#: What is handed over in one turn of the loop: about a millisecond on the loopback.
_TURN_BYTES: Final = 512 << 10


class Writing(Handshaking):
    """A connection that can be written to.

    ``max_unread_bytes``: with so much unsent, nothing more is read.
    """

    max_unread_bytes = 1 << 20

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: What it holds, as the crowd knows it.
        self.held_bytes = 0
        self._outbox: Outbox | None = None
        self._is_filling = False
        #: What the socket has not taken yet.
        self._unsent: Batch | None = None
        #: Of that, and behind it, what the transport has not been given.
        self._rest: deque[bytes | memoryview] = deque()
        self._endings: set[asyncio.Task[None]] = set()
        self._written_bytes = 0
        self._progress = Progress(self.loop.time())

    def _read_on(self) -> None:
        """What was in the way of reading may be gone."""
        raise NotImplementedError

    def weigh(self) -> None:
        """What it holds may be more or less than was known."""
        raise NotImplementedError

    def stalled_seconds(self) -> float:
        """For how long the client has taken nothing, 0 if nothing waits. Call it regularly."""
        return self._progress.look(self.transport, self._written_bytes, self.loop.time())

    @property
    def _is_stuffed(self) -> bool:
        """Whether answers to what was read (pongs, too) pile up unsent."""
        return self.transport.get_write_buffer_size() > self.max_unread_bytes

    # -- writing ----------------------------------------------------------------------------------

    def _send_from(self, outbox: Outbox) -> None:
        """Send what ``outbox`` holds from now on."""
        self._outbox = outbox
        outbox.on_filled = self._fill_soon
        self._fill_soon()

    def send_data(self) -> None:
        """Write what the protocol has to send: all at once, and counted."""
        if self.ends_after_answer:
            self.end_soon()
        writes = self.protocol.writes
        if not writes or b"" in writes:  # an empty one means the end of the stream
            if writes:
                try:
                    self._write_rest(at_most_bytes=None)
                except Exception as error:  # the end must come all the same
                    self._break_off(error, "writing the rest to a connection")
            super().send_data()
            if self.protocol.state is State.CONNECTING:
                self._read_on()  # the rest of a body, so that the client comes to read the answer
            return
        self._write(b"".join(self.protocol.data_to_send()))

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        super().resume_writing()
        self._go_on()
        self._fill_soon()
        self._read_on()

    def _write(self, data: bytes | memoryview) -> None:
        if self._rest:
            self._rest.append(data)
        else:
            self._hand_over(data)

    def _hand_over(self, data: bytes | memoryview) -> None:
        if self.transport.is_closing():  # the client has gone: asyncio would log each write
            return
        self._written_bytes += len(data)
        self.transport.write(data)

    def _write_rest(self, at_most_bytes: int | None = _TURN_BYTES) -> None:
        """Hand over more of it, as much as is for one turn while the socket takes it; None: all."""
        left = at_most_bytes
        while self._rest and (left is None or (left > 0 and not self.paused)):
            data = self._rest.popleft()
            self._hand_over(data)
            left = None if left is None else left - len(data)

    def _go_on(self) -> bool:
        """More of a batch that was under way; whether none is any more."""
        self._write_rest()
        if self._rest and not self.paused:
            self._fill_soon()
        if self._rest or self.paused:
            return self._unsent is None and not self._rest
        batch, self._unsent = self._unsent, None
        return batch is None or self._sent(batch)

    def _fill_soon(self) -> None:
        if not self._is_filling:
            self._is_filling = True
            self.loop.call_soon(self._fill)

    def _fill(self) -> None:
        """Write what the outbox holds, for as long as the socket takes it."""
        self._is_filling = False
        try:
            self._empty_outbox()
        except Exception as error:  # what was taken out is lost, and its makers wait for it
            self._break_off(error, "writing to a connection")

    def _empty_outbox(self) -> None:
        if not self._rest or self._go_on():
            self._write_batches()
        if self._unsent is not None or self.held_bytes:
            self.weigh()

    def _write_batches(self) -> None:
        """Write what there is, as much as is for one turn."""
        outbox, until_bytes = self._outbox, self._written_bytes + _TURN_BYTES
        while outbox is not None and self._unsent is None and self.protocol.state is State.OPEN:
            if self._written_bytes >= until_bytes:
                self._fill_soon()
                break
            batch = outbox.take()
            if batch.reply_bytes + batch.push_bytes > _CHUNK_BYTES:
                self._rest.extend(_chunks(batch.messages))
                self._write_rest()
            elif batch.messages:
                self._write(_framed(batch.messages))
            if self._rest or self.paused:
                self._unsent = batch
                if not self.paused:
                    self._fill_soon()
            elif not self._sent(batch):
                break
            elif batch.has_made:
                self._fill_soon()
                break

    def _sent(self, batch: Batch) -> bool:
        """The socket took a batch; whether there may be another one."""
        assert self._outbox is not None
        if batch.messages:
            self._outbox.sent(batch)
        if batch.close is not None:
            self._end(*batch.close)
            return False
        return bool(batch.messages)

    # -- the end ----------------------------------------------------------------------------------

    def _fail(self, code: int, reason: str) -> None:
        """End the connection for what the client did; what comes after it is not looked at."""
        self._fill()
        self.protocol.fail(code, reason)
        self.send_data()
        self._end()

    def _break_off(self, error: Exception, doing: str) -> None:
        """After a fault of ours: a client comes back from an end, and not from standing still."""
        as_error(error, doing)
        self.transport.abort()

    def _end(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close it, without waiting."""

        async def end() -> None:
            with contextlib.suppress(ConnectionClosed):
                await self.close(code, reason)

        task = self.loop.create_task(end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


def _framed(messages: Sequence[Messages]) -> bytes:
    """Messages as frames, in one piece."""
    return b"".join(chain.from_iterable(map(_frame, messages)))


def _frame(message: Messages) -> tuple[bytes | memoryview, ...]:
    if isinstance(message, Run):
        data, length = message
        begins = head(length, False)
        return begins, begins.join([data[at : at + length] for at in range(0, len(data), length)])
    return (head(message.size_bytes, message.is_text), *message.parts)


def _chunks(messages: Sequence[Messages]) -> Iterator[bytes | memoryview]:
    """Messages as frames, in pieces of ``_CHUNK_BYTES`` at most; what is large is not copied."""
    small: list[bytes | memoryview] = []
    small_bytes = 0
    for part in chain.from_iterable(map(_frame, messages)):
        if small and small_bytes + len(part) > _CHUNK_BYTES:
            yield b"".join(small)
            small, small_bytes = [], 0
        if len(part) > _CHUNK_BYTES:
            whole = memoryview(part).cast("B")
            for start in range(0, len(whole), _CHUNK_BYTES):
                yield whole[start : start + _CHUNK_BYTES]
        else:
            small.append(part)
            small_bytes += len(part)
    if small:
        yield b"".join(small)
