"""Getting collections back out of the store at the start, while the server listens already.

Runs on the loop's thread; what takes long, replaying, in a thread. Every stored name is held in the
catalog from the start, so that nobody makes it anew; collections come back one by one. One that
cannot be trusted stays held, and says why; the others serve.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from omendb_core.model.errors import OmenError, StorageFailed, StorageFull, Unavailable
from omendb_core.replay import checkpoint_of, replay, resume
from omendb_core.window import Window

from ..engine.engine import Engine
from ..engine.model.pending import PendingChanges
from ..engine.model.shard import Shard
from ..engine.writes.commands import Recovered
from ..journal.interface import Damaged, Log, Progress, Recovery, Stored
from ..journal.late_log import LateLog
from ..journal.store_thread import Storage
from ..runtime.faults import as_error
from .catalog import Catalog
from .parts import incomplete

log = logging.getLogger(__name__)

#: How often a line is logged of a recovery that takes long.
_SAY_SECONDS: Final = 5.0
#: How often a collection that found no space on the disk is tried again.
_SPACE_SECONDS: Final = 1.0


@dataclass(slots=True, eq=False)
class _Coming:
    """What comes back, and how long it took. Of a window that does not, nothing else is known:
    whoever keeps what went wrong keeps this."""

    recovery: Recovery
    window: Window
    seconds: float = 0.0


class Recoveries:
    """The recovery of everything that the store holds: ``begin``, then ``run`` once.

    ``progress`` says how far the collection is that is coming back; ``damaged`` counts those that
    will not.
    """

    def __init__(
        self, storage: Storage, catalog: Catalog, engine: Engine, clock_us: Callable[[], int]
    ) -> None:
        self._storage = storage
        self._catalog = catalog
        self._held = catalog.held
        self._engine = engine
        self._clock_us = clock_us
        self._waiting: list[Stored] = []
        #: What is read and cannot be shown for want of space: tried again and again.
        self._full: set[asyncio.Task[None]] = set()
        #: What is shown, and cannot be changed for want of space: likewise.
        self._late: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._total = self._rows_back = 0
        self.progress = Progress()

    @property
    def damaged(self) -> int:
        """How many collections will not come back, and were not dropped."""
        return self._held.given_up

    @property
    def rows(self) -> int:
        """How many rows are read so far, over all collections."""
        return self._rows_back + self.progress.rows

    @property
    def share(self) -> float:
        """How much is done, of 1: each collection counts alike, since its size is not known yet."""
        total = max(self._total, 1)
        done = self.progress.bytes_done / max(self.progress.bytes_total, 1)
        return min((self._total - len(self._waiting) + done) / total, 1.0)

    @property
    def unread(self) -> int:
        """How many collections are not read yet, the current one included."""
        return len(self._waiting)

    @property
    def waiting(self) -> int:
        """How many collections are still to come, the current one included."""
        return len(self._waiting) + len(self._full)

    def begin(self) -> None:
        """Hold every stored name."""
        found = self._storage.stored()
        times = Counter((stored.tenant, stored.name) for stored in found)
        torn = incomplete(found)
        for stored in found:
            self._held.expect(stored, "is recovering; try again")
        for stored in found:
            if times[stored.tenant, stored.name] == 1 and stored not in torn:
                self._waiting.append(stored)
            elif stored in torn:  # a create, or a drop, that did not come to its end
                self._refuse(stored, Damaged("not all of its shards are there", stored.key, 0))
            else:  # a repair, or a drop on a broken disk, that did not come to its end
                self._refuse(stored, Damaged("it is there twice", stored.key, 0))
        self._total = len(self._waiting)

    def stop(self) -> None:
        """Let go of the recovery that is under way; nothing of the store has changed."""
        self._is_stopping = True
        for task in self._full | self._late:
            task.cancel()

    async def run(self) -> None:
        """Bring everything back that can be."""
        while self._waiting and not self._is_stopping:
            stored = self._waiting[0]
            try:
                await self._recover(stored)
            except _Stopped:
                return
            except Exception as error:
                if _passes(error):
                    await self._put_off(stored, error)
                    continue
                self._refuse(stored, error)
            self._rows_back += self.progress.rows
            self.progress = Progress()
            self._waiting.pop(0)
        if tasks := self._full | self._late:
            await asyncio.wait(tasks)

    async def _put_off(self, stored: Stored, error: Exception) -> None:
        """Try it again behind the others: the system is short of descriptors, memory, threads."""
        self._held.hold(stored.tenant, stored.name, f"is recovering: {error}; try again")
        log.warning("%s is tried again: %s", stored.name, error)
        self.progress = Progress()
        self._waiting.append(self._waiting.pop(0))
        await asyncio.sleep(_SPACE_SECONDS)

    async def _recover(self, stored: Stored) -> None:
        began = time.monotonic()
        recovery = await asyncio.wrap_future(self._storage.recover(stored))
        self.progress = recovery.progress
        coming = _Coming(recovery, self._window_for(recovery))
        try:
            telling = asyncio.create_task(self._tell(stored, recovery.progress))
            try:
                await self._replayed(coming)
            finally:
                telling.cancel()
            coming.seconds = max(time.monotonic() - began, 1e-9)
            try:
                await self._open(coming)
            except StorageFull as error:
                self._wait_for_space(coming, error)
        except BaseException:
            del coming.window
            raise

    def _window_for(self, recovery: Recovery) -> Window:
        manifest = recovery.manifest
        return self._catalog.window_for(manifest.tenant, manifest.definition)

    def _wait_for_space(self, coming: _Coming, error: StorageFull) -> None:
        """Let the others come back, and try this one again now and then."""
        manifest = coming.recovery.manifest
        name = manifest.name
        reason = f"waits for space on the disk: {error.message}"
        self._held.hold(manifest.tenant, name, reason)
        log.error("%s %s", name, reason)

        async def again() -> None:
            try:
                while True:
                    await asyncio.sleep(_SPACE_SECONDS)
                    with suppress(StorageFull):
                        await self._open(coming)
                        return
            except Exception as failure:
                del coming.window
                self._refuse(coming.recovery.stored, failure)

        task = asyncio.create_task(again())
        self._full.add(task)
        task.add_done_callback(self._full.discard)

    async def _replayed(self, coming: _Coming) -> None:
        """Unavailable where the system has no thread for it now."""
        try:
            replaying = asyncio.get_running_loop().run_in_executor(None, self._replay, coming)
        except RuntimeError as error:
            raise Unavailable(f"no thread to read it with: {error}") from error
        try:
            await replaying
        finally:
            del replaying  # what it raises refers to this frame

    def _replay(self, coming: _Coming) -> None:
        window = coming.window
        resume(window, coming.recovery.checkpoint)
        for logged in coming.recovery.changes():
            if self._is_stopping:
                raise _Stopped
            replay(window, logged)
            window.refuse_beyond_budget()

    async def _open(self, coming: _Coming) -> None:
        """Bring the collection of a window back that was replayed, open for changes if possible.

        StorageFull: it cannot be shown yet.
        """
        recovery, manifest = coming.recovery, coming.recovery.manifest
        collection = Shard(
            manifest.tenant,
            manifest.name,
            manifest.durability,
            coming.window,
            self._clock_us() / 1e6,
            manifest.epoch,
        )
        collection.ahead_us = recovery.time_us() - self._clock_us()
        settle = self._engine.settler(collection)
        late: LateLog | None = None
        opened: Log
        try:
            opened = await asyncio.wrap_future(self._storage.finish(recovery, settle))
        except (StorageFull, StorageFailed) as error:
            if not recovery.is_settled:
                collection.let_go()
                raise
            checkpoint = checkpoint_of(coming.window)
            opened = late = self._storage.late_log(recovery, settle, checkpoint, error)
        except BaseException:
            collection.let_go()
            raise
        collection.epoch = opened.manifest.epoch
        collection.pending = PendingChanges(opened)
        self._engine.submit(Recovered(collection))
        self._catalog.restore(collection)
        self._say_recovered(collection, recovery, coming.seconds)
        if late is not None:
            self._go_on_later(collection.name, late)

    def _go_on_later(self, name: str, late: LateLog) -> None:
        """Try to open the log of a collection that is shown already, as long as that may help."""
        log.error("%s is served, and takes no changes: %s", name, late.error)

        async def again() -> None:
            while isinstance(late.error, StorageFull) and not late.is_over:
                await asyncio.sleep(_SPACE_SECONDS)
                try:
                    await asyncio.wrap_future(self._storage.try_again(late))
                except StorageFull:
                    continue
                except Exception as error:
                    late.fail(as_error(error, f"opening the log of {name}"))

        task = asyncio.create_task(again())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _say_recovered(self, shard: Shard, recovery: Recovery, seconds: float) -> None:
        progress, torn = recovery.progress, recovery.torn
        if torn is not None:
            log.warning(
                "%s: the end of %s is no whole record; %d bytes from byte %d on are cut off, and"
                " nothing says that any of them was flushed",
                shard.name,
                torn.file,
                torn.bytes_cut,
                torn.offset,
            )
        if recovery.doubt is not None:
            log.warning(
                "%s goes on under another epoch, %s: %s",
                shard.name,
                shard.epoch,
                recovery.doubt,
            )
        log.info(
            "recovered %s: %d rows of %d changes in %.2f s, %d rows/s; epoch %s, version %d",
            shard.name,
            progress.rows,
            progress.changes,
            seconds,
            progress.rows / seconds,
            shard.epoch,
            shard.window.version,
        )

    def _refuse(self, stored: Stored, error: Exception) -> None:
        """Keep a collection held that did not come back."""
        if not isinstance(error, OmenError):
            error = as_error(error, f"recovering {stored.name}")
        reason = f"did not come back: {error.message}"
        if isinstance(error, Damaged):
            reason = f"needs repair: {error.message}; {error.remedy}"
        self._held.give_up(stored, reason)
        log.error("%s %s", stored.name, reason)

    async def _tell(self, stored: Stored, progress: Progress) -> None:
        """Say in the log how far a long recovery is, and update what those who ask are told."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(_SAY_SECONDS)
            told = how_far(progress, time.monotonic() - began)
            self._held.hold(stored.tenant, stored.name, f"is recovering, {told}; try again")
            log.info("recovering %s: %s", stored.name, told)


def _passes(error: Exception) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, Damaged)


class _Stopped(Exception):
    """The server leaves before everything is back."""


def how_far(progress: Progress, seconds: float) -> str:
    """Rows, bytes and the time that is left, in words."""
    done, total = progress.bytes_done, max(progress.bytes_total, progress.bytes_done)
    left = "?" if not done else f"{(total - done) * seconds / done:.0f} s left"
    return f"{progress.rows} rows, {done >> 20} of {total >> 20} MiB, {left}"
