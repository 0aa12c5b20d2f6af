"""Logs that are longer than their windows: what is dropped, and when; what is written again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from omendb_core.model.change import (
    AddChange,
    AddRequest,
    Change,
    Repeated,
    RowBatch,
    UpdateRequest,
)
from omendb_core.model.errors import StorageFailed
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import Definition
from omendb_core.novelty.unless_near import UnlessNear
from omendb_core.replay import kept_rows
from omendb_core.window import Window

from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.compaction import LEAST_SEGMENTS, MOST_TIMES, Passes
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.tracker import Tracker
from tests.core.windows import LIMITS, assert_same
from tests.journal.disk import Disk
from tests.journal.logs import manifest, reopened
from tests.journal.long_logs import read

SEGMENT_BYTES = 2000
DEFINITION = Definition(4, 20, "dot")


class Log:
    """A window and its log, one change after the other."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.window = Window(DEFINITION, LIMITS)
        tracker = Tracker(DEFINITION, LIMITS, Checkpoint())
        plan = Plan(manifest(DEFINITION), "boot", SEGMENT_BYTES)
        self.appender = Appender(self.disk, self.disk.root, plan, tracker, lambda: 0.0)
        self.passes = Passes(DEFINITION, SEGMENT_BYTES, Checkpoint())
        self.keys = itertools.count()

    def add(self, count: int = 1) -> None:
        keys = np.array([next(self.keys) for _ in range(count)], np.uint64)
        rows = RowBatch(np.full((count, 4), float(keys[0]), np.float32), keys)
        self.take(self.window.admit_add(AddRequest(rows), 1))  # type: ignore[arg-type]

    def update(self, key: int) -> None:
        request = UpdateRequest(np.array([key], np.uint64), [{"a": 1}], [b'{"a":1}'])
        self.take(self.window.admit_update(request, 1))

    def take(self, change: Change) -> None:
        self.appender.write([(body_of(change), change)])
        self.window.apply(change)
        self.passes.appended(change)

    def compact_when_due(self) -> None:
        """As the writer and the engine do it together."""
        passes = self.passes
        if passes.is_due(self.appender.bytes, self.window.rows * 40):
            passes.begin()
            self.appender.turn()
            self.base = self.appender.number
        if passes.is_running:
            rows = kept_rows(self.window, *passes.wanted())
            self.appender.write([(body_of(rows), rows)])
            if passes.kept(rows.last_seq):
                self.appender.base = self.base

    def comes_back(self) -> None:
        window, _ = read(self.disk, self.disk.root)
        assert_same(window, self.window)


def test_segments_below_the_window_are_dropped_and_it_comes_back_all_the_same() -> None:
    log = Log()
    most = 0
    for _ in range(300):
        log.add(3)
        log.appender.flush()
        most = max(most, log.appender.segments)
        log.comes_back()
    assert most <= 6
    assert len(log.disk.segments()) == log.appender.segments


def test_nothing_is_dropped_before_what_makes_it_needless_is_flushed() -> None:
    """Rows that are written while a flush is under way evict others, and are lost themselves."""
    for seed in range(20):
        log = Log()
        log.add(20)
        log.appender.flush()
        log.appender.turn()
        log.appender.flush()
        held = log.appender.segments

        def write_meanwhile(operation: str, path: str, log: Log = log) -> None:
            if operation == "synced":
                log.disk.fault = lambda operation, path: None
                log.add(20)

        log.disk.fault = write_meanwhile
        log.appender.flush()
        assert log.appender.segments >= held
        log.disk.lose_power(np.random.default_rng(seed))
        window, _ = read(log.disk, log.disk.root)
        assert window.rows == 20
        window.check()


def test_what_is_written_during_a_flush_is_not_taken_for_flushed() -> None:
    """Else a lost write would look like damage, since a later record swears that it was there."""
    for seed in range(40):
        log = Log()
        log.add(2)

        def write_meanwhile(operation: str, path: str, log: Log = log) -> None:
            if operation == "synced":
                log.disk.fault = lambda operation, path: None
                log.add(5)

        log.disk.fault = write_meanwhile
        log.appender.flush()
        log.add(5)
        log.disk.lose_power(np.random.default_rng(seed))
        assert read(log.disk, log.disk.root)[0].last_seq in {2, 7, 12}


def test_a_torn_end_is_told_and_cut() -> None:
    log = Log()
    log.add(2)
    log.appender.flush()
    (path,) = log.disk.segments()
    inode, end = log.disk.file(path), log.appender._written.end
    inode.put(end, b"\1" * 100)
    log.disk.kill()
    _, reader = read(log.disk, log.disk.root)
    assert reader.torn is not None
    assert (reader.torn.file, reader.torn.offset, reader.torn.bytes_cut) == (path, end, 100)
    reopened(log.disk, log.disk.root, reader, "boot", SEGMENT_BYTES, lambda: 0.0).close()
    assert len(inode.data) == end
    assert read(log.disk, log.disk.root)[1].torn is None
    log.comes_back()


def test_a_log_of_updates_is_bounded_by_writing_live_rows_again() -> None:
    log = Log()
    log.add(20)
    most = 0
    for turn in range(2000):
        log.update(turn % 20)
        log.compact_when_due()
        if turn % 5 == 0:
            log.appender.flush()
        most = max(most, log.appender.bytes)
    live = 20 * 40
    assert most < max(MOST_TIMES * live, LEAST_SEGMENTS * SEGMENT_BYTES) + 4 * SEGMENT_BYTES
    log.comes_back()
    reader = Reader(log.disk, log.disk.root, LIMITS)
    assert reader.chain.opened[0].segment.number > 10


def test_a_pass_that_a_crash_cuts_short_loses_nothing() -> None:
    log = Log()
    log.add(20)
    for turn in range(200):
        log.update(turn % 20)
    log.appender.turn()
    rows = kept_rows(log.window, 1, 11)
    log.appender.write([(body_of(rows), rows)])
    log.appender.flush()
    log.comes_back()
    log.disk.kill()
    log.comes_back()


def test_a_record_longer_than_a_segment_has_one_of_its_own() -> None:
    log = Log()
    log.add(1)
    for _ in range(3):
        keys = np.array([next(log.keys) for _ in range(20)], np.uint64)
        blob = b'{"a":"' + b"x" * 300 + b'"}'
        rows = RowBatch(np.ones((20, 4), np.float32), keys, payloads=[blob] * 20)
        log.take(log.window.admit_add(AddRequest(rows), 1))  # type: ignore[arg-type]
        log.add(1)
    log.comes_back()


@pytest.mark.parametrize("operation", ["write", "sync", "truncate", "create"])
def test_a_recovery_that_the_disk_fails_can_be_tried_again(operation: str) -> None:
    log = Log()
    for _ in range(10):
        log.add(2)
    log.disk.kill()

    def fail(name: str, path: str) -> None:
        if name == operation:
            raise OSError(5, "Input/output error")

    def again() -> Appender:
        reader = Reader(log.disk, log.disk.root, LIMITS)
        for _ in reader.changes():
            pass
        return reopened(log.disk, log.disk.root, reader, "boot", SEGMENT_BYTES, lambda: 0.0)

    for _ in range(3):
        log.disk.fault = fail
        with pytest.raises(StorageFailed):
            again()
        log.disk.fault = lambda name, path: None
        log.comes_back()
    again().close()
    log.comes_back()


def test_a_log_of_batches_of_which_no_row_goes_in_stays_short_and_knows_them_all() -> None:
    log = Log()
    log.add(20)
    most = 0
    for batch in range(1, 1500):
        rows = RowBatch(np.ones((1, 4), np.float32), np.array([99], np.uint64))
        asked = AddRequest(rows, f"p{batch % 2}", (batch + 1) // 2)
        judged = log.window.judge_add(asked, UnlessNear(-1e9))
        assert not isinstance(judged, Repeated)
        judged.finish()
        change = log.window.admit_add(asked, 1, judged)
        assert isinstance(change, AddChange)
        assert (change.is_empty, change.version) == (True, 1)
        log.take(change)
        log.compact_when_due()
        log.appender.flush()
        most = max(most, log.appender.bytes)
        if batch % 100 == 0:
            log.comes_back()
    log.comes_back()
    assert [one[:2] for one in log.window.admission.admitted.producers.state()] == [
        ("p0", 749),
        ("p1", 750),
    ]
    assert most < MOST_TIMES * log.window.rows * 40 + (LEAST_SEGMENTS + 2) * SEGMENT_BYTES
