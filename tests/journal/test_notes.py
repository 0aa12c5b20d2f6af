"""What a log's note is for: an end that was taken away is missed. And what becomes of the note."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omendb_core.window import Window

from omendb_ws.journal.interface import Damaged, Manifest
from omendb_ws.journal.local import store as store_module
from omendb_ws.journal.local.backups import back_up
from omendb_ws.journal.local.files import LocalFiles
from omendb_ws.journal.local.notes import NAME, SLOT_BYTES, Note, NoteFile, read_note
from omendb_ws.journal.local.repairing import plan_repair
from omendb_ws.journal.local.store import LocalStore
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.journal.disk import Disk
from tests.journal.logs import Pair, Settled, manifest, only, recovered

FILES = LocalFiles()


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "segment_bytes_for", lambda _: 4000)


class Kept:
    """A data directory with one collection of several segments, and the window that it was."""

    def __init__(self, data: Path, seed: int = 1, *, killed: bool = False, name: str = "items"):
        self.data = data
        store = LocalStore(str(data), boot="one")
        self.window = Window(definition("u64", capacity=200), LIMITS)
        settled = Settled()
        of = replace(manifest(self.window.definition, "always"), name=name)
        log = store.create(of, LIMITS, settled)
        pair, source = Pair(self.window, log, settled), History(self.window, seed)
        for _ in range(80):
            pair.take(source.change())
        self.directory = data / only(store).key
        if killed:
            copy = data.with_name(data.name + "-killed")
            shutil.copytree(data, copy)
            self.data, self.directory = copy, copy / self.directory.name
        log.close()
        store.close()

    @property
    def segments(self) -> list[Path]:
        return sorted(self.directory.glob("*.log"))

    @property
    def newest(self) -> Path:
        return self.segments[-1]

    def comes_back(self) -> Manifest:
        """As it was, to the bit; the epoch may be another. Damaged."""
        store = LocalStore(str(self.data), boot="one")
        try:
            window, log = recovered(store, only(store), Settled())
            assert_same(window, self.window)
            log.close()
            return log.manifest
        finally:
            store.close()


KILLED = pytest.mark.parametrize("killed", [False, True])


@KILLED
@pytest.mark.parametrize("with_zeros", [False, True])
def test_an_end_that_was_flushed_is_missed_wherever_the_file_is_cut(
    tmp_path: Path, killed: bool, with_zeros: bool
) -> None:
    kept = Kept(tmp_path / "data", killed=killed)
    note = read_note(FILES, str(kept.directory))
    assert note is not None
    (newest,) = kept.directory.glob(f"{note.number:010}-*.log")  # behind it there may be a spare
    whole = newest.read_bytes()
    for size in (0, 1, 64, 200, note.end // 2, note.end - 64, note.end - 9, note.end - 8):
        data = whole[:size] + bytes(len(whole) - size if with_zeros else 0)
        if data == whole:  # zeros for zeros
            continue
        newest.write_bytes(data)
        with pytest.raises(Damaged):
            kept.comes_back()
    newest.write_bytes(whole[: note.end])  # nothing but zeros is gone
    assert kept.comes_back().epoch == "e1"


@KILLED
def test_a_newest_segment_that_was_taken_away_is_missed(tmp_path: Path, killed: bool) -> None:
    kept = Kept(tmp_path / "data", killed=killed)
    note = read_note(FILES, str(kept.directory))
    assert note is not None
    assert note.is_closed is not killed
    while int(kept.newest.name[:10]) >= note.number:
        kept.newest.unlink()
    assert len(kept.segments) > 1
    with pytest.raises(Damaged, match=f"the log went on in segment {note.number}"):
        kept.comes_back()


@KILLED
@pytest.mark.parametrize("what", ["gone", "empty", "zeros", "bits", "fifo", "foreign"])
def test_without_its_note_a_log_goes_on_under_another_epoch(
    tmp_path: Path, killed: bool, what: str
) -> None:
    kept = Kept(tmp_path / "data", killed=killed)
    path = kept.directory / NAME
    data = bytearray(path.read_bytes())
    if what == "gone":
        path.unlink()
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "zeros":
        path.write_bytes(bytes(len(data)))
    elif what == "bits":
        data[20] ^= 1
        data[SLOT_BYTES + 20] ^= 1
        path.write_bytes(data)
    elif what == "fifo":
        path.unlink()
        os.mkfifo(path)
    else:
        note = read_note(FILES, str(kept.directory))
        assert note is not None
        path.unlink()
        NoteFile(FILES, str(kept.directory), replace(note, seed=7)).close()
    again = kept.comes_back().epoch
    assert again != "e1"
    assert kept.comes_back().epoch == again  # it has a note again


def test_one_slot_is_enough_and_the_newer_one_counts(tmp_path: Path) -> None:
    first, second = Note(1, 2, 3), Note(1, 2, 99, True, -5, 6)
    note = NoteFile(FILES, str(tmp_path), first)
    assert read_note(FILES, str(tmp_path)) == first
    note.write(second)
    assert read_note(FILES, str(tmp_path)) == second
    note.close()
    path = tmp_path / NAME
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 255
        path.write_bytes(data)
        assert read_note(FILES, str(tmp_path)) in (first, second)
    again = NoteFile(FILES, str(tmp_path), first)
    again.write(replace(second, end=100))
    again.close()
    assert read_note(FILES, str(tmp_path)) == replace(second, end=100)


def test_a_damaged_end_can_be_given_up_in_a_repair(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "data")
    kept.newest.unlink()
    store = LocalStore(str(kept.data))
    plan = plan_repair(FILES, str(kept.directory), LIMITS)
    assert plan is not None
    repaired = store.repair(plan)
    assert plan_repair(FILES, str(kept.directory), LIMITS) is None
    window, log = recovered(store, only(store), Settled())
    assert log.manifest.epoch == repaired.epoch != "e1"
    assert window.version == plan.version < kept.window.version
    log.close()
    store.close()


@pytest.mark.parametrize("how", ["cut", "zeros", "gone"])
def test_a_backup_that_was_cut_short_is_not_restored(tmp_path: Path, how: str) -> None:
    kept = Kept(tmp_path / "data")
    backup = tmp_path / "backup"
    back_up(FILES, str(kept.directory), str(backup), LIMITS)
    newest = sorted(backup.glob("*.log"))[-1]
    whole = newest.read_bytes()
    if how == "gone":
        newest.unlink()
    else:
        half = len(whole) // 16 * 8
        newest.write_bytes(whole[:half] + (bytes(len(whole) - half) if how == "zeros" else b""))
    store = LocalStore(str(tmp_path / "other"))
    with pytest.raises(Damaged):
        store.restore(str(backup), LIMITS)
    assert store.stored() == []
    newest.write_bytes(whole)
    store.restore(str(backup), LIMITS)
    window, log = recovered(store, only(store), Settled())
    assert_same(window, kept.window)
    log.close()
    store.close()


def test_a_segment_of_another_log_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    """Logs of the same shape: their segments have the same numbers, ends and versions."""
    one, other = Kept(tmp_path / "one", 1), Kept(tmp_path / "other", 1)
    assert [path.name[:10] for path in one.segments] == [path.name[:10] for path in other.segments]
    whole = tmp_path / "whole"
    shutil.copytree(one.data, whole)
    for mine, its in zip(one.segments, other.segments, strict=True):
        mine.unlink()
        shutil.copy(its, one.directory)
        with pytest.raises(Damaged):
            one.comes_back()
        shutil.rmtree(one.data)
        shutil.copytree(whole, one.data)
    assert one.comes_back().epoch == "e1"


def test_a_note_that_cannot_be_written_takes_nothing_from_the_log(tmp_path: Path) -> None:
    disk = Disk(str(tmp_path))
    store = LocalStore(str(tmp_path), disk)
    window, settled = Window(definition("u64", capacity=200), LIMITS), Settled()
    log = store.create(manifest(window.definition, "always"), LIMITS, settled)
    pair, source = Pair(window, log, settled), History(window, 3)

    def fail(operation: str, path: str) -> None:
        if path.endswith(NAME):
            raise OSError(5, "injected")

    disk.fault = fail
    for _ in range(20):
        pair.take(source.change())
    log.close()
    store.close()
    disk.fault = lambda operation, path: None
    store = LocalStore(str(tmp_path), disk)
    again, log = recovered(store, only(store), Settled())
    assert_same(again, window)
    assert log.manifest.epoch == "e1"
    log.close()
    store.close()


@KILLED
@pytest.mark.parametrize("how", ["bits", "zeros", "the older one"])
@pytest.mark.parametrize("which", ["newer", "older"])
def test_a_note_of_which_one_slot_is_not_what_was_written_proves_nothing(
    tmp_path: Path, killed: bool, how: str, which: str
) -> None:
    kept = Kept(tmp_path / "data", killed=killed)
    path = kept.directory / NAME
    data = bytearray(path.read_bytes())
    turns = [int.from_bytes(data[at + 8 : at + 16], "little") for at in (0, SLOT_BYTES)]
    assert abs(turns[0] - turns[1]) == 1
    first = SLOT_BYTES * (turns[1] > turns[0] if which == "newer" else turns[1] < turns[0])
    if how == "bits":
        data[first + 20] ^= 1
    elif how == "zeros":
        data[first : first + SLOT_BYTES] = bytes(SLOT_BYTES)
    else:
        data[first : first + SLOT_BYTES] = data[SLOT_BYTES - first :][:SLOT_BYTES]
    path.write_bytes(data)
    again = kept.comes_back().epoch
    assert again != "e1"
    assert kept.comes_back().epoch == again


@pytest.mark.parametrize("what", ["gone", "half"])
def test_an_opening_that_ends_anywhere_keeps_no_epoch_that_is_in_doubt(
    tmp_path: Path, what: str
) -> None:
    kept = Kept(tmp_path / "data", killed=True)
    whole = tmp_path / "whole"
    path = kept.directory / NAME
    if what == "gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(bytes(SLOT_BYTES) + data[SLOT_BYTES:])
    shutil.copytree(kept.data, whole)

    class Ends(LocalFiles):
        left = 0

        def _count(self) -> None:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1

        def create(self, path: str) -> int:
            self._count()
            return super().create(path)

        def write(self, fd: int, buffers: Any, offset: int) -> int:
            self._count()
            return super().write(fd, buffers, offset)

        def sync(self, fd: int) -> None:
            self._count()
            super().sync(fd)

    for left in range(100):
        files = Ends()
        files.left = left
        store = LocalStore(str(kept.data), files, boot="one")
        try:
            _, log = recovered(store, only(store), Settled())
            log.close()
            break
        except KeyboardInterrupt:
            store.close()
            assert kept.comes_back().epoch != "e1"
            shutil.rmtree(kept.data)
            shutil.copytree(whole, kept.data)
    else:
        raise AssertionError("it never came to its end")
    assert left > 5
    store.close()
