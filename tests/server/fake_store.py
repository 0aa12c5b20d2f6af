"""A store in memory whose logs settle when the test says so, and fail as it says.

``FakeStore`` outlives servers: what a log has settled as safe comes back from it. With
``is_patient`` nothing settles until ``let_go``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError, Unavailable, Unsupported
from omendb_core.model.logged import Checkpoint, KeptRows
from omendb_core.model.types import WindowLimits
from omendb_core.replay import checkpoint_of, replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import (
    Compaction,
    Damaged,
    Log,
    Logged,
    LogNumbers,
    Manifest,
    Progress,
    Receiving,
    Recovery,
    Settle,
    Stored,
    Torn,
)


class FakeLog:
    """A log in memory. Its own thread is whoever calls; ``append`` settles at once if it may."""

    def __init__(self, store: FakeStore, manifest: Manifest, limits: WindowLimits) -> None:
        self.store = store
        self.manifest = manifest
        self.stored = Stored(manifest.epoch, manifest.tenant, manifest.name)
        self.limits = limits
        self.safe: list[Logged] = []
        self.queued: list[tuple[Change, Any]] = []
        self.error: OmenError | None = None
        self.has_room = True
        self.wants_rest = False
        self.settle: Settle
        self.is_closed = self.is_dropped = False
        self.wanted: tuple[int, int] | None = None
        self.kept: list[KeptRows] = []
        self._lock = threading.Lock()

    def append(self, change: Change, tag: Any) -> None:
        assert not self.is_closed
        with self._lock:
            self.queued.append((change, tag))
            self.has_room = len(self.queued) < self.store.room
        if not self.store.is_patient:
            self.let_go()

    def let_go(self, count: int | None = None) -> None:
        """Settle what is queued, all or the first ``count``."""
        with self._lock:
            group = self.queued[:count]
            del self.queued[:count]
            self.has_room = len(self.queued) < self.store.room
            if self.store.failure is not None:
                self.error = self.store.failure
            if self.error is None:
                self.safe += [change for change, _ in group]
            if group:
                self.settle([tag for _, tag in group], self.error)

    def rewind(self) -> Checkpoint:
        with self._lock:
            assert not self.queued
            self.error = None
        return checkpoint_of(self.window())

    def window(self) -> Window:
        window = Window(self.manifest.definition, self.limits)
        resume(window, Checkpoint())
        for logged in self.safe:
            replay(window, logged)
        return window

    @property
    def compaction(self) -> Compaction:
        return self

    def wanted_rows(self, live_bytes: int) -> tuple[int, int] | None:
        wanted, self.wanted = self.wanted, None
        return wanted

    def keep(self, rows: KeptRows) -> None:
        self.kept.append(rows)

    def numbers(self) -> LogNumbers:
        return LogNumbers(0, 1, 0, 0, 0.0, 0)

    def close(self) -> None:
        self.let_go()
        self.is_closed = True

    def drop(self) -> None:
        self.store.gate.wait()
        if self.store.failure is not None:
            raise self.store.failure
        self.is_dropped = True
        del self.store.logs[self.stored.key]


class FakeRecovery:
    def __init__(self, log: FakeLog) -> None:
        self.stored = log.stored
        self.manifest = log.manifest
        self.checkpoint = Checkpoint()
        self.progress = Progress(bytes_total=len(log.safe))
        self.torn: Torn | None = None
        self.doubt: str | None = None
        self.is_settled = True
        self._log = log

    def changes(self) -> Iterator[Logged]:
        for logged in self._log.safe:
            self._log.store.recovery_gate.wait()
            self.progress.changes += 1
            self.progress.bytes_done += 1
            yield logged

    def time_us(self) -> int:
        return self._log.window().admission.admitted.time_us

    def finish(self, settle: Settle) -> Log:
        self._log.settle = settle
        self._log.is_closed = False
        return self._log


class FakeStore:
    """A store of ``FakeLog``.

    ``gate`` shut: creates and drops wait. ``room``: appends a log takes.
    """

    def __init__(self) -> None:
        self.logs: dict[str, FakeLog] = {}
        self.is_patient = False
        self.failure: OmenError | None = None
        self.room = 1000
        self.gate = threading.Event()
        self.gate.set()
        self.recovery_gate = threading.Event()
        self.recovery_gate.set()
        self.damaged: set[str] = set()

    def __call__(self, data_dir: str) -> FakeStore:
        return self

    def log(self, name: str) -> FakeLog:
        """The log of the collection of that name."""
        (found,) = [log for log in self.logs.values() if log.manifest.name == name]
        return found

    def stored(self) -> list[Stored]:
        return [log.stored for log in self.logs.values()]

    def recover(self, stored: Stored, limits: WindowLimits) -> Recovery:
        if stored.name in self.damaged:
            raise Damaged("the checksum of a record is wrong", "segment-1", 4096)
        return FakeRecovery(self.logs[stored.key])

    def receive(
        self, manifest: Manifest, checkpoint: Checkpoint, limits: WindowLimits, time_us: int
    ) -> Receiving:
        raise Unsupported("restore: not into this store")

    def create(self, manifest: Manifest, limits: WindowLimits, settle: Settle) -> Log:
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if any((one.tenant, one.name) == (manifest.tenant, manifest.name) for one in self.stored()):
            raise Unavailable("it is there already")
        log = FakeLog(self, manifest, limits)
        log.settle = settle
        self.logs[manifest.epoch] = log
        return log

    def drop(self, stored: Stored) -> None:
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        del self.logs[stored.key]

    def close(self) -> None:
        pass
