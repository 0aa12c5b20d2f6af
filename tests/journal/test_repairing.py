"""A damaged log is repaired by giving up a part of it, which is named before and kept beside it."""

from __future__ import annotations

import pytest
from omendb_core.model.errors import Unavailable
from omendb_core.model.types import Include
from omendb_core.window import Window

from omendb_ws.journal.interface import Damaged
from omendb_ws.journal.local.inspecting import inspect
from omendb_ws.journal.local.repairing import Repair, apply_repair, plan_repair
from tests.core.windows import LIMITS, assert_same
from tests.journal.disk import Disk
from tests.journal.long_logs import SEGMENT_BYTES, LongLog, read


def damage(disk: Disk, path: str, offset: int) -> None:
    disk.file(path).data[offset] ^= 1


def planned(disk: Disk) -> Repair:
    repair = plan_repair(disk, disk.root, LIMITS)
    assert repair is not None
    return repair


def repaired(disk: Disk, repair: Repair) -> Window:
    manifest = apply_repair(disk, repair, "boot", SEGMENT_BYTES, lambda: 0.0)
    window, reader = read(disk, disk.root)
    assert reader.manifest == manifest
    assert manifest.epoch != "e1"
    assert reader.is_clean
    assert plan_repair(disk, disk.root, LIMITS) is None
    return window


def assert_rows_from(found: Window, expected: Window, first_seq: int) -> None:
    """The rows from ``first_seq`` on are those of ``expected``, and there are no others."""
    assert (found.version, found.last_seq) == (expected.version, expected.last_seq)
    slots = expected.state.ring.live_slots(first_seq, expected.last_seq)
    assert found.state.ring.live_slots(1, found.last_seq).tolist() == slots.tolist()
    include = Include(metadata=True, vector=True)
    ours, theirs = found.state.hits(slots, include), expected.state.hits(slots, include)
    assert list(ours.ids) == list(theirs.ids)
    assert ours.metadata == theirs.metadata
    assert ours.vectors is not None
    assert theirs.vectors is not None
    assert ours.vectors.tobytes() == theirs.vectors.tobytes()
    found.check()


def test_a_sound_log_needs_no_repair() -> None:
    log = LongLog()
    assert plan_repair(log.disk, log.disk.root, LIMITS) is None
    log.appender.close()
    assert plan_repair(log.disk, log.disk.root, LIMITS) is None


def test_damage_in_the_newest_segment_gives_up_what_is_behind_it() -> None:
    log = LongLog(60, segment_bytes=6000)
    report = inspect(log.disk, log.disk.root, LIMITS).segments[-1]
    assert report.held.changes > 3
    damage(log.disk, report.segment.path, report.end * 2 // 3)
    with pytest.raises(Damaged):
        read(log.disk, log.disk.root)
    repair = planned(log.disk)
    assert 0 < 60 - repair.version < 60
    assert repair.set_aside == ()
    assert repair.lost_bytes > 0
    # Of what is given up one record cannot be read, and is not counted.
    assert repair.lost.changes == 60 - repair.version - 1
    assert_same(repaired(log.disk, repair), log.at(repair.version))


def test_damage_far_back_gives_up_the_oldest_rows() -> None:
    log = LongLog(120)
    paths = log.disk.segments()
    assert len(paths) >= 4
    damage(log.disk, paths[0], 1000)
    repair = planned(log.disk)
    assert [one.path for one in repair.set_aside] == paths[:1]
    assert repair.version == 120
    ((first, last),) = repair.lost_seqs
    assert first == log.window.first_seq
    assert repair.first_kept_seq == last + 1
    window = repaired(log.disk, repair)
    assert_rows_from(window, log.window, repair.first_kept_seq)
    assert log.disk.segments()[0] == paths[0] + ".damaged"


def test_a_plan_changes_nothing() -> None:
    log = LongLog(120)
    damage(log.disk, log.disk.segments()[0], 1000)
    before = {path: bytes(log.disk.file(path).data) for path in log.disk.segments()}
    planned(log.disk)
    assert {path: bytes(log.disk.file(path).data) for path in log.disk.segments()} == before


def test_damage_anywhere_is_repaired_and_the_rest_is_what_it_was() -> None:
    log = LongLog(90)
    log.appender.close()
    whole = {path: bytes(log.disk.file(path).data) for path in log.disk.segments()}
    for path, data in whole.items():
        for offset in range(0, len(data), 151):
            disk = Disk()
            for name, content in whole.items():
                disk.close(disk.create(name))
                disk.file(name).data = bytearray(content)
            damage(disk, path, offset)
            repair = plan_repair(disk, disk.root, LIMITS)
            if repair is None:  # a bit behind the end, or in the last mark
                assert_same(read(disk, disk.root)[0], log.window)
                continue
            assert set(whole) == set(disk.segments())
            window = repaired(disk, repair)
            assert_rows_from(window, log.at(window.version), repair.first_kept_seq)
            kept = {name: bytes(disk.file(name).data) for name in disk.segments()}
            for name, content in whole.items():
                aside = name + ".damaged" if name + ".damaged" in kept else name
                assert len(kept[aside]) == len(content)


def test_a_segment_that_is_gone_costs_its_rows_and_no_others() -> None:
    log = LongLog(120)
    log.disk.remove(log.disk.segments()[0])
    repair = planned(log.disk)
    assert repair.version == 120
    window = repaired(log.disk, repair)
    assert_rows_from(window, log.window, repair.first_kept_seq)


def test_a_log_of_which_nothing_can_be_read_is_left_alone() -> None:
    log = LongLog(10)
    for path in log.disk.segments():
        damage(log.disk, path, 70)
    with pytest.raises(Unavailable, match="nothing of this log can be kept"):
        plan_repair(log.disk, log.disk.root, LIMITS)


def test_rows_written_again_are_kept_by_a_repair() -> None:
    log = LongLog(100)
    log.compact()
    log.appender.turn()
    log.appender.close()
    paths = log.disk.segments()
    damage(log.disk, paths[0], len(log.disk.file(paths[0]).data) - 40)
    repair = planned(log.disk)
    assert_rows_from(repaired(log.disk, repair), log.at(repair.version), repair.first_kept_seq)


def test_inspecting_counts_what_is_there() -> None:
    log = LongLog(60)
    log.appender.close()
    report = inspect(log.disk, log.disk.root, LIMITS)
    assert report.damage is None
    assert report.torn is None
    assert report.is_clean
    assert (report.version, report.first_seq, report.last_seq) == (
        60,
        log.window.first_seq,
        log.window.last_seq,
    )
    assert report.manifest is not None
    assert report.manifest.name == "items"
    first, *_, last = report.segments
    assert first.has_opening
    assert last.held.records["close"] == 1
    assert last.held.versions[1] == 60
    assert last.flushed_to > 0
    assert not last.bytes_behind
    damage(log.disk, log.disk.segments()[0], 1000)
    report = inspect(log.disk, log.disk.root, LIMITS)
    assert report.damage is not None
    assert report.segments[0].end <= 1000
    assert report.segments[0].behind.changes
