"""A stream that another node owns, as a holder of its window reads it, and the way from there to
owning it, and back.

All but ``changes`` runs on the connection's thread. While it is promoted it goes on delivering:
what comes before the fence counts still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from omendb_core.model.errors import OmenError, Unavailable
from omendb_core.model.logged import Checkpoint

from ..interface import Deliver, Deposed, Fail, Log, Logged, LogNumbers, Manifest, Settle
from .api import ApiError
from .followed import Followed
from .log import StreamLog
from .reader import Reader
from .records import Broken
from .streamed import Streamed
from .takeover import claim, state_of

#: How long a promotion waits for the stream to give what comes before its fence.
_PROMOTED_SECONDS: Final = 30.0


class StreamFollowing:
    """``interface.Following``; see the module. ``open`` first, or ``followed`` stands already."""

    def __init__(self, streamed: Streamed, followed: Followed | None = None) -> None:
        self.stored = streamed.stored
        self._streamed = streamed
        self._connection = streamed.jetstream.connection
        self._has_window = followed is not None
        self._followed = followed or Followed(streamed.limits)
        self._reader = Reader(streamed, self._followed)
        self.progress = self._reader.progress
        self._end = 0
        self._deliver: Deliver
        self._fail: Fail
        self._error: OmenError | None = None
        self._is_over = False
        self._time_us = 0
        self.manifest: Manifest
        self.checkpoint: Checkpoint
        if followed is not None:
            self.manifest = followed.manifest
            self.checkpoint = followed.tracker.checkpoint()

    def open(self) -> None:
        """Begin to read. Damaged, Purged, Unavailable."""
        try:
            self._connection.call(self._start())
            self._reader.first()
            self.manifest = self._followed.manifest
            self.checkpoint = self._followed.tracker.checkpoint()
            if (self.manifest.tenant, self.manifest.name) != (self.stored.tenant, self.stored.name):
                raise Broken(f"it belongs to {self.manifest.name!r}")
        except BaseException as error:
            self.close()
            if isinstance(error, Broken):
                raise self._connection.call(self._reader.why(error)) from error
            if isinstance(error, ApiError):
                raise Unavailable(f"the cluster's NATS refuses: {error}") from error
            raise

    async def _start(self) -> None:
        state = await state_of(self._streamed)
        self.progress.bytes_total = state["bytes"]
        self._end = state["last_seq"]
        self._reader.start(state["first_seq"])

    # -- Following --------------------------------------------------------------------------------

    def changes(self) -> Iterator[Logged]:
        """See Following."""
        try:
            if not self._has_window:
                yield from self._reader.changes_to(self._end)
                self._followed.refuse_gap()
                self._time_us = self._followed.time_us()
                self._has_window = True
        except Broken as error:
            raise self._connection.call(self._reader.why(error)) from error
        finally:
            if not self._has_window:
                self.close()

    def begin(self, deliver: Deliver, fail: Fail) -> None:
        """See Following."""
        self._deliver, self._fail = deliver, fail
        self._connection.soon(self._begin)

    def _begin(self) -> None:
        if self._is_over:
            return
        if not self._reader.has_started:
            self._reader.start_again()
        self._reader.hand_on(self._deliver, self._broke)

    def took(self, size_bytes: int) -> None:
        """See Following."""
        self._reader.took(size_bytes)

    def time_us(self) -> int:
        """See Following."""
        return self._time_us

    def promote(self, settle: Settle) -> Log:
        """See Following."""
        try:
            return self._connection.call(self._promote(settle))
        except ApiError as error:
            raise Unavailable(f"the cluster's NATS refuses: {error}") from error

    def numbers(self) -> LogNumbers:
        """See Following."""
        return LogNumbers(0, 0, 0, 0, 0.0, 0)  # its owner counts it

    def close(self) -> None:
        """See Following."""
        self._connection.soon(self._close)

    def drop(self) -> None:
        """See Following."""
        self._streamed.remove()

    # -- on the connection's thread ---------------------------------------------------------------

    def _close(self) -> None:
        self._is_over = True
        self._reader.stop()

    def _broke(self, error: Broken) -> None:
        self._connection.begin(self._fails(error))

    async def _fails(self, error: Broken) -> None:
        why = await self._reader.why(error)
        if self._error is None:
            self._error = why
            self._reader.moved.set()
            if not self._is_over:
                self._fail(why)

    async def _promote(self, settle: Settle) -> Log:
        followed, judge = self._followed, self._followed.judge
        self._refuse_ended()
        try:
            term, end = await claim(self._streamed, followed, judge.term, from_others=True)
        except Broken as error:
            raise await self._reader.why(error) from error
        try:
            async with asyncio.timeout(_PROMOTED_SECONDS):
                await self._until(end)
        except TimeoutError:
            raise Unavailable("the cluster's NATS sends nothing of the stream") from None
        if judge.term != term:
            raise Deposed("is owned by another node now")
        had = self._streamed.ownership.noted_version
        if followed.tracker.version < had:
            lost = Broken(f"it ends at version {followed.tracker.version}, and had {had}")
            raise await self._reader.why(lost)
        self._reader.stop()
        self._time_us = followed.time_us()
        try:
            log = await open_log(self._streamed, followed, settle)
        except BaseException:
            if not self._is_over:
                self._reader.start_again()
            raise
        self._is_over = True
        return log

    async def _until(self, end: int) -> None:
        """Wait until it is read up to ``end``."""
        while self._followed.applied < end:
            self._refuse_ended()
            self._reader.moved.clear()
            await self._reader.moved.wait()

    def _refuse_ended(self) -> None:
        """Raises what ended it."""
        if self._error is not None:
            raise self._error
        if self._is_over:
            raise Unavailable("collection: its node leaves")


async def open_log(streamed: Streamed, followed: Followed, settle: Settle) -> StreamLog:
    """A log that appends behind ``followed``, which stands behind this node's fence.

    Unavailable, ApiError.
    """
    log = StreamLog(streamed, followed, settle, lambda stands: StreamFollowing(streamed, stands))
    await log.begin()
    return log
