"""A log of three records, truncated at every byte, and with every bit flipped."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.model.change import AddRequest, Change, RowBatch
from omendb_core.model.logged import Checkpoint
from omendb_core.replay import replay, resume
from omendb_core.window import Window

from omendb_ws.journal.interface import Damaged
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.notes import NAME
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.records import ALIGNMENT, HEADER_BYTES
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.tracker import Tracker
from tests.core.windows import LIMITS, assert_same, definition
from tests.journal.disk import Disk
from tests.journal.logs import manifest

SEGMENT_BYTES = 2048


def three_changes() -> list[Change]:
    window = Window(definition("u64"), LIMITS)
    changes: list[Change] = []
    for key in range(3):
        rows = RowBatch(np.full((1, 3), key + 1.5, np.float32), np.array([key], np.uint64))
        change = window.admit_add(AddRequest(rows, "p", key + 1), key)
        window.apply(change)  # type: ignore[arg-type]
        changes.append(change)  # type: ignore[arg-type]
    return changes


def appender_on(disk: Disk) -> Appender:
    of = manifest(definition("u64"))
    tracker = Tracker(of.definition, LIMITS, Checkpoint())
    return Appender(disk, disk.root, Plan(of, "boot", SEGMENT_BYTES), tracker, lambda: 0.0)


def after(changes: list[Change]) -> Window:
    window = Window(definition("u64"), LIMITS)
    for change in changes:
        replay(window, change)
    return window


def assert_alike(found: Window, expected: Window) -> None:
    """``assert_same``, without what takes its time: for thousands of windows of three rows."""
    assert found.version == expected.version
    assert found.state.ring.live_words.tobytes() == expected.state.ring.live_words.tobytes()
    assert found.state.ring.vectors.tobytes() == expected.state.ring.vectors.tobytes()
    assert (
        found.admission.admitted.producers.state() == expected.admission.admitted.producers.state()
    )


def read(disk: Disk) -> Window:
    reader = Reader(disk, disk.root, LIMITS)
    window = Window(reader.manifest.definition, LIMITS)
    resume(window, reader.tracker.checkpoint())
    for logged in reader.changes():
        replay(window, logged)
    return window


class Written:
    """A log of three records, each flushed or not before the next is written."""

    def __init__(self, *, flushed: bool, marked: bool = False) -> None:
        self.disk = Disk()
        self.changes = three_changes()
        appender = appender_on(self.disk)
        self.starts = []
        for change in self.changes:
            self.starts.append(appender._written.end)
            appender.write([(body_of(change), change)])
            if flushed:
                appender.flush()
        self.end = appender._written.end
        if marked:
            appender.flush()
            appender.mark()
        appender.abandon()
        (path,) = self.disk.segments()
        self.file = self.disk.file(path)
        self.data = bytes(self.file.data)

    def whole(self) -> int:
        """How many records stand in the file as they were written."""
        ends = [*self.starts[1:], self.end]
        return sum(self.file.data[:end] == self.data[:end] for end in ends)


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("with_zeros", [False, True])
def test_a_log_cut_at_any_byte_gives_the_exact_prefix_or_is_refused(
    flushed: bool, with_zeros: bool
) -> None:
    log = Written(flushed=flushed)
    expected = [after(log.changes[:count]) for count in range(4)]
    for size in range(len(log.data)):
        log.file.data = bytearray(log.data[:size])
        if with_zeros:
            log.file.data += bytes(len(log.data) - size)
        # What was flushed is missed, by the log's note; and a file that ends within a record.
        is_within = size not in (log.starts[0], *log.starts[1:], log.end) and size < log.end
        try:
            window = read(log.disk)
        except Damaged:
            assert size < (log.end if flushed else log.starts[0]) or (is_within and not with_zeros)
            continue
        assert_alike(window, expected[log.whole()])
        assert size > (log.end if flushed else log.starts[0]) - HEADER_BYTES - ALIGNMENT


@pytest.mark.parametrize("marked", [False, True])
def test_a_flipped_bit_gives_the_exact_prefix_or_is_refused(marked: bool) -> None:
    log = Written(flushed=True, marked=marked)
    expected = [after(log.changes[:count]) for count in range(4)]
    if marked:  # what a mark says, without the note
        log.disk.remove(f"{log.disk.root}/{NAME}")
    for bit in range((log.end + HEADER_BYTES) * 8):
        log.file.data = bytearray(log.data)
        log.file.data[bit // 8] ^= 1 << bit % 8
        if bit // 8 < log.end:
            with pytest.raises(Damaged) as caught:
                read(log.disk)
            assert caught.value.offset <= bit // 8
            assert caught.value.file in log.disk.segments()
        else:
            assert_alike(read(log.disk), expected[log.whole()])


def test_a_flipped_bit_in_an_older_segment_is_refused() -> None:
    disk = Disk()
    appender = appender_on(disk)
    changes = three_changes()
    for change in changes:
        appender.write([(body_of(change), change)])
        appender.turn()
    appender.abandon()
    assert_same(read(disk), after(changes))
    paths = disk.segments()
    assert len(paths) == 4
    for path in paths[:3]:
        inode = disk.file(path)
        whole = bytes(inode.data)
        for byte in range(len(whole)):
            inode.data = bytearray(whole)
            inode.data[byte] ^= 1 << byte % 8
            with pytest.raises(Damaged) as caught:
                read(disk)
            assert caught.value.file == path
            assert caught.value.offset <= byte
        for size in range(0, len(whole), 7):
            inode.data = bytearray(whole[:size])
            with pytest.raises(Damaged):
                read(disk)
        inode.data = bytearray(whole)
    assert_same(read(disk), after(changes))


def test_a_segment_that_was_taken_away_is_missed() -> None:
    disk = Disk()
    appender = appender_on(disk)
    for change in three_changes():
        appender.write([(body_of(change), change)])
        appender.turn()
    appender.abandon()
    disk.remove(disk.segments()[0])
    with pytest.raises(Damaged, match="rows from seq 1"):
        read(disk)


def test_a_file_that_cannot_be_read_is_damage() -> None:
    log = Written(flushed=True)

    def fail(operation: str, path: str) -> None:
        if operation == "read":
            raise OSError(5, "Input/output error")

    log.disk.fault = fail
    with pytest.raises(Damaged, match="Input/output error"):
        read(log.disk)
