"""The store of a server, used from a thread of its own.

What a store is asked may wait for the disk, and it is to be asked by one thread at a time; neither
the loop nor the engine can wait. So whatever is asked goes into one queue, and is done in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from omendb_core.model.errors import OmenError, Unsupported
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import WindowLimits

from ..runtime.faults import as_error
from .interface import (
    Following,
    Log,
    Manifest,
    Receiving,
    Recovery,
    Settle,
    SharedLog,
    Store,
    Stored,
)
from .late_log import LateLog
from .shared import SharedStore

_Result = TypeVar("_Result")


class Storage:
    """The store, and the thread it is used from. ``limits`` are those of every window."""

    def __init__(self, store: Store, limits: WindowLimits) -> None:
        self._store = store
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, "omendb-store")

    def create(
        self,
        manifest: Manifest,
        settle: Settle,
        then: Callable[[Log | None, Exception | None], None],
    ) -> None:
        """Make a collection durable; ``then`` is called on the store's thread."""
        self._ask(then, self._store.create, manifest, self._limits, settle)

    def drop(self, log: Log, then: Callable[[None, Exception | None], None]) -> None:
        """Take a collection out, durably; ``then`` is called on the store's thread."""
        self._ask(then, log.drop)

    def drop_stored(
        self, stored: Sequence[Stored], then: Callable[[None, Exception | None], None]
    ) -> None:
        """Take out, durably, what has no log open; ``then`` is called on the store's thread."""

        def drop() -> None:
            for one in stored:
                self._store.drop(one)

        self._ask(then, drop)

    def late_log(
        self, recovery: Recovery, settle: Settle, checkpoint: Checkpoint, error: OmenError
    ) -> LateLog:
        """A log for what was read and cannot be gone on with, for ``error``."""
        stored = recovery.stored
        return LateLog(recovery, settle, checkpoint, error, lambda: self._store.drop(stored))

    def try_again(self, log: LateLog) -> Future[None]:
        """Open it if that is possible now."""
        return self._thread.submit(log.try_again)

    def follow(self, stored: Stored) -> Future[Following]:
        """Begin to read a log that another node owns."""
        return self._thread.submit(self._follow, stored)

    def _follow(self, stored: Stored) -> Following:
        if not isinstance(self._store, SharedStore):
            raise Unsupported("this server's logs are its own")
        return self._store.follow(stored, self._limits)

    def step_down(
        self, log: SharedLog, then: Callable[[Following | None, Exception | None], None]
    ) -> None:
        """Go on as a follower; ``then`` is called on the store's thread."""
        self._ask(then, log.step_down)

    def close_log(self, log: Log) -> None:
        """Close a log that nothing goes on with."""
        self._ask(lambda _, error: None, log.close)

    def stored(self) -> list[Stored]:
        """What the store holds; waits. For the start."""
        return self._thread.submit(self._store.stored).result()

    def stored_now(self) -> Future[list[Stored]]:
        """The same, without waiting."""
        return self._thread.submit(self._store.stored)

    def recover(self, stored: Stored) -> Future[Recovery]:
        """Begin to read a log back."""
        return self._thread.submit(self._store.recover, stored, self._limits)

    def finish(self, recovery: Recovery, settle: Settle) -> Future[Log]:
        """Open a recovered log for appending."""
        return self._thread.submit(recovery.finish, settle)

    def receive(
        self, manifest: Manifest, checkpoint: Checkpoint, time_us: int
    ) -> Future[Receiving]:
        """Begin a log that is made of live rows."""
        receive = self._store.receive
        return self._thread.submit(receive, manifest, checkpoint, self._limits, time_us)

    def renew(
        self, old: Stored, manifest: Manifest, checkpoint: Checkpoint, time_us: int
    ) -> Future[Receiving]:
        """Begin a log in place of one that is not what was written."""
        if not isinstance(self._store, SharedStore):
            raise Unsupported("this server's logs are its own")
        return self._thread.submit(
            self._store.renew, old, manifest, checkpoint, self._limits, time_us
        )

    def begin_anew(self, stored: Stored) -> Future[None]:
        """Have a collection that is in memory only begin with nothing."""
        if not isinstance(self._store, SharedStore):
            raise Unsupported("this server's logs are its own")
        return self._thread.submit(self._store.begin_anew, stored, self._limits)

    def finish_receiving(self, receiving: Receiving, settle: Settle) -> Future[Log]:
        """All of its rows have come."""
        return self._thread.submit(receiving.finish, settle)

    def close(self) -> None:
        """Do what was asked, and give the data directory free; waits."""
        try:
            closed = self._thread.submit(self._store.close)
        except Exception:  # the interpreter is ending, and has ended that thread; or a fault
            self._store.close()
        else:
            closed.result()
        finally:
            self._thread.shutdown()

    def _ask(
        self,
        then: Callable[[_Result | None, Exception | None], None],
        function: Callable[..., _Result],
        *arguments: Any,
    ) -> None:
        def done() -> None:
            result: _Result | None = None
            failure: Exception | None = None
            try:
                result = function(*arguments)
            except Exception as error:
                failure = error
            try:
                then(result, failure)
            except Exception as error:  # somebody waits for this
                as_error(error, "telling what the store did")
                then(result, failure)

        self._thread.submit(done)
