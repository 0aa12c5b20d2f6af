"""A stream's messages, on their way to whoever makes a window of them.

The connection's thread receives them ahead, a bounded number of bytes; another takes them out, by
``changes_to``. From ``hand_on`` on the connection's thread decodes them itself as they come, and
delivers; still no more is received than that many bytes which are not ``took``.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from typing import Final

from omendb_core.model.errors import OmenError, Unavailable

from ..interface import Deliver, Delivered, Logged, Progress, Purged
from .api import ApiError
from .broken import BrokenStream
from .followed import Followed
from .records import Broken, Gap, Record, Unknown
from .streamed import Streamed
from .tail import Tail
from .takeover import state_of

#: How much may be received and not yet taken in.
AHEAD_BYTES: Final = 32 << 20
#: How long nothing may come before it is said that NATS is away; the tail goes on asking.
_SILENCE_SECONDS: Final = 30.0


class Reader:
    """Of one stream, into ``followed``, which is only touched by whoever takes messages out."""

    def __init__(self, streamed: Streamed, followed: Followed) -> None:
        self._streamed = streamed
        self._connection = streamed.jetstream.connection
        self.followed = followed
        self.progress = Progress()
        self._received: queue.SimpleQueue[tuple[int, bytes, int] | Broken] = queue.SimpleQueue()
        self._ahead_bytes = 0
        #: Taken in by the connection's thread, and not delivered yet: parts of a record.
        self._held_bytes = 0
        self._first: list[Record] = []
        self._tail: Tail | None = None
        self._deliver: Deliver | None = None
        self._fail: Callable[[Broken], None] | None = None
        #: How often what the owner states was delivered.
        self.statements = 0
        #: Set, on the connection's thread, when it has taken something in, or failed.
        self.moved = asyncio.Event()

    # -- on the connection's thread ---------------------------------------------------------------

    @property
    def has_started(self) -> bool:
        """Whether anything was ever received."""
        return self._tail is not None

    def start(self, sequence: int) -> None:
        """Receive from there on."""
        jetstream, stream = self._streamed.jetstream, self._streamed.stream
        self._tail = Tail(jetstream, stream, sequence, self._receive, self._failed)

    def start_again(self) -> None:
        """Receive from the last message on that was taken in."""
        self.followed.again()
        self.start(self.followed.applied)

    def stop(self) -> None:
        """Receive nothing more."""
        if self._tail is not None:
            self._tail.stop()

    def hand_on(self, deliver: Deliver, fail: Callable[[Broken], None]) -> None:
        """Deliver from now on; nobody takes messages out any more."""
        self._deliver, self._fail = deliver, fail
        try:
            while True:
                found = self._received.get_nowait()
                if isinstance(found, Broken):
                    raise found
                self._hand_on(*found)
        except queue.Empty:
            pass
        except Broken as error:
            self.stop()
            self._failed(error)

    def _receive(self, sequence: int, message: bytes, time_ns: int) -> None:
        self._ahead_bytes += len(message)
        if self._ahead_bytes > AHEAD_BYTES:
            assert self._tail is not None
            self._tail.has_room.clear()
        if self._deliver is None:
            self._received.put((sequence, message, time_ns))
        else:
            self._hand_on(sequence, message, time_ns)

    def _hand_on(self, sequence: int, message: bytes, time_ns: int) -> None:
        """Raises Broken."""
        assert self._deliver is not None
        records = self.followed.take(sequence, message, time_ns)
        logged: list[Delivered] = []
        for record in records:
            stated = self.followed.stated(record)
            self.statements += stated is not None
            logged.extend(self._decoded([record]) if stated is None else [stated])
        self.progress.bytes_done += len(message)
        self._held_bytes += len(message)
        if logged:
            self._deliver(logged, self._held_bytes)
        elif self.followed.is_between:
            self._took(self._held_bytes)
        if self.followed.is_between:
            self._held_bytes = 0
        self.moved.set()

    def _took(self, size_bytes: int) -> None:
        self._ahead_bytes -= size_bytes
        if self._ahead_bytes <= AHEAD_BYTES and self._tail is not None:
            self._tail.has_room.set()

    def _failed(self, error: Broken) -> None:
        if self._fail is None:
            self._received.put(error)
        else:
            self._fail(error)
        self.moved.set()

    async def why(self, error: Broken) -> OmenError:
        """What is behind it: what comes next may have been purged, or be of another version."""
        applied = self.followed.applied
        if isinstance(error, Unknown):
            return Unavailable(f"its log holds {error}; another node may know it")
        if isinstance(error, Gap):
            try:
                first = (await state_of(self._streamed))["first_seq"]
            except ApiError as refusal:
                return Unavailable(f"the cluster's NATS refuses: {refusal}")
            except OmenError as away:
                return away
            except Broken as gone:
                error = gone
            else:
                if first > applied + 1:
                    return Purged(f"its log begins behind sequence {applied} by now; try again")
        return BrokenStream(str(error), self._streamed.stream, applied)

    # -- on any other thread, one at a time -------------------------------------------------------

    def took(self, size_bytes: int) -> None:
        """So much of what was delivered is applied."""
        self._connection.soon(lambda: self._took(size_bytes))

    def first(self) -> None:
        """Take out the beginning, which says of which collection it is. Broken, Unavailable."""
        self._first = self._next()
        while not self.followed.checkpoints:  # it comes in parts
            self._first += self._next()

    def changes_to(self, end: int) -> Iterator[Logged]:
        """What counts up to sequence ``end``. Broken, Unavailable."""
        first, self._first = self._first, []
        yield from self._decoded(first)
        while self.followed.applied < end:
            yield from self._decoded(self._next())

    def _decoded(self, records: list[Record]) -> Iterator[Logged]:
        for record in records:
            logged = self.followed.logged(record)
            if logged is not None:
                assert record.header is not None
                self.progress.changes += 1
                if hasattr(logged, "vectors"):
                    self.progress.rows += record.header.n
                yield logged

    def _next(self) -> list[Record]:
        """What counts of the next message."""
        try:
            found = self._received.get(timeout=_SILENCE_SECONDS)
        except queue.Empty:
            raise Unavailable("the cluster's NATS sends nothing of the stream") from None
        if isinstance(found, Broken):
            raise found
        sequence, message, time_ns = found
        self.progress.bytes_done += len(message)
        self.took(len(message))
        return self.followed.take(sequence, message, time_ns)
