"""One collection's log on a stream, as its owner has it.

``append`` queues; the connection's thread makes messages of what has come together, sends them
through a ``Pipeline``, and follows the stream by a ``Tail``. A change is settled when its own
record comes back from the stream and counts: not by its acknowledgement.

After any doubt nothing more is admitted (``error``), and this node takes over from itself: a new
term, a fence, and the stream followed until that is applied, which decides everything before it.
What came back by then is settled as safe; the rest is refused, and is void wherever it may be.
Where all that was sent comes back no doubt is left, and it goes on under its term: so the loss of
one server of NATS does not cost the election of who leads the bucket.
Where the log ends before that is known, what was sent is refused as ``Internal``.
Where somebody else owns the log meanwhile, or the stream is not what was written, the log is
*over*: that is settled without a tag. It goes on as a follower then, or is not shown any more.

Invariants: tags are settled in the order of their appends. Everything but ``append``, ``rewind``,
``close``, ``drop`` and what is read from any thread runs on the connection's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError, StorageFailed, StorageFull, TooLarge, Unavailable
from omendb_core.model.logged import Checkpoint

from ...runtime.faults import as_error
from ..interface import Deposed, Following, LogNumbers, Manifest, Settle
from ..local.compaction import LogCompaction, Passes
from ..local.groups import Queued, size_of
from .broken import BrokenStream
from .followed import Followed
from .head import Head
from .moved import Moved
from .pipeline import Pipeline
from .queue import CHECKPOINT_BYTES, Writing
from .records import Broken, Record
from .retention import Retention
from .statements import StreamStatements
from .streamed import Streamed
from .tail import Tail
from .takeover import claim, resolved
from .waiting import Waiting

log = logging.getLogger(__name__)

#: How long one that another node owns waits for the fence of that.
_HEARD_SECONDS: Final = 5.0
#: How long what was sent may take to come back after a doubt: less than any election.
_COME_BACK_SECONDS: Final = 0.5
#: How long a log that closes waits for what was appended.
_CLOSE_SECONDS: Final = 10.0


class StreamLog:
    """``interface.SharedLog``; see the module. Made once ``followed`` stands behind this node's
    fence; ``follow`` makes what goes on from there as a follower.
    """

    def __init__(
        self,
        streamed: Streamed,
        followed: Followed,
        settle: Settle,
        follow: Callable[[Followed], Following],
    ) -> None:
        self.stored = streamed.stored
        self.manifest: Manifest = followed.manifest
        self._streamed = streamed
        self._jetstream = streamed.jetstream
        self._connection = streamed.jetstream.connection
        self._followed = followed
        self._follow_on = follow
        self._waiting = Waiting(settle)
        self._retention = Retention(self._jetstream, streamed.stream, followed)
        self._error: OmenError | None = None
        self._is_over = self._is_resolving = self._may_come_back = False
        self._term = followed.judge.term
        self._wake = asyncio.Event()
        self._moved = Moved()
        standing = followed.tracker.checkpoint()
        self._passes = Passes(self.manifest.definition, CHECKPOINT_BYTES, standing)
        self.compaction = LogCompaction(
            self._passes, self.put, lambda: self._error is None and self.has_room,
            lambda: self._retention.bytes,
        )  # fmt: skip
        self.statements = StreamStatements(self.manifest.definition, standing, self.put)
        self._written_bytes = 0
        self._writing: Writing
        self._pipeline: Pipeline
        self._tail: Tail
        self._working: list[asyncio.Task[None]]

    async def begin(self) -> None:
        """Append from here on. On the connection's thread. Unavailable, ApiError."""
        await self._retention.measure()
        try:
            await self._reign()
        except BaseException:
            self._pipeline.end()
            raise
        self._follow()
        head = Head(self._streamed, self._followed, self.compaction, self._waiting)
        self._working = [self._connection.begin(work) for work in (self._pump(), head.run())]

    # -- on the engine's thread -------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """See Log."""
        return self._waiting.has_room

    @property
    def wants_rest(self) -> bool:
        """See Log."""
        return self.statements.is_overdue

    @property
    def error(self) -> OmenError | None:
        """See Log."""
        return self._error

    def append(self, change: Change, tag: Any) -> None:
        """See Log."""
        size_bytes = size_of(change)
        self._passes.appended(change)
        self.statements.appended(size_bytes)
        self.put((change, tag, size_bytes))

    def put(self, queued: Queued) -> None:
        """Queue what is no change."""
        is_told = self._error is not None
        self._waiting.put(queued, lambda: self._connection.soon(self._wake.set), always=is_told)

    def rewind(self) -> Checkpoint:
        """See Log."""
        checkpoint = self._followed.tracker.checkpoint()
        self._passes.restart(checkpoint)
        self._waiting.must_rewind = False
        if not self._is_over and not self._is_resolving:
            self._error = None
        return checkpoint

    def numbers(self) -> LogNumbers:
        """See Log."""
        waiting, kept = self._waiting, len(self._followed.checkpoints)
        return LogNumbers(
            self._retention.bytes, kept, waiting.pending_bytes, waiting.settlements, 0.0,
            self._written_bytes,
        )  # fmt: skip

    def close(self) -> None:
        """See Log."""
        self._connection.call(self.end(_CLOSE_SECONDS))

    def drop(self) -> None:
        """See Log. Unavailable where the cluster does not answer, or another node owns it."""
        if isinstance(self._error, Deposed):
            raise self._error
        self._connection.call(self.end(0.0))
        self._streamed.remove()

    def step_down(self) -> Following:
        """See SharedLog."""
        assert isinstance(self._error, Deposed)
        self._connection.call(self.end(0.0))
        return self._follow_on(self._followed)

    # -- sending ----------------------------------------------------------------------------------

    async def _reign(self) -> None:
        """Send behind what was followed, under its term."""
        self._writing = Writing(
            self.manifest, self._followed, self._streamed.limits, self._jetstream.max_payload_bytes
        )
        self._pipeline = Pipeline(
            self._jetstream, self._streamed.subject, self._followed.applied, self._wake.set,
            self._doubt, self._is_full,
        )  # fmt: skip
        await self._pipeline.begin()
        self._wake.set()

    async def _pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._send_queued()
            except Exception as error:
                fault = as_error(error, f"sending changes of {self.stored.name}")
                self._end_with(StorageFailed(f"a fault of the server in the log: {fault.message}"))

    async def _send_queued(self) -> None:
        waiting = self._waiting
        while waiting.queue and not self._is_resolving:
            if self._error is not None:
                waiting.refuse_queued(self._error)
                return
            pipeline, writing = self._pipeline, self._writing
            if not pipeline.has_room:
                return
            try:
                with waiting.lock:
                    messages = writing.messages(waiting.queue, is_alone=pipeline.is_empty)
            except ValueError as error:
                if writing.sent:
                    return  # it is refused once all before it is settled
                self._error = Unavailable("a change before it was refused")
                waiting.refuse_first(TooLarge(str(error)))
                continue
            size = sum(map(len, messages))
            self._written_bytes += size
            self._retention.bytes += size
            if len(messages) == 1:
                await pipeline.send(messages[0])
            elif messages:
                await pipeline.send_batch(list(messages))
            elif writing.has_ended_pass:
                self._finish_passes()
            else:
                return

    # -- following --------------------------------------------------------------------------------

    def _follow(self) -> None:
        """From where it was read to; any tail before it has stopped."""
        self._followed.again()
        self._tail = Tail(
            self._jetstream, self._streamed.stream, self._followed.applied, self._receive,
            self._is_broken,
        )  # fmt: skip

    def _receive(self, sequence: int, message: bytes, time_ns: int) -> None:
        """A message of the stream. Raises Broken."""
        if self._is_over:
            return
        settled: list[Queued] = []
        try:
            settled.extend(
                self._came_back(record)
                for record in self._followed.take(sequence, message, time_ns)
                if not record.begins_term
            )
        finally:
            try:
                self._waiting.settled(settled)
            except Exception:  # somebody waits for each of them
                self._waiting.settled(settled)
        if self._followed.judge.term > self._term:
            self._end_with(Deposed("is owned by another node now"), is_decided=True)
            return
        self._finish_passes()
        self._moved.set()
        if self._waiting.queue:
            self._wake.set()

    def _came_back(self, record: Record) -> Queued:
        """What of ours a record is that counts. Raises Broken."""
        one = self._writing.came_back(record)
        if one.begins_pass:
            self._retention.begin_pass()
        return one.queued

    def _finish_passes(self) -> None:
        """Passes of compaction all of whose rows have come back are over; purge what may go."""
        while self._writing.end_pass():
            self._retention.end_pass()
        if self._error is None:
            self._retention.purge()

    # -- doubt ------------------------------------------------------------------------------------

    def _doubt(self, why: str) -> None:
        """Something may or may not have been stored: admit nothing, and take over from oneself."""
        if self._is_over or self._is_resolving:
            return
        self._is_resolving = self._may_come_back = True
        self._error = Unavailable(f"collection: {why}; its log is looked at again; try again")
        log.warning("%s: %s; taking its log over again", self.stored.name, why)
        self._tail.stop()
        self._connection.begin(self._resolve())

    async def _resolve(self) -> None:
        ended = await resolved(self._streamed, self._take_over, lambda: self._is_over)
        if isinstance(ended, Broken):
            self._is_broken(ended)
        elif ended is not None:
            self._end_with(ended)

    async def _take_over(self) -> None:
        """A term, its fence, the stream up to there; nothing of it where all that was sent comes
        back. Unavailable, ApiError, Broken, Deposed."""
        if self._may_come_back and await self._all_comes_back():
            await self._go_on()
            log.info("%s: all that was sent is there; it goes on", self.stored.name)
            return
        self._may_come_back = False  # its own fence may be there from now on
        self._tail.stop()
        if self._is_over:
            return
        term_before = max(self._term, self._followed.judge.term)
        try:
            term, last = await claim(self._streamed, self._followed, term_before, from_others=False)
        except Deposed:
            await self._hear_of_it()
            raise
        if self._is_over:
            return
        self._term = term
        self._follow()
        await self._moved.until(lambda: self._followed.applied >= last or self._is_over)
        if self._is_over:
            return
        if self._followed.judge.term != term:
            raise Deposed("is owned by another node now")
        await self._go_on()
        self._jetstream.takeovers += 1
        log.warning("%s: taken over again, term %d", self.stored.name, term)

    async def _all_comes_back(self) -> bool:
        """Follow on, and whether all that was sent has come back soon."""
        self._tail.stop()  # of an attempt before
        self._follow()
        came = await self._moved.within(_COME_BACK_SECONDS, lambda: not self._writing.sent)
        return came and not self._is_over

    async def _go_on(self) -> None:
        """What was sent is decided: what has not come back is not there. Unavailable."""
        self._refuse_all(is_decided=True)
        await self._reign()
        self._is_resolving = False
        if not (self._waiting.must_rewind or self._is_over):
            self._error = None
        self._wake.set()

    def _is_full(self, why: str, last: int) -> None:
        """NATS has no room, and nothing that was sent is in the stream behind sequence ``last``."""
        if not (self._is_over or self._is_resolving):
            self._is_resolving = True
            self._error = StorageFull(f"collection: the cluster's NATS has no room: {why}")
            self._connection.begin(self._stop_at(last))

    async def _stop_at(self, last: int) -> None:
        """Refuse what there is no room for, and let the next change try again."""
        await self._moved.until(lambda: self._followed.applied >= last or self._is_over)
        try:
            if not self._is_over:
                await self._go_on()
        except OmenError as error:  # the connection is lost
            self._is_resolving = False
            self._doubt(error.message)

    async def _hear_of_it(self) -> None:
        """Another node owns it: what of ours stands before its fence counts still."""
        self._tail.stop()
        self._follow()
        await self._moved.within(_HEARD_SECONDS, lambda: self._is_over)

    def _refuse_all(self, *, is_decided: bool) -> None:
        """``is_decided``: a fence is applied, so what has not come back by now never will."""
        assert self._error is not None
        self._retention.give_up_pass()
        self._waiting.refuse_all(self._writing.give_up(), self._error, is_decided=is_decided)

    def _is_broken(self, error: Broken) -> None:
        self._end_with(BrokenStream(str(error), self._streamed.stream, self._followed.applied))

    def _end_with(self, error: OmenError, *, is_decided: bool = False) -> None:
        """Nothing more comes of this log: refuse what waits, and have the collection say why."""
        if self._is_over:
            return
        self._is_over, self._error = True, error
        level = logging.INFO if isinstance(error, Deposed) else logging.ERROR
        log.log(level, "%s stops: %s", self.stored.name, error.message)
        self._pipeline.end()
        self._tail.stop()
        self._refuse_all(is_decided=is_decided)
        self._waiting.tell(error)
        self._moved.set()

    async def end(self, patience_seconds: float) -> None:
        """Settle what was appended, one way or the other, and stop."""
        self._wake.set()
        await self._moved.within(
            patience_seconds,
            lambda: self._is_over or not (self._waiting.queue or self._writing.sent),
        )
        if self._error is None:
            await self._streamed.ownership.note(self._term, self._followed.tracker.version)
        self._error = self._error or Unavailable("collection: its node leaves")
        self._is_over = True
        self._pipeline.end()
        self._tail.stop()
        for task in self._working:
            task.cancel()
        self._refuse_all(is_decided=False)
