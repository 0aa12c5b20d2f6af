"""The disk fails at every place where the journal touches it: acknowledgements hold all the same.

A full disk refuses, changes nothing, and is tried again. Any other error ends the log for this run.
Signals and writes that take less than they were given are nobody's business.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from omendb_core.model.change import Change
from omendb_core.model.errors import StorageFailed, StorageFull
from omendb_core.model.logged import Checkpoint
from omendb_core.replay import kept_rows
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability, Log
from omendb_ws.journal.local import store as store_module
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.spare import SPARE_SECONDS
from omendb_ws.journal.local.store import LocalStore
from omendb_ws.journal.local.tracker import Tracker
from omendb_ws.journal.local.writer import Writer
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.journal.disk import Disk
from tests.journal.logs import Settled, live_bytes, manifest, only, recovered

OPERATIONS = ["create", "write", "sync", "allocate", "truncate", "sync_directory", "remove"]
CHANGES = 14


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "segment_bytes_for", lambda _: 1500)


class Nth:
    """Fails the ``nth`` operation of a kind, or takes three bytes of a write. Once."""

    def __init__(self, operation: str, nth: int, number: int | None) -> None:
        self.operation = operation
        self.left = nth
        self.number = number
        self.has_struck = False

    def __call__(self, operation: str, path: str) -> int | None:
        if operation != self.operation or self.has_struck:
            return None
        self.left -= 1
        if self.left:
            return None
        self.has_struck = True
        if self.number is None:
            return 3
        if self.number == errno.EINTR:
            raise InterruptedError(self.number, "interrupted")
        raise OSError(self.number, "injected")


class Run:
    """A window and its log on a disk that is about to fail."""

    def __init__(self, tmp_path: Path, durability: Durability, seed: int) -> None:
        self.disk = Disk(str(tmp_path))
        self.store = LocalStore(str(tmp_path), self.disk)
        self.window = Window(definition(capacity=5), LIMITS)
        self.settled = Settled()
        self.log: Log = self.store.create(
            manifest(self.window.definition, durability), LIMITS, self.settled
        )
        self.source = History(self.window, seed)
        self.safe: list[Change] = []
        self.refusals = 0

    def go_on(self, changes: int) -> StorageFailed | None:
        """Acknowledge so many changes, trying again where the disk is full; the failure, if any."""
        while changes:
            change = self.source.change()
            self.log.append(change, change)
            self.settled.wait_for(len(self.safe) + self.refusals + 1)
            if self.settled.refused:
                (refused, error) = self.settled.refused.pop()
                assert refused is change
                if isinstance(error, StorageFailed):
                    return error
                assert isinstance(error, StorageFull)
                assert self.log.error is not None
                self.window.admission.resume(self.log.rewind())
                assert self.log.error is None
                continue
            assert self.settled.tags[-1] is change
            self.window.apply(change)
            self.safe.append(change)
            wanted = self.log.compaction.wanted_rows(live_bytes(self.window))
            if wanted is not None:
                self.log.compaction.keep(kept_rows(self.window, *wanted))
            changes -= 1
        return None

    def refuses_for_good(self) -> None:
        change = self.source.add()
        self.settled.refused.clear()
        self.log.append(change, change)
        self.settled.wait_for(len(self.safe) + 1)
        ((refused, error),) = self.settled.refused
        assert refused is change
        assert isinstance(error, StorageFailed)

    def comes_back(self, *, exactly: bool) -> None:
        """What is on the disk now is what was acknowledged, or a little more."""
        self.store.close()
        self.store = LocalStore(self.store.data_dir, self.disk)
        window, log = recovered(self.store, only(self.store), Settled())
        assert window.version >= len(self.safe)
        if exactly:
            assert_same(window, self.window)
        log.close()
        self.store.close()


def test_a_group_that_the_disk_has_no_room_for_leaves_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "segment_bytes_for", lambda _: 100_000)
    run = Run(tmp_path, "everysec", 1)
    (path,) = run.disk.segments()
    run.go_on(3)
    before = bytes(run.disk.file(path).data).rstrip(b"\0")
    run.disk.fault = Nth("write", 1, errno.ENOSPC)
    writer = cast("Writer", run.log)
    group = [run.source.add() for _ in range(2)]
    with pytest.raises(StorageFull):
        writer._appender.write([(body_of(one), one) for one in group if one is not None])
    assert bytes(run.disk.file(path).data).rstrip(b"\0") == before
    assert bytes(run.disk.file(path).durable).rstrip(b"\0") == before
    run.window.admission.resume(run.log.rewind())
    run.go_on(3)
    run.log.close()
    run.comes_back(exactly=True)


#: What a system is short of for now: refused as by a full disk.
PASSING = [
    ("create", errno.EMFILE),
    ("create", errno.ENFILE),
    ("allocate", errno.ENOMEM),
    ("sync_directory", errno.EMFILE),
    ("write", errno.ENOMEM),
    ("write", errno.EAGAIN),
]
CASES = [
    *PASSING,
    *((operation, errno.EIO) for operation in OPERATIONS),
    *((operation, errno.ENOSPC) for operation in OPERATIONS),
    ("write", errno.EINTR),
    ("sync", errno.EINTR),
    ("write", None),  # it takes three bytes
]


@pytest.mark.parametrize("durability", ["everysec", "always"])
@pytest.mark.parametrize(("operation", "number"), CASES)
def test_an_error_at_any_place_takes_no_acknowledgement_back(
    tmp_path: Path, operation: str, number: int | None, durability: Durability
) -> None:
    struck = 0
    for nth in range(1, 60):
        directory = tmp_path / str(nth)
        directory.mkdir()
        run = Run(directory, durability, nth)
        run.disk.fault = fault = Nth(operation, nth, number)
        failed = run.go_on(CHANGES)
        struck += fault.has_struck
        assert failed is None or (number == errno.EIO and fault.has_struck) or operation != "write"
        if number in (None, errno.EINTR) or (operation, number) in PASSING:
            assert failed is None
        if failed is not None:
            assert isinstance(run.log.error, StorageFailed)
            run.refuses_for_good()
        run.log.close()
        run.disk.fault = lambda operation, path: None
        if durability == "always" and failed is not None:
            run.disk.lose_power(np.random.default_rng(nth))
        run.comes_back(exactly=failed is None)
        if not fault.has_struck:
            break
    assert struck


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EIO])
def test_a_spare_segment_that_could_not_be_made_is_tried_again(number: int) -> None:
    disk = Disk()
    of = manifest(definition("auto", capacity=50))
    tracker = Tracker(of.definition, LIMITS, Checkpoint())
    now = [0.0]
    appender = Appender(disk, disk.root, Plan(of, "boot", 2000), tracker, lambda: now[0])
    source = History(Window(of.definition, LIMITS), 1)
    while appender.unflushed_bytes < 1200:
        change = source.change()
        source.window.apply(change)
        appender.write([(body_of(change), change)])
    attempts = []

    def fail(operation: str, path: str) -> None:
        if operation == "create":
            attempts.append(path)
            raise OSError(number, "injected")

    disk.fault = fail
    appender.prepare()
    appender.prepare()
    assert len(attempts) == 1
    assert appender.failed is None
    disk.fault = lambda operation, path: None
    now[0] += SPARE_SECONDS
    appender.prepare()
    assert len(disk.segments()) == 2
    appender.turn()
    appender.close()
