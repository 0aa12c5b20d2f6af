"""The threads in front of a log: order, groups, room, what must be safe before it is settled."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError, StorageFailed
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability, Log
from omendb_ws.journal.local import store as store_module
from omendb_ws.journal.local import writer as writer_module
from omendb_ws.journal.local.inspecting import inspect
from omendb_ws.journal.local.records import Type
from omendb_ws.journal.local.store import LocalStore
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.journal.disk import Disk
from tests.journal.logs import Settled, manifest, only, recovered
from tests.journal.long_logs import read

#: How long to watch that something does not happen.
WATCH_SECONDS = 0.1


class Bed:
    """A log on a simulated disk whose operations can be held, and a clock that stands still."""

    def __init__(
        self, tmp_path: Path, durability: Durability, settled: Settled, **options: Any
    ) -> None:
        self.disk = Disk(str(tmp_path))
        self.now = 100.0
        self.store = LocalStore(str(tmp_path), self.disk, seconds=lambda: self.now, **options)
        self.window = Window(definition(capacity=50), LIMITS)
        self.settled = settled
        of = manifest(self.window.definition, durability)
        self.log: Log = self.store.create(of, LIMITS, settled)
        self.directory = self.store.path(only(self.store).key)
        self.source = History(self.window, 3)
        self.free = threading.Event()
        self.held = threading.Event()
        self.changes: list[Change] = []

    def append(self) -> Change:
        """An add, admitted ahead of what is applied."""
        change = self.source.add()
        assert change is not None
        self.log.append(change, change)
        self.changes.append(change)
        return change

    def hold(self, operation: str) -> None:
        """From now on these operations wait for ``free``; ``held`` says that one does."""

        def fault(name: str, path: str) -> None:
            if name == operation:
                self.held.set()
                assert self.free.wait(10)

        self.disk.fault = fault

    def end(self) -> None:
        self.log.close()
        self.store.close()


def stays_at(settled: Settled, count: int) -> bool:
    """Whether no more than ``count`` are settled, for as long as it is watched."""
    with settled.changed:
        return not settled.changed.wait_for(lambda: len(settled.tags) > count, WATCH_SECONDS)


def test_changes_are_settled_in_order_and_what_came_meanwhile_as_one_group(tmp_path: Path) -> None:
    groups: list[int] = []

    class Groups(Settled):
        def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
            groups.append(len(tags))
            super().__call__(tags, error)

    bed = Bed(tmp_path, "always", Groups())
    bed.hold("write")
    bed.append()
    assert bed.held.wait(10)
    for _ in range(20):
        bed.append()
    bed.free.set()
    bed.settled.wait_for(21)
    assert [id(one) for one in bed.settled.tags] == [id(one) for one in bed.changes]
    assert groups == [1, 20]
    bed.end()


def test_a_full_queue_says_so_and_takes_what_it_is_given_all_the_same(tmp_path: Path) -> None:
    bed = Bed(tmp_path, "always", Settled(), max_pending_bytes=2000)
    assert bed.log.has_room
    bed.hold("write")
    while bed.log.has_room:
        bed.append()
    assert 1 < len(bed.changes) < 30
    bed.append()
    bed.free.set()
    bed.settled.wait_for(len(bed.changes))
    assert bed.log.has_room
    assert bed.log.numbers().pending_bytes == 0
    bed.end()


@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_what_is_settled_is_as_safe_as_promised(tmp_path: Path, durability: Durability) -> None:
    versions: list[tuple[int, int]] = []
    bed: Bed

    class Crashing(Settled):
        """At each settled group, what would be there if the power, or the process, went now."""

        def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
            disk = bed.disk.copy()
            if durability == "always":
                disk.lose_power(np.random.default_rng(len(versions)))
            versions.append((tags[-1].version, read(disk, bed.directory)[0].version))
            super().__call__(tags, error)

    bed = Bed(tmp_path, durability, Crashing())
    for count in range(1, 30):
        bed.append()
        if count % 3:
            bed.settled.wait_for(count)
    bed.settled.wait_for(29)
    assert len(versions) > 10
    assert all(found >= settled for settled, found in versions)
    bed.end()


def test_a_flush_that_is_late_stops_acknowledgements_until_it_is_done(tmp_path: Path) -> None:
    bed = Bed(tmp_path, "everysec", Settled())
    bed.append()
    bed.settled.wait_for(1)
    bed.hold("sync")
    bed.now += writer_module.FLUSH_SECONDS
    bed.append()
    bed.settled.wait_for(2)
    assert bed.held.wait(10)  # the flush has begun, and takes its time
    bed.now += writer_module.OVERDUE_SECONDS - writer_module.FLUSH_SECONDS
    bed.append()
    bed.settled.wait_for(3)  # not late yet: just 2 s
    bed.now += 0.01
    bed.append()
    assert stays_at(bed.settled, 3)
    assert bed.log.numbers().unflushed_seconds > writer_module.OVERDUE_SECONDS
    bed.free.set()
    bed.settled.wait_for(4)
    assert bed.log.error is None
    bed.end()


@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_a_log_that_is_idle_says_how_far_it_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Durability
) -> None:
    bed = Bed(tmp_path, durability, Settled())
    bed.append()
    bed.settled.wait_for(1)
    wrote = threading.Event()

    def note(name: str, path: str) -> None:
        if name == "write" and path.endswith(".log"):
            wrote.set()

    bed.disk.fault = note
    monkeypatch.setattr(writer_module, "IDLE_SECONDS", 0.01)
    bed.now += writer_module.FLUSH_SECONDS
    poke(bed.log)
    assert wrote.wait(10)
    bed.end()
    (report,) = inspect(bed.disk, bed.directory, LIMITS).segments
    assert dict(report.held.records) == {"open": 1, "add": 1, "mark": 2, "close": 1}


def poke(log: Log) -> None:
    """Let the log's threads look at the clock again."""
    for name in ("_condition", "_to_flush"):
        condition = getattr(log, name)
        with condition:
            condition.notify_all()


def test_closing_settles_what_is_queued_and_marks_a_clean_stop(tmp_path: Path) -> None:
    bed = Bed(tmp_path, "everysec", Settled())
    bed.hold("write")
    for _ in range(10):
        bed.append()
    closing = threading.Thread(target=bed.log.close)
    closing.start()
    bed.free.set()
    closing.join()
    assert len(bed.settled.tags) == 10
    report = inspect(bed.disk, bed.directory, LIMITS)
    assert report.is_clean
    assert report.version == 10
    bed.store.close()


def test_after_a_failure_everything_behind_is_refused_in_order(tmp_path: Path) -> None:
    bed = Bed(tmp_path, "always", Settled())
    bed.append()
    bed.settled.wait_for(1)
    bed.hold("sync")
    bed.append()
    assert bed.held.wait(10)
    for _ in range(5):
        bed.append()

    def fail(name: str, path: str) -> None:
        if name != "synced":
            raise OSError(5, "Input/output error")

    bed.disk.fault = fail
    bed.free.set()
    bed.settled.wait_for(7)
    # The flush that was held did succeed; the one after it did not.
    assert [tag.version for tag in bed.settled.tags] == [1, 2]
    assert [tag.version for tag, _ in bed.settled.refused] == [3, 4, 5, 6, 7]
    assert all(isinstance(error, StorageFailed) for _, error in bed.settled.refused)
    bed.log.close()
    bed.store.close()


@pytest.mark.parametrize("durability", ["everysec", "always"])
def test_a_fault_of_our_own_is_a_failure_and_not_a_silence(
    tmp_path: Path, durability: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed = Bed(tmp_path, durability, Settled())
    bed.append()
    bed.settled.wait_for(1)

    def fault() -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(bed.log._appender, "flush", fault)  # type: ignore[attr-defined]
    bed.now += writer_module.OVERDUE_SECONDS + 1
    bed.append()
    bed.settled.wait_for(2)
    assert [tag.version for tag in bed.settled.tags] == [1]
    assert isinstance(bed.log.error, StorageFailed)
    bed.append()
    bed.settled.wait_for(3)
    assert [tag.version for tag, _ in bed.settled.refused] == [2, 3]
    monkeypatch.undo()
    bed.end()


def test_a_fault_while_settling_leaves_nobody_without_an_answer(tmp_path: Path) -> None:
    class Faulty(Settled):
        is_sound = False

        def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
            if not self.is_sound:
                self.is_sound = True
                raise MemoryError("on purpose")
            super().__call__(tags, error)

    bed = Bed(tmp_path, "always", Faulty())
    bed.append()
    bed.append()
    bed.settled.wait_for(2)
    assert not bed.settled.refused
    assert bed.log.error is None
    bed.end()


def test_a_segment_is_not_begun_before_the_one_before_it_is_flushed(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "segment_bytes_for", lambda _: 1000)
        bed = Bed(tmp_path, "everysec", Settled())
    for count in range(1, 40):
        bed.append()
        bed.settled.wait_for(count)
    paths = bed.disk.segments(bed.directory)
    assert len(paths) > 3
    for path in paths[:-2]:  # the newest may be one that is only prepared
        inode = bed.disk.file(path)
        assert inode.durable == inode.data
    report = inspect(bed.disk, bed.directory, LIMITS)
    assert report.damage is None
    assert all(one.held.records[Type.OPEN.name.lower()] == 1 for one in report.segments[:-2])
    bed.end()


def test_a_store_opened_again_goes_on_where_it_was(tmp_path: Path) -> None:
    bed = Bed(tmp_path, "always", Settled())
    for count in range(1, 10):
        change = bed.append()
        bed.settled.wait_for(count)
        bed.window.apply(change)
    bed.end()
    store = LocalStore(str(tmp_path), bed.disk)
    window, log = recovered(store, only(store), Settled())
    assert_same(window, bed.window)
    log.close()
    store.close()
