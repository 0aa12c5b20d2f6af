"""A log through many lives, some of which end badly, beside a ledger of what was acknowledged.

One life: the log is read back, changes are acknowledged as the server's threads would, and it ends:
a clean stop, a killed process, a machine without power, at any operation on the disk. After each,
the window that comes back is compared with the ledger. No threads, and a clock of its own: a seed
is a run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from omendb_core.model.change import AddChange, Change
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import IdKind
from omendb_core.replay import kept_rows, replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability, Manifest
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.compaction import Passes
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.tracker import Tracker
from omendb_ws.journal.local.writer import FLUSH_SECONDS, OVERDUE_SECONDS
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.journal.disk import Crash, Disk
from tests.journal.logs import reopened


@dataclass
class Acknowledged:
    change: Change
    at_seconds: float


class Life:
    """A log, its files and its ledger, from one start to the next."""

    def __init__(self, seed: int, durability: Durability, ids: IdKind = "u64") -> None:
        self.random = np.random.default_rng(seed)
        self.seed = seed
        self.durability = durability
        capacity = int(self.random.choice([2, 9, 40]))
        self.definition = definition(ids, capacity)
        self.segment_bytes = int(self.random.choice([700, 3000, 20_000]))
        self.disk = Disk()
        self.boot = 0
        self.seconds = 0.0
        self.epoch = "e0"
        self.ledger: list[Acknowledged] = []
        #: Written and refused, or not answered: each may be there after a restart, in order.
        self.unknown: list[Change] = []
        self.window = Window(self.definition, LIMITS)
        self.history = History(self.window, seed, leaves_out=seed % 2 == 0)
        self.recoveries = self.lost = 0
        self._create()

    # -- lives ----------------------------------------------------------------------------------

    def live(self, changes: int, crash_after: int | None) -> str:
        """One life; how it ended: "clean", or "crash"."""
        self._crash_after(crash_after)
        try:
            self._recover()
            for _ in range(changes):
                self._step()
            self.appender.close()
        except Crash:
            return "crash"
        finally:
            self.disk.fault = lambda operation, path: None
        return "clean"

    def end(self, how: str) -> None:
        """What becomes of the machine after a life: "power" or "kill"."""
        if how == "power":
            self.disk.lose_power(self.random)
            self.boot += 1
        else:
            self.disk.kill()

    def check(self, ended: str, how: str) -> None:
        """Read the log as it is, twice, and hold it to the ledger."""
        window = self._read()
        assert_same(self._read(), window)
        self._check_window(window, ended, how)

    # -- steps ----------------------------------------------------------------------------------

    def _create(self) -> None:
        manifest = Manifest("t", "items", self.definition, self.durability, self.epoch)
        tracker = Tracker(self.definition, LIMITS, Checkpoint())
        plan = Plan(manifest, str(self.boot), self.segment_bytes)
        self.appender = Appender(self.disk, self.disk.root, plan, tracker, lambda: self.seconds)
        self.appender.close()
        self._epoch_is_visible()

    def _recover(self) -> None:
        reader = Reader(self.disk, self.disk.root, LIMITS)
        self.window = self.history.window = self._replayed(reader)
        boot = str(self.boot)
        self.appender = reopened(
            self.disk, self.disk.root, reader, boot, self.segment_bytes, lambda: self.seconds
        )
        self._check_epoch(self.appender.plan.manifest.epoch)
        self.ledger += [Acknowledged(one, self.seconds) for one in self.unknown]
        self.unknown = []
        self.recoveries += 1
        self.passes = Passes(
            self.definition, self.segment_bytes, self.appender.tracker.checkpoint()
        )

    def _step(self) -> None:
        """Some changes as one group, perhaps a flush, perhaps rows written again; time passes."""
        group = [self.history.change()]
        while isinstance(group[-1], AddChange) and self.random.random() < 0.3:
            behind = self.history.add()
            if behind is None:
                break
            group.append(behind)
        self._write(group)
        self._keep_rows()
        self.seconds += float(self.random.choice([0.01, 0.3, 0.9]))
        self._flush_when_due()
        if self.random.random() < 0.1:
            self.appender.prepare()
        if self.random.random() < 0.1 and self.appender.wants_mark:
            self.appender.mark()

    def _write(self, group: list[Change]) -> None:
        self.unknown = list(group)
        while group:
            taken = self.appender.write([(body_of(one), one) for one in group])
            if self.durability == "always":
                self.appender.flush()
            for one in group[:taken]:
                self.window.apply(one)
                self.ledger.append(Acknowledged(one, self.seconds))
                self.passes.appended(one)
            self.unknown = group = group[taken:]
        self.has_acknowledged = True

    def _flush_when_due(self) -> None:
        if self.durability == "everysec" and (
            self.appender.unflushed_seconds >= FLUSH_SECONDS or self.random.random() < 0.1
        ):
            self.appender.flush()
        assert self.appender.unflushed_seconds <= OVERDUE_SECONDS

    def _keep_rows(self) -> None:
        passes = self.passes
        if not passes.is_running:
            if self.random.random() < 0.03 or passes.is_due(self.appender.bytes, 100):
                passes.begin()
                self.appender.turn()
                self.base = self.appender.number
            return
        first, last = passes.wanted()
        last = min(last, first + int(self.random.integers(1, 5)))
        rows = kept_rows(self.window, first, last)
        if len(rows.times_us):
            self.appender.write([(body_of(rows), rows)])
        if passes.kept(rows.last_seq):
            self.appender.base = self.base

    def _crash_after(self, operations: int | None) -> None:
        if operations is None:
            return
        last = self.disk.operations + operations

        def fault(operation: str, path: str) -> None:
            if self.disk.operations >= last:
                raise Crash

        self.disk.fault = fault

    # -- checking -------------------------------------------------------------------------------

    def _read(self) -> Window:
        return self._replayed(Reader(self.disk, self.disk.root, LIMITS))

    def _replayed(self, reader: Reader) -> Window:
        window = Window(self.definition, LIMITS)
        resume(window, reader.tracker.checkpoint())
        for logged in reader.changes():
            replay(window, logged)
        return window

    def _check_window(self, window: Window, ended: str, how: str) -> None:
        known = [one.change for one in self.ledger] + self.unknown
        least = len(self.ledger)
        if ended == "crash" and how == "power" and self.durability == "everysec":
            safe = self.seconds - OVERDUE_SECONDS
            least = sum(one.at_seconds < safe for one in self.ledger)
        held, expected = self._held(window, known)
        assert least <= held, (least, held)
        assert_same(window, expected)
        lost = held < len(self.ledger)
        self.lost += lost
        reader = Reader(self.disk, self.disk.root, LIMITS)
        self._replayed(reader)
        is_unclean = ended == "crash" and not reader.is_clean
        lost_power = is_unclean and how == "power" and self.durability == "everysec"
        self.may_change |= lost_power
        self.must_change |= lost or (lost_power and self.has_acknowledged)
        self.unknown = self.unknown[: max(0, held - len(self.ledger))]
        self.ledger = self.ledger[:held]

    def _held(self, window: Window, known: list[Change]) -> tuple[int, Window]:
        """How many of the changes it holds, and what is expected of it then.

        Each change raises the version, or uses up a batch of its producer.
        """
        expected = Window(self.definition, LIMITS)
        found = window.version, window.admission.admitted.producers.state()
        for held in range(len(known) + 1):
            if held:
                replay(expected, known[held - 1])
            if found == (expected.version, expected.admission.admitted.producers.state()):
                return held, expected
        raise AssertionError("it is no window that there ever was")

    def _check_epoch(self, epoch: str) -> None:
        if self.must_change:
            assert epoch != self.epoch
        if not self.may_change:
            assert epoch == self.epoch
        self.epoch = epoch
        self._epoch_is_visible()

    def _epoch_is_visible(self) -> None:
        """Clients see the epoch from now on: what happened before is settled."""
        self.must_change = self.may_change = self.has_acknowledged = False
