"""A window beside a store's log, driven as the engine drives them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Definition
from omendb_core.replay import kept_rows, replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability, Log, Manifest, Store, Stored
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.files import Files
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.reopening import manifest_after, reopen, settle_end
from tests.core.windows import LIMITS
from tests.patience import PATIENCE_SECONDS


class Settled:
    """Collects what a log settles, in order; ``wait_for`` waits for so many."""

    def __init__(self) -> None:
        self.tags: list[Any] = []
        self.refused: list[tuple[Any, OmenError]] = []
        self.changed = threading.Condition()

    def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
        with self.changed:
            if error is None:
                self.tags += tags
            else:
                self.refused += [(tag, error) for tag in tags]
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self.changed:
            done = self.changed.wait_for(
                lambda: len(self.tags) + len(self.refused) >= count, timeout=PATIENCE_SECONDS
            )
        assert done, "not settled in time"


def manifest(definition: Definition, durability: Durability = "everysec") -> Manifest:
    return Manifest("default", "items", definition, durability, "e1")


def recovered(
    store: Store, stored: Stored, settle: Callable[[Sequence[Any], OmenError | None], None]
) -> tuple[Window, Log]:
    """The window of a stored collection, and its log opened again."""
    recovery = store.recover(stored, LIMITS)
    window = Window(recovery.manifest.definition, LIMITS)
    resume(window, recovery.checkpoint)
    for logged in recovery.changes():
        replay(window, logged)
    return window, recovery.finish(settle)


def reopened(
    files: Files,
    directory: str,
    reader: Reader,
    boot: str,
    segment_bytes: int,
    seconds: Callable[[], float],
) -> Appender:
    """The log that was read to its end, open again as a store does it."""
    settle_end(files, reader)
    of = manifest_after(reader, boot)
    return reopen(files, directory, reader, of, boot, segment_bytes, seconds, 0)


def only(store: Store) -> Stored:
    (stored,) = store.stored()
    return stored


def live_bytes(window: Window) -> int:
    return window.rows * window.definition.dim * 4 + window.payload_bytes


class Pair:
    """Changes go to the log and, settled, to the window."""

    def __init__(self, window: Window, log: Log, settled: Settled) -> None:
        self.window = window
        self.log = log
        self.settled = settled
        self.count = len(settled.tags)

    def take(self, change: Change) -> None:
        self.log.append(change, change)
        self.count += 1
        self.settled.wait_for(self.count)
        assert not self.settled.refused
        assert self.settled.tags[-1] is change
        self.window.apply(change)
        self.keep_rows()

    def keep_rows(self) -> None:
        wanted = self.log.compaction.wanted_rows(live_bytes(self.window))
        if wanted is not None:
            self.log.compaction.keep(kept_rows(self.window, *wanted))
