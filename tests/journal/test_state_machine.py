"""Any order of changes, searches, kept rows and crashes: what comes back is the naive oracle's.

The machine of ``tests/core`` compares a window with the oracle; here every change goes through a
log that is flushed, and at any moment the process or the power may go. What the log gives back
takes the place of the second window, which the machine holds to the oracle too.
"""

from __future__ import annotations

import os

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from omendb_core.model.change import Change
from omendb_core.model.logged import Checkpoint
from omendb_core.replay import kept_rows, replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import Manifest
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.compaction import Passes
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.tracker import Tracker
from tests.core.test_window_state_machine import WindowMachine
from tests.core.windows import assert_same
from tests.journal.disk import Disk
from tests.journal.logs import reopened

SEGMENT_BYTES = 1500
SEEDS = int(os.environ.get("JOURNAL_SEEDS", "0"))


class JournalMachine(WindowMachine):
    appender: Appender | None = None

    def open_log(self) -> Appender:
        self.disk = Disk()
        self.boot = 0
        manifest = Manifest("t", "items", self.definition, "always", "e1")
        tracker = Tracker(self.definition, self.window.admission.limits, Checkpoint())
        plan = Plan(manifest, "0", SEGMENT_BYTES)
        self.passes = Passes(self.definition, SEGMENT_BYTES, Checkpoint())
        return Appender(self.disk, self.disk.root, plan, tracker, lambda: 0.0)

    def take(self, change: Change | None) -> None:
        super().take(change)
        if change is not None:
            self.appender = self.appender or self.open_log()
            self.appender.write([(body_of(change), change)])
            self.appender.flush()
            self.passes.appended(change)

    @precondition(lambda self: self.appender)
    @rule(most=st.integers(1, 40))
    def write_rows_again(self, most: int) -> None:
        assert self.appender is not None
        if not self.passes.is_running:
            self.passes.begin()
            self.appender.turn()
            self.base = self.appender.number
        first, last = self.passes.wanted()
        rows = kept_rows(self.window, first, min(last, first + most - 1))
        self.appender.write([(body_of(rows), rows)])
        if self.passes.kept(rows.last_seq):
            self.appender.base = self.base
        self.appender.flush()

    @precondition(lambda self: self.appender)
    @rule(loses_power=st.booleans(), seed=st.integers(0, 2**32))
    def crash(self, loses_power: bool, seed: int) -> None:
        if loses_power:
            self.disk.lose_power(np.random.default_rng(seed))
            self.boot += 1
        else:
            self.disk.kill()
        limits = self.window.admission.limits
        reader = Reader(self.disk, self.disk.root, limits)
        window = Window(self.definition, limits)
        resume(window, reader.tracker.checkpoint())
        for logged in reader.changes():
            replay(window, logged)
        assert_same(window, self.window)
        self.replayed = window
        self.appender = reopened(
            self.disk, self.disk.root, reader, str(self.boot), SEGMENT_BYTES, lambda: 0.0
        )
        assert self.appender.plan.manifest.epoch == "e1"
        self.passes.restart(self.appender.tracker.checkpoint())


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=max(15, SEEDS // 20), stateful_step_count=30, deadline=None, derandomize=True
)
