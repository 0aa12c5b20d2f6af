"""A log of several segments on a simulated disk, and the window at each of its versions."""

from __future__ import annotations

from omendb_core.model.change import Change
from omendb_core.model.logged import Checkpoint
from omendb_core.replay import kept_rows, replay, resume
from omendb_core.window import Window

from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.tracker import Tracker
from tests.core.windows import LIMITS, definition, history
from tests.journal.disk import Disk
from tests.journal.logs import manifest

SEGMENT_BYTES = 2000


class LongLog:
    """``changes`` changes of a window of ``capacity``, flushed; ``close`` ends it cleanly."""

    def __init__(
        self, changes: int = 60, capacity: int = 30, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.disk = Disk()
        self.definition = definition("u64", capacity, ttl=None)
        self.window = Window(self.definition, LIMITS)
        self.changes: list[Change] = []
        plan = Plan(manifest(self.definition), "boot", segment_bytes)
        tracker = Tracker(self.definition, LIMITS, Checkpoint())
        self.appender = Appender(self.disk, self.disk.root, plan, tracker, lambda: 0.0)
        for change in history(self.window, 7, changes):
            self.appender.write([(body_of(change), change)])
            self.appender.flush()
            self.changes.append(change)

    def compact(self) -> None:
        """Write all live rows again; everything before goes."""
        self.appender.turn()
        base = self.appender.number
        rows = kept_rows(self.window, 1, self.window.last_seq)
        self.appender.write([(body_of(rows), rows)])
        self.appender.base = base
        self.appender.flush()

    def at(self, version: int) -> Window:
        """The window as it was at a version."""
        window = Window(self.definition, LIMITS)
        for change in self.changes[:version]:
            replay(window, change)
        return window


def read(disk: Disk, directory: str) -> tuple[Window, Reader]:
    """The window that a log holds."""
    reader = Reader(disk, directory, LIMITS)
    window = Window(reader.manifest.definition, LIMITS)
    resume(window, reader.tracker.checkpoint())
    for logged in reader.changes():
        replay(window, logged)
    return window, reader
