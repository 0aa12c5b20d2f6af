"""A collection's stream read back: taken over first, then followed from its first message to the
fence, behind which nothing of an owner before can count.

So, other than the interface has it for files, a recovery changes something before ``finish``: the
entry of the owner, and the fence. Neither changes the collection.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Final

from omendb_core.model.errors import Unavailable
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import WindowLimits

from ..interface import Log, Logged, Manifest, Progress, Settle, Stored, Torn
from .api import ApiError, JetStream
from .broken import BrokenStream
from .followed import Followed
from .log import StreamLog
from .names import stream, subject
from .ownership import Ownership, fence
from .records import Broken, Record
from .tail import Tail

#: How much may be received and not yet replayed.
_AHEAD_BYTES: Final = 32 << 20
#: How long nothing may come before it is said that NATS is away; the tail goes on asking.
_SILENCE_SECONDS: Final = 30.0


class StreamRecovery:
    """``interface.Recovery`` over a stream; see the module."""

    def __init__(
        self,
        jetstream: JetStream,
        cluster: str,
        stored: Stored,
        ownership: Ownership,
        limits: WindowLimits,
        remove: Callable[[], None],
    ) -> None:
        self.stored = stored
        self._jetstream = jetstream
        self._cluster = cluster
        self._stream = stream(cluster, stored.key)
        self._ownership = ownership
        self._limits = limits
        self._remove = remove
        self._followed = Followed(limits)
        self._received: queue.SimpleQueue[tuple[int, bytes, int] | Broken] = queue.SimpleQueue()
        self._ahead_bytes = 0
        self._end = 0
        self.progress = Progress()
        self.is_settled = True  # what the stream has given lasts
        self.torn: Torn | None = None
        self.doubt: str | None = None
        self.manifest: Manifest
        self.checkpoint: Checkpoint
        self._tail: Tail
        self._first: list[Record]

    def begin(self) -> None:
        """Take the stream over, and read where it begins. Damaged, Unavailable."""
        try:
            self._jetstream.connection.call(self._take_over())
            self._first = self._next()
            while not self._followed.checkpoints:  # it comes in parts
                self._first += self._next()
        except BaseException as error:
            self._stop()
            if isinstance(error, Broken):
                raise self._broken(error) from error
            if isinstance(error, ApiError):
                raise Unavailable(f"the cluster's NATS refuses: {error}") from error
            raise
        self.manifest = self._followed.manifest
        self.checkpoint = self._followed.tracker.checkpoint()
        if (self.manifest.tenant, self.manifest.name) != (self.stored.tenant, self.stored.name):
            self._stop()
            raise self._broken(Broken(f"it belongs to {self.manifest.name!r}"))

    async def _take_over(self) -> None:
        try:
            state = await self._jetstream.stream_state(self._stream)
        except ApiError as error:
            if error.is_not_found:
                raise Broken("the stream is not there") from error
            raise
        self.progress.bytes_total = int(state["bytes"])
        await self._append_fence(0)
        first = int((await self._jetstream.stream_state(self._stream))["first_seq"])
        self._tail = Tail(self._jetstream, self._stream, first, self._receive, self._received.put)

    async def _append_fence(self, term_before: int) -> None:
        term = await self._ownership.take(term_before, from_others=True)
        self._end = await fence(self._jetstream, subject(self._cluster, self.stored.key), term)
        self._term = term

    def changes(self) -> Iterator[Logged]:
        """See Recovery."""
        try:
            yield from self._decoded(self._first)
            while True:
                while self._followed.applied < self._end:
                    yield from self._decoded(self._next())
                if self._followed.judge.term <= self._term:
                    break
                # The entry of its owner was lost, and began with a term that was over already.
                self._jetstream.connection.call(self._append_fence(self._followed.judge.term))
            self._followed.refuse_gap()
            self._refuse_loss()
        except Broken as error:
            raise self._broken(error) from error
        except ApiError as error:
            raise Unavailable(f"the cluster's NATS refuses: {error}") from error
        finally:
            self._stop()

    def _refuse_loss(self) -> None:
        """Broken if the stream once held more."""
        had, has = self._ownership.noted_version, self._followed.tracker.version
        if has < had:
            raise Broken(f"it ends at version {has}, and had {had}")

    def _decoded(self, records: list[Record]) -> Iterator[Logged]:
        for record in records:
            logged = self._followed.logged(record)
            if logged is not None:
                assert record.header is not None
                self.progress.changes += 1
                if hasattr(logged, "vectors"):
                    self.progress.rows += record.header.n
                yield logged

    def _next(self) -> list[Record]:
        """What counts of the next message. Broken; Unavailable if none comes."""
        try:
            found = self._received.get(timeout=_SILENCE_SECONDS)
        except queue.Empty:
            raise Unavailable("the cluster's NATS sends nothing of the stream") from None
        if isinstance(found, Broken):
            raise found
        sequence, message, time_ns = found
        self.progress.bytes_done += len(message)
        self._jetstream.connection.soon(lambda: self._took(len(message)))
        return self._followed.take(sequence, message, time_ns)

    def _receive(self, sequence: int, message: bytes, time_ns: int) -> None:
        self._ahead_bytes += len(message)
        if self._ahead_bytes > _AHEAD_BYTES:
            self._tail.has_room.clear()
        self._received.put((sequence, message, time_ns))

    def _took(self, size: int) -> None:
        self._ahead_bytes -= size
        if self._ahead_bytes <= _AHEAD_BYTES:
            self._tail.has_room.set()

    def _stop(self) -> None:
        if hasattr(self, "_tail"):
            self._jetstream.connection.soon(self._tail.stop)

    def _broken(self, error: Broken) -> BrokenStream:
        return BrokenStream(str(error), self._stream, self._followed.applied)

    def time_us(self) -> int:
        """See Recovery. By the clock of NATS, whatever this machine's says."""
        followed = self._followed
        return followed.tracker.time_us + max(0, followed.stored_ns - followed.changed_ns) // 1000

    def finish(self, settle: Settle) -> Log:
        """See Recovery. Deposed if another node has taken it over meanwhile."""
        log = StreamLog(
            self._jetstream, self._cluster, self.stored, self._ownership, self._followed,
            self._limits, settle, self._remove,
        )  # fmt: skip
        try:
            self._jetstream.connection.call(log.begin())
        except ApiError as error:
            raise Unavailable(f"the cluster's NATS refuses: {error}") from error
        return log
