"""A log whose files were changed: nothing that was flushed goes without being said.

The log is refused, and nothing of it is touched; or what comes back is a window that there was, to
the bit. If that lacks anything that was flushed, the epoch is another, and why is said, which is
true. It is the same when it is read again, and when opening it ended at any operation of the disk.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from omendb_core.model.errors import StorageFailed, StorageFull, Unavailable

from omendb_ws.journal.interface import Damaged
from omendb_ws.journal.local.inspecting import inspect
from omendb_ws.journal.local.recovery import Reader
from omendb_ws.journal.local.reopening import doubt_of, manifest_after, reopen, settle_end
from omendb_ws.journal.local.repairing import plan_repair
from tests.core.windows import LIMITS
from tests.fuzz.log_changes import carry_out, mutated_program, program_of
from tests.fuzz.logs import BOOT, EPOCH, KnownLog, known_logs, replayed
from tests.fuzz.target import Bounds, Target
from tests.journal.disk import Crash, Disk


def fuzz(data: bytes) -> None:
    program = program_of(data)
    logs = known_logs()
    log = logs[program.log % len(logs)]
    boot = BOOT if program.same_boot else "another"
    disk = log.disk.copy()
    carry_out(log, disk, program.steps)
    left = files_of(disk)
    first = come_back(log, disk, boot)
    if first is None:
        assert files_of(disk) == left
        return
    if first.count < log.flushed:
        gone = log.flushed - first.count
        assert first.doubt, f"{gone} flushed changes are gone, and nothing says so"
    if first.doubt is not None and "NOTE" in first.doubt:
        note = f"{disk.root}/NOTE"
        assert left != files_of(log.disk), "nothing was changed"
        assert left.get(note) != files_of(log.disk)[note] or set(left) != set(log.starts) | {note}
    elif first.doubt is not None:
        assert not program.same_boot
    if not opened(log, disk, boot, program.crash_after):
        again = come_back(log, disk, boot)
        assert again is not None, "an opening that ended has damaged the log"
        assert again.count == first.count
        if first.doubt:
            assert again.epoch != EPOCH, "the epoch is the old one again"
        assert opened(log, disk, boot, 0)
    last = come_back(log, disk, boot)
    assert last is not None, "the log that was opened is damaged"
    assert last.count == first.count
    assert last.doubt is None
    assert (last.epoch != EPOCH) >= bool(first.doubt)


def files_of(disk: Disk) -> dict[str, bytes]:
    return {path: bytes(disk.file(path).data) for path in disk.paths()}


class Back(NamedTuple):
    """What came back: how many changes, in which epoch, and why that is another one."""

    count: int
    epoch: str
    doubt: str | None


def come_back(log: KnownLog, disk: Disk, boot: str) -> Back | None:
    """Read it as a start does, and change nothing; None if it is refused."""
    inspect(disk, disk.root, LIMITS)
    try:
        reader = Reader(disk, disk.root, LIMITS)
        window = replayed(reader)
    except Damaged as damage:
        refused = damage
    else:
        doubt, epoch = doubt_of(reader, boot), manifest_after(reader, boot).epoch
        assert (doubt is None) == (epoch == reader.manifest.epoch)
        return Back(log.count_of(window), epoch, doubt)
    assert refused.file.startswith(disk.root)
    assert refused.offset >= 0
    with suppress(Unavailable):
        assert plan_repair(disk, disk.root, LIMITS) is not None
    return None


def opened(log: KnownLog, disk: Disk, boot: str, crash_after: int) -> bool:
    """Open it for writing, and stop; False if that ended after so many operations of the disk."""
    last = disk.operations + crash_after

    def fault(operation: str, path: str) -> None:
        if crash_after and disk.operations >= last:
            raise Crash

    disk.fault = fault
    try:
        reader = Reader(disk, disk.root, LIMITS)
        replayed(reader)
        settle_end(disk, reader)
        of = manifest_after(reader, boot)
        appender = reopen(
            disk, disk.root, reader, of, boot, log.segment_bytes, lambda: 0.0, 5_000_000
        )
        appender.close()
    except Crash:
        return False
    except (StorageFailed, StorageFull) as error:
        raise AssertionError(f"a healthy disk: {error}") from error
    finally:
        disk.fault = lambda operation, path: None
        disk.kill()
    return True


TARGET = Target(
    "journal_files",
    fuzz,
    mutated_program,
    made=lambda: {f"log-{number}": bytes([number, 0, 0, 0]) for number in range(len(known_logs()))},
    most_bytes=76,
    runs=250,
    bounds=Bounds(calls=200_000, peak_bytes=8 << 20),
)
