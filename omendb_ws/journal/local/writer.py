"""One collection's log, with its threads: a queue in front of an ``Appender``.

The *writer* takes what is queued, writes it as one group, makes it as safe as promised, and settles
it; the next group forms meanwhile. ``always``: it flushes each group itself. ``everysec``: the
*flusher* does, a second after the first unflushed byte, or earlier where much has come together, so
that the end of a segment is not a long wait; a group is not settled while some byte has waited for
the disk for more than 2 s (PROTOCOL section 8).

``_condition`` guards the queue and the states; disk work is done outside it. Threads start with the
first append, so a collection that only stands there costs none.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError, StorageFailed, StorageFull
from omendb_core.model.logged import Checkpoint, KeptRows

from ..interface import LogNumbers, Manifest, Settle, Stored
from .appender import Appender
from .compaction import LogCompaction, Passes
from .contents import body_of
from .groups import Done, Queued, Turn, logged_in, size_of, take_group
from .machine import wall_us

log = logging.getLogger(__name__)

#: How long a byte may wait for a flush to begin, under ``everysec``.
FLUSH_SECONDS: Final = 1.0
#: Or how many may: at the end of a segment about this much is still to be flushed, and waited for.
FLUSH_BYTES: Final = 16 << 20
#: PROTOCOL section 8: no acknowledgement while a written byte has been unflushed for longer.
OVERDUE_SECONDS: Final = 2.0
#: A log that was idle for so long says how far it is flushed.
IDLE_SECONDS: Final = 1.0


class Writer:
    """``interface.Log``; see the module. ``remove`` takes the collection out of the store;
    ``wall_us`` is the machine's clock."""

    def __init__(
        self,
        stored: Stored,
        appender: Appender,
        settle: Settle,
        max_pending_bytes: int,
        remove: Callable[[], None],
        wall_us: Callable[[], int] = wall_us,
    ) -> None:
        self.stored = stored
        self.manifest: Manifest = appender.plan.manifest
        self._appender = appender
        self._settle = settle
        self._remove = remove
        self._wall_us = wall_us
        self._max_pending_bytes = max_pending_bytes
        self._pending_bytes = 0
        lock = threading.Lock()
        self._condition = threading.Condition(lock)
        #: Only the flusher waits here, so that it is not woken for every change.
        self._to_flush = threading.Condition(lock)
        self._queue: deque[Queued] = deque()
        self._error: OmenError | None = None
        self._is_always = self.manifest.durability == "always"
        self._is_closing = False
        self._is_written = False
        self._flusher_sleeps = False
        self._is_idle = True
        self._told = False
        self._base = 0
        self._passes = Passes(
            self.manifest.definition, appender.plan.segment_bytes, appender.tracker.checkpoint()
        )
        self.compaction = LogCompaction(
            self._passes,
            self._put,
            lambda: self._error is None and self.has_room,
            lambda: self._appender.bytes,
        )
        self._threads: list[threading.Thread] = []
        self._is_started = False

    # -- on the engine's thread -------------------------------------------------------------------

    #: See Log: what it asks can wait for ever.
    wants_rest = False

    @property
    def has_room(self) -> bool:
        """See Log."""
        return self._pending_bytes < self._max_pending_bytes

    @property
    def error(self) -> OmenError | None:
        """See Log."""
        return self._error

    def append(self, change: Change, tag: Any) -> None:
        """See Log."""
        self._passes.appended(change)
        self._appender.notes.is_now(change.time_us, self._wall_us())
        self._put((change, tag, size_of(change)))

    def rewind(self) -> Checkpoint:
        """See Log."""
        with self._condition:
            while self._queue or not self._is_idle:
                self._condition.wait()
            if not self._has_failed:
                self._error = None
            checkpoint = self._appender.tracker.checkpoint()
        self._passes.restart(checkpoint)
        return checkpoint

    def close(self) -> None:
        """See Log."""
        self._stop()
        self._appender.notes.is_still(self._wall_us())
        try:
            self._appender.close()
        except Exception as error:
            log.error("%s: %s", self.stored.name, self._as_error(error))
            self._appender.abandon()

    def drop(self) -> None:
        """See Log."""
        self._stop()
        self._appender.abandon()
        self._remove()

    # -- from any thread --------------------------------------------------------------------------

    def numbers(self) -> LogNumbers:
        """See Log."""
        appender = self._appender
        return LogNumbers(
            bytes=appender.bytes,
            segments=appender.segments,
            pending_bytes=self._pending_bytes,
            flushes=appender.flushes,
            unflushed_seconds=appender.unflushed_seconds,
            written_bytes=appender.written_bytes,
        )

    # -- threads ----------------------------------------------------------------------------------

    def _put(self, queued: Queued) -> None:
        """Queue one thing; after a fault it is not queued."""
        if not self._is_started:
            self._start()
        with self._condition:
            self._queue.append(queued)
            self._pending_bytes += queued[2]
            self._condition.notify_all()

    def _start(self) -> None:
        """Start what does not run yet; a system may have no thread to give."""
        runs = {"writer": self._write}
        if not self._is_always:
            runs["flusher"] = self._flush
        for name, run in list(runs.items())[len(self._threads) :]:
            thread = threading.Thread(target=run, name=f"omendb-log-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._is_started = True

    def _stop(self) -> None:
        with self._condition:
            self._is_closing = True
            self._condition.notify_all()
        for thread in self._threads[:1]:
            thread.join()
        with self._condition:  # the writer may have waited for the flusher until now
            self._is_written = True
            self._to_flush.notify()
        for thread in self._threads[1:]:
            thread.join()

    # -- the writer -------------------------------------------------------------------------------

    def _write(self) -> None:
        is_over = False
        while not is_over:
            group: list[Queued] = []
            try:
                is_over = self._wait(group)
                if group:
                    self._do(group)
                elif not is_over:
                    self._mark()
            except Exception as error:  # somebody waits for what came, and for this thread
                self._fail(self._as_error(error))
                self._settled(group, len(group), self._error)

    def _wait(self, group: list[Queued]) -> bool:
        """Take the next group, none if there is none for a while; whether that was all."""
        with self._condition:
            self._is_idle = True
            self._condition.notify_all()
            while not self._queue and not self._is_closing:
                if not self._condition.wait(self._patience_seconds()):
                    break
            take_group(self._queue, group)
            self._is_idle = not group
            return not group and self._is_closing

    def _patience_seconds(self) -> float | None:
        return IDLE_SECONDS if self._appender.wants_mark and self._error is None else None

    def _do(self, group: list[Queued]) -> None:
        """Write and settle ``group``, which is empty then."""
        safe = 0
        try:
            if self._error is None and isinstance(group[0][0], Turn | Done):
                self._do_pass(group[0][0])
                group.clear()
            bodies = [] if self._error else [(body_of(one), one) for one in logged_in(group)]
            while bodies and self._error is None:
                taken = self._appender.write(bodies)
                self._make_safe()
                safe, bodies = taken, bodies[taken:]
                self._settled(group, safe, None)
                safe = 0
            if self._is_always and not self._queue:
                self._appender.prepare()
        except Exception as error:
            self._fail(self._as_error(error))
            self._settled(group, safe, None)
        self._settled(group, len(group), self._error)

    def _do_pass(self, what: Turn | Done) -> None:
        if isinstance(what, Turn):
            self._appender.turn()
            self._base = self._appender.number
        else:
            self._appender.base = self._base

    def _make_safe(self) -> None:
        """Flush, or see that the flusher is not late; raises StorageFailed."""
        if self._is_always:
            self._appender.flush()
            return
        with self._condition:
            if self._flusher_sleeps or self._is_flush_due:
                self._to_flush.notify()
            while not self._has_failed and self._is_overdue:
                self._condition.wait(FLUSH_SECONDS)
            if self._has_failed:
                raise self._appender.failed or StorageFailed("the log is not flushed any more")

    @property
    def _has_failed(self) -> bool:
        return self._appender.failed is not None or isinstance(self._error, StorageFailed)

    @property
    def _is_overdue(self) -> bool:
        return self._appender.unflushed_seconds > OVERDUE_SECONDS

    def _settled(self, group: list[Queued], count: int, error: OmenError | None) -> None:
        """Take the first ``count`` out of ``group``, and settle them; after a fault none is out."""
        if not count:
            return
        nbytes, tags = 0, []
        for logged, tag, size in group[:count]:
            nbytes += size
            if not isinstance(logged, KeptRows | Turn | Done):
                tags.append(tag)
        with self._condition:  # before they are settled: there is room then
            del group[:count]
            self._pending_bytes -= nbytes
            self._told = self._told and error is not None
        if not tags:
            return
        try:
            self._settle(tags, error)
        except Exception as fault:  # somebody waits for each of them
            with suppress(Exception):
                log.error("%s: a fault while settling", self.stored.name, exc_info=fault)
            self._settle(tags, error)

    def _mark(self) -> None:
        try:
            if self._appender.wants_mark and self._error is None:
                self._appender.mark()
                self._make_safe()
        except StorageFull:
            return  # the next change will say so
        except Exception as error:
            self._fail(self._as_error(error))

    def _as_error(self, error: Exception) -> OmenError:
        """``error``; a fault of ours ends the log as a broken disk does, and is not silent."""
        if isinstance(error, OmenError):
            return error
        log.error("%s: a fault in the log", self.stored.name, exc_info=error)
        return StorageFailed("a fault of the server in the log")

    def _fail(self, error: OmenError) -> None:
        with self._condition:
            if self._error is None or isinstance(error, StorageFailed):
                self._error = error
                if not self._told:  # a full disk is tried again and again
                    log.error("%s: nothing is acknowledged: %s", self.stored.name, error)
                self._told = True
            self._condition.notify_all()

    # -- the flusher ------------------------------------------------------------------------------

    def _flush(self) -> None:
        is_over = False
        while not is_over:
            try:
                is_over = self._flush_once()
            except Exception as error:
                self._fail(self._as_error(error))
                # What was written before a failed write is flushed still; nothing after a flush.
                is_over = not isinstance(error, OmenError) or self._appender.is_lost
            with self._condition:
                self._condition.notify_all()

    def _flush_once(self) -> bool:
        """Flush when that is due; whether everything is, as the writer has ended."""
        with self._condition:
            while not self._is_written and not self._is_flush_due:
                patience = self._flush_patience_seconds()
                self._flusher_sleeps = patience is None
                self._to_flush.wait(patience)
            if self._is_written:
                return True
        self._appender.flush()
        self._appender.prepare()
        return False

    @property
    def _is_flush_due(self) -> bool:
        appender = self._appender
        return (
            appender.unflushed_seconds >= FLUSH_SECONDS or appender.unflushed_bytes >= FLUSH_BYTES
        )

    def _flush_patience_seconds(self) -> float | None:
        if self._appender.is_flushed:
            return None
        return max(0.0, FLUSH_SECONDS - self._appender.unflushed_seconds)
