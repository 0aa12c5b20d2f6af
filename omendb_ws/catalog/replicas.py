"""Windows of collections that other nodes own: made, promoted, made again, let go of.

On the loop's thread; replaying is done in a thread, as a recovery is. ``follow`` holds the name
until the window is where the log was when it was begun, and lists it then: who reads here sees a
version that its owner had, and no change goes back. Which node should hold what is not known here.

Where what a follower needs was purged, or its rows are not what
its owner states, the window is made again, from the newest checkpoint: whoever subscribed is told
``unavailable``, and comes back with its seq. One that differs again after that is what the log
says, so its owner is wrong: it takes over, and the owner finds in its turn that it differs. Where
its log is not what was written, and cannot be read as far either, the window is kept and not shown:
it may have what the log lost (``heal``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from omendb_core.model.errors import NotFound, OmenError, Unavailable
from omendb_core.replay import replay, resume
from omendb_core.window import Window

from ..engine.engine import Engine
from ..engine.model.pending import PendingChanges
from ..engine.model.shard import Shard
from ..engine.writes.commands import Recovered
from ..engine.writes.following import FollowingFailed, LetGo, Lost, Promoted
from ..journal.follower_log import FollowerLog
from ..journal.interface import Damaged, Differs, Following, Stored
from ..journal.store_thread import Storage
from ..runtime.faults import as_error
from .catalog import Catalog
from .healing import log_of, renew, version_read

log = logging.getLogger(__name__)

#: How often one is tried again that could not be made.
_AGAIN_SECONDS: Final = 1.0
_COMING: Final = "is being read from the cluster; try again"


@dataclass(slots=True, eq=False)
class _Coming:
    """A window on its way; whoever keeps what went wrong keeps this."""

    following: Following
    window: Window


class Replicas:
    """Replicas of a node. ``rebuilt`` counts windows that were made again because they, or their
    log, were not what they should have been; ``healed`` collections that were made anew.
    """

    def __init__(
        self, storage: Storage, catalog: Catalog, engine: Engine, clock_us: Callable[[], int]
    ) -> None:
        self._storage = storage
        self._catalog = catalog
        self._held = catalog.held
        self._engine = engine
        self._clock_us = clock_us
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.rebuilt = self.healed = 0
        #: The keys of those that are being made again.
        self.coming: set[str] = set()
        #: At which version windows were that were let go of, by key: nobody is to be shown less.
        self.left: dict[str, int] = {}
        #: The keys of those that were made again because their owners stated something else.
        self._differed: set[str] = set()
        engine.followers.on_failure = self._failed

    def stop(self) -> None:
        """Make nothing any more."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()

    async def follow(self, stored: Stored) -> Shard:
        """Hold a collection that another node owns, from now on.

        Its name is held meanwhile, and stays so, with the reason, where this raises: Damaged,
        Unavailable (also Purged: try again), Quota.
        """
        began = time.monotonic()
        self._held.hold(stored.tenant, stored.name, _COMING)
        try:
            following = await asyncio.wrap_future(self._storage.follow(stored))
            shard = await self._shown(following)
        except Exception as error:
            told = error if isinstance(error, OmenError) else as_error(error, "following a log")
            self._held.hold(stored.tenant, stored.name, f"is not on this node: {told.message}")
            raise
        log.info(
            "follows %s: %d rows of %d changes in %.2f s; epoch %s, version %d",
            shard.name, following.progress.rows, following.progress.changes,
            time.monotonic() - began, shard.epoch, shard.window.version,
        )  # fmt: skip
        return shard

    async def _shown(self, following: Following) -> Shard:
        """Replay it, and list it."""
        manifest = following.manifest
        try:
            window = self._catalog.window_for(manifest.tenant, manifest.definition)
            coming = _Coming(following, window)
            del window
        except BaseException:
            following.close()
            raise
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._replay, coming)
            now_us = self._clock_us()
            shard = Shard(
                manifest.tenant, manifest.name, manifest.durability, coming.window,
                now_us / 1e6, manifest.epoch,
            )  # fmt: skip
        except BaseException:
            del coming.window
            following.close()
            raise
        shard.ahead_us = following.time_us() - now_us
        shard.pending = PendingChanges(FollowerLog(following))
        self._engine.submit(Recovered(shard))
        self._catalog.restore(shard)
        self._engine.followers.begin(shard, following)
        return shard

    def _replay(self, coming: _Coming) -> None:
        window = coming.window
        resume(window, coming.following.checkpoint)
        for logged in coming.following.changes():
            if self._is_stopping:
                raise Unavailable("collection: its node leaves")
            replay(window, logged)
            window.refuse_beyond_budget()

    async def promote(self, shard: Shard) -> None:
        """Own a shard that follows: changes are admitted here once this returns.

        Deposed if another node has taken it meanwhile, Unavailable, Damaged: then it follows on.
        NotFound if it does not follow.
        """
        pending = shard.pending
        if pending is None or not isinstance(pending.log, FollowerLog):
            raise NotFound(f"collection: {shard.name!r} does not follow")
        following = pending.log.following
        loop = asyncio.get_running_loop()
        settle = self._engine.settler(shard)
        promoted = await loop.run_in_executor(None, following.promote, settle)
        ahead_us = following.time_us() - self._clock_us()
        is_taken: asyncio.Future[None] = loop.create_future()
        self._engine.submit(Promoted(shard, promoted, ahead_us, lambda: _done(is_taken)))
        await is_taken
        log.info("owns %s from version %d on", shard.name, shard.window.version)

    async def let_go(self, shard: Shard, reason: str | None) -> None:
        """Keep a shard that follows no more. Its name is held for ``reason``; for None it is free:
        the collection was dropped, and who subscribed to it is told so.
        """
        if shard.listed.is_listed:
            self._catalog.unlist(shard)
            if reason is not None:
                self._held.hold(shard.tenant, shard.name, reason)
        is_gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._engine.submit(LetGo(shard, reason, lambda: _done(is_gone)))
        await is_gone
        assert shard.pending is not None
        if shard.pending.log is not None and reason is not None:
            self.left[shard.pending.log.stored.key] = shard.left_at

    def forget_others(self, keys: AbstractSet[str]) -> None:
        """Of collections with other keys nothing need be known any more."""
        for key in self.left.keys() - keys:
            del self.left[key]

    def lose(self, shard: Shard, error: Damaged) -> None:
        """The log of a shard that follows is not what was written: show it to nobody."""
        self._engine.submit(FollowingFailed(shard, error))

    async def heal(self, shard: Shard) -> None:
        """A shard's log is not what was written: write another, unless this one can be read.

        Unavailable, StorageFailed, StorageFull. This node keeps the shard until its key is gone.
        """
        if await self._is_sound(shard):
            await self.read_again(shard)
            return
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, renew, self._storage, shard, self._clock_us())
        self.healed += 1
        log.error(
            "%s is healed: version %d of this node is what it has now, under a new epoch;"
            " the stream of key %s is kept as it was",
            shard.name, shard.window.version, log_of(shard).stored.key,
        )  # fmt: skip

    async def begin_anew(self, stored: Stored) -> None:
        """The log of a collection that is in memory only is lost, and nobody has its window: go on
        with an empty one, under a new epoch. NotFound, Unavailable, StorageFailed, StorageFull.
        """
        await asyncio.wrap_future(self._storage.begin_anew(stored))
        self.healed += 1
        log.error("%s was in memory only, and is lost: it begins anew, empty", stored.name)

    async def read_again(self, shard: Shard) -> None:
        """Let a broken shard go; follow its log anew. As ``follow``."""
        stored = log_of(shard).stored
        self.rebuilt += 1
        await self.let_go(shard, _COMING)
        del shard
        await self.follow(stored)

    async def _is_sound(self, shard: Shard) -> bool:
        """Whether its log can be read as far as it has come, whatever went wrong.

        Unavailable where nobody can tell now, or this version cannot.
        """
        stored, version = log_of(shard).stored, shard.window.version
        loop = asyncio.get_running_loop()
        try:
            reading = loop.run_in_executor(None, version_read, self._storage, stored)
            return await reading >= version
        except Damaged as error:
            log.info("%s cannot be read: %s", stored.name, error.message)
            return False

    async def _is_known_sound(self, shard: Shard) -> bool:
        try:
            return await self._is_sound(shard)
        except OmenError as error:
            log.info("%s is not read: %s", shard.name, error.message)
            return False

    # -- made again -------------------------------------------------------------------------------

    def _failed(self, shard: Shard, error: OmenError) -> None:
        """Nobody is shown a shard that followed any more."""
        if self._is_stopping or not shard.listed.is_listed:
            return
        stored = log_of(shard).stored
        task = asyncio.create_task(self._make_again(shard, error))
        self._tasks.add(task)
        self.coming.add(stored.key)
        task.add_done_callback(lambda task: self._was_made_again(task, stored, error))

    def _was_made_again(self, task: asyncio.Task[None], stored: Stored, error: OmenError) -> None:
        """After a fault once more, unless it was let go of: then it is followed as any other."""
        self._tasks.discard(task)
        self.coming.discard(stored.key)
        fault = None if task.cancelled() else task.exception()
        if isinstance(fault, Exception):
            told = as_error(fault, "reading a collection again")
            log.error("%s could not be read again: %s", stored.name, told.message)
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._try_again, stored, error)

    def _try_again(self, stored: Stored, error: OmenError) -> None:
        shard = self._catalog.shard_of(stored.tenant, stored.name)
        if shard is not None and shard.is_follower and log_of(shard).stored == stored:
            self._failed(shard, error)

    async def _make_again(self, shard: Shard, error: OmenError) -> None:
        stored, name = log_of(shard).stored, shard.name
        if not await self._is_there(stored):
            log.info("%s was dropped", name)
            await self.let_go(shard, None)
            return
        if isinstance(error, Damaged) and not await self._is_known_sound(shard):
            log.error("%s needs repair: %s; %s", name, error.message, error.remedy)
            self._engine.submit(Lost(shard, error))
            return
        is_wrong = isinstance(error, Damaged | Differs)
        self.rebuilt += is_wrong
        say = log.error if is_wrong else log.warning
        say("%s is read again from the cluster: %s", name, error.message)
        is_owner_wrong = isinstance(error, Differs) and stored.key in self._differed
        if isinstance(error, Differs):
            self._differed.add(stored.key)
        await self.let_go(shard, _COMING)
        del shard, error
        while not await self._is_followed(stored):  # noqa: ASYNC110 - NATS sets no event
            await asyncio.sleep(_AGAIN_SECONDS)
        if is_owner_wrong:
            await self._depose(stored)

    async def _depose(self, stored: Stored) -> None:
        """What was read again differs from what its owner states: the log is right."""
        self._differed.discard(stored.key)
        shard = self._catalog.shard_of(stored.tenant, stored.name)
        try:
            if shard is not None and shard.is_follower:
                log.error("%s: its owner's rows are not what its log says", stored.name)
                await self.promote(shard)
        except OmenError as error:
            log.warning("%s: its owner stays: %s", stored.name, error.message)

    async def _is_followed(self, stored: Stored) -> bool:
        """Follow it; whether that needs no other attempt."""
        try:
            await self.follow(stored)
        except Damaged as error:
            if not await self._is_there(stored):
                self._held.release(stored.tenant, stored.name)
                return True
            reason = f"needs repair: {error.message}; {error.remedy}"
            self._held.give_up(stored, reason)
            log.error("%s %s", stored.name, reason)
        except Exception as error:
            log.warning("%s is not followed yet: %s", stored.name, error)
            return False
        return True

    async def _is_there(self, stored: Stored) -> bool:
        """Whether there is such a collection; True where nobody can tell."""
        try:
            return stored in await asyncio.wrap_future(self._storage.stored_now())
        except Exception as error:
            log.info("whether %s was dropped is not known: %s", stored.name, error)
            return True


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
