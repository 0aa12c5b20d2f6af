"""Lines into a file that may be full, gone, moved away or something else: nobody waits for it."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from omendb_ws.runtime import line_file
from omendb_ws.runtime.line_file import LineFile, check
from tests.patience import PATIENCE_SECONDS


def lost_line(count: int) -> bytes:
    return f"lost {count}\n".encode()


@contextmanager
def writing(path: Path) -> Iterator[LineFile]:
    """A file that is written until the block ends, and all of it then."""
    file = LineFile(str(path), lost_line)
    file.start()
    try:
        yield file
    finally:
        file.close()


def until(is_so: Callable[[], object]) -> None:
    """Return when it is so: another thread makes it."""
    by = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < by, "it never came"
        time.sleep(0.001)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_file, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(line_file, "CLOSE_SECONDS", PATIENCE_SECONDS)


class Disk:
    """Stands in for ``os.write``: writes ``room`` bytes more, then fails by ``error``."""

    def __init__(self, room: int | None = None, error: int = errno.ENOSPC) -> None:
        self.room = room
        self.error = error
        self.is_asked = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, number: int, data: bytes) -> int:
        self.is_asked.set()
        assert self.may_go_on.wait(PATIENCE_SECONDS)
        if self.room is None:
            return os.write(number, data)
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        written = os.write(number, data[: self.room])
        self.room -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(line_file, "_write", found)
    return found


def test_lines_are_appended_in_order_to_a_file_of_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for first in (0, 100):
        with writing(path) as file:
            for number in range(first, first + 100):
                file.put(b"%d\n" % number)
        assert (file.failures, file.dropped) == (0, 0)
    assert lines(path) == [str(number) for number in range(200)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("room", range(12))
def test_a_disk_that_fills_up_leaves_whole_lines_and_loses_none(
    room: int, tmp_path: Path, disk: Disk
) -> None:
    path = tmp_path / "lines"
    with writing(path) as file:
        disk.room = room
        file.put(b"first\n")
        file.put(b"second\n")
        until(lambda: file.failures)
        assert lines(path) in ([], ["first"])
        assert path.read_bytes().endswith(b"\n") or not path.read_bytes()
        disk.room = None
    assert lines(path) == ["first", "second"]
    assert file.dropped == 0


def test_half_a_line_that_cannot_be_taken_back_is_ended(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EPERM, "append only")

    monkeypatch.setattr(os, "ftruncate", fail)
    path = tmp_path / "lines"
    with writing(path) as file:
        disk.room = 3
        file.put(b"first\n")
        until(lambda: file.failures)
        disk.room = None
    assert lines(path) == ["fir", "first"]


def test_a_line_after_half_a_line_of_a_process_that_died_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"whole\nhal")
    with writing(path) as file:
        file.put(b"next\n")
    assert lines(path) == ["whole", "hal", "next"]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_beyond_what_may_wait_lines_are_counted_and_the_file_says_so(
    error: int, tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_file, "MOST_LINES", 10)
    path = tmp_path / "lines"
    with writing(path) as file:
        disk.room, disk.error = 0, error
        for number in range(17):
            file.put(b"%d\n" % number)
        until(lambda: file.failures > 1)
        assert file.dropped == 7
        disk.room = None
        until(lambda: lines(path)[-1:] == ["lost 7"])
        file.put(b"again\n")
    assert lines(path) == [*map(str, range(10)), "lost 7", "again"]


def test_bytes_that_wait_are_bounded(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_file, "MOST_BYTES", 1000)
    with writing(tmp_path / "lines") as file:
        disk.room = 0
        for _ in range(100):
            file.put(b"x" * 99 + b"\n")
        assert file.dropped == 90
        disk.room = None
    assert len(lines(tmp_path / "lines")) == 11


def test_behind_what_is_lost_nothing_goes_in_before_that_is_said(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_file, "MOST_BYTES", 1000)
    path = tmp_path / "lines"
    with writing(path) as file:
        disk.room = 0
        for size in (600, 600, 100):  # the last would find room
            file.put(b"x" * (size - 1) + b"\n")
        assert file.dropped == 2
        disk.room = None
    assert [len(line) for line in lines(path)] == [599, len("lost 2")]


def test_a_disk_that_hangs_keeps_nobody_waiting_and_the_end_is_bounded(
    tmp_path: Path,
    disk: Disk,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = LineFile(str(tmp_path / "lines"), lost_line)
    file.start()
    disk.may_go_on.clear()
    try:
        file.put(b"first\n")
        assert disk.is_asked.wait(PATIENCE_SECONDS)
        for number in range(3 * line_file.MOST_LINES):  # with a disk that answers to nobody
            file.put(b"%d\n" % number)
        assert file.dropped == 2 * line_file.MOST_LINES + 1
        file.reopen()
        monkeypatch.setattr(line_file, "CLOSE_SECONDS", 0.01)
        file.close()
        assert "lines could not be written" in caplog.text
    finally:
        disk.may_go_on.set()
        file._thread.join(PATIENCE_SECONDS)
    assert lines(tmp_path / "lines")[-1] == f"lost {file.dropped}"


def test_a_file_that_was_moved_away_is_left_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with writing(path) as file:
        for turn in range(3):
            file.put(b"%d\n" % turn)
            until(lambda: path.exists() and lines(path))
            path.rename(tmp_path / f"lines.{turn}")
    assert [lines(tmp_path / f"lines.{turn}") for turn in range(3)] == [["0"], ["1"], ["2"]]


def test_a_hangup_opens_the_file_by_its_name_before_there_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with writing(path) as file:
        path.rename(tmp_path / "old")
        file.reopen()
        until(path.exists)
    assert lines(path) == []


def test_a_file_that_is_cut_in_place_goes_on_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with writing(path) as file:
        file.put(b"before\n")
        until(lambda: lines(path))
        os.truncate(path, 0)
        file.put(b"after\n")
    assert path.read_bytes() == b"after\n"


def test_a_directory_that_goes_and_comes_back_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "logs" / "lines"
    path.parent.mkdir()
    with writing(path) as file:
        path.unlink()
        path.parent.rmdir()
        file.put(b"first\n")
        until(lambda: file.failures > 2)
        path.parent.mkdir()
        until(path.exists)
    assert lines(path) == ["first"]
    assert caplog.text.count("cannot be written: No such file") == 1
    assert caplog.text.count("can be written again") == 1


def test_an_end_that_is_asked_for_while_a_write_fails_is_not_the_last_try(
    tmp_path: Path, disk: Disk
) -> None:
    path = tmp_path / "lines"
    file = LineFile(str(path), lost_line)
    file.start()
    disk.room = 0
    disk.may_go_on.clear()
    file.put(b"first\n")
    assert disk.is_asked.wait(PATIENCE_SECONDS)
    closing = threading.Thread(target=file.close)
    closing.start()
    until(lambda: file._is_closing)

    def there_is_room(number: int, data: bytes) -> int:
        return os.write(number, data)

    line_file._write = there_is_room  # the fixture puts back what was there
    disk.may_go_on.set()
    closing.join(PATIENCE_SECONDS)
    assert file.failures == 1
    assert lines(path) == ["first"]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("theirs\n")
    path.symlink_to(path.parent / "elsewhere")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def _directory(path: Path) -> None:
    path.mkdir()


def _device(path: Path) -> None:
    path.symlink_to("/dev/null")


STRANGE: list[Callable[[Path], None]] = [_fifo, _link, _link_to_nothing, _directory, _device]


@pytest.mark.parametrize("make", STRANGE)
def test_what_is_no_regular_file_is_never_opened_at_the_start(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    make(path)
    before = {one.name for one in tmp_path.iterdir()}
    for opening in (lambda: check(str(path)), LineFile(str(path), lost_line).start):
        with pytest.raises(OSError, match=r"regular|symbolic|directory"):
            opening()
    assert {one.name for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize("make", STRANGE)
def test_what_takes_the_files_place_is_not_written_and_what_waits_is_kept(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "lines"
    with writing(path) as file:
        path.rename(tmp_path / "old")
        make(path)
        file.put(b"first\n")
        until(lambda: file.failures > 2)
        os.replace(path, tmp_path / "strange") if not path.is_dir() else path.rmdir()
    assert lines(path) == ["first"]
    if (tmp_path / "elsewhere").exists():
        assert (tmp_path / "elsewhere").read_text() == "theirs\n"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
def test_a_device_is_refused_too() -> None:
    with pytest.raises(OSError, match="no regular file"):
        LineFile("/dev/full", lost_line).start()


def test_a_file_that_is_to_be_made_is_checked_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert check(str(path)) == ()
    assert not path.exists()
    with pytest.raises(OSError, match="is not there"):
        check(str(tmp_path / "no" / "lines"))
    path.write_text("")
    path.chmod(0o640)
    assert check(str(path)) == (f"{path} is open to other users (mode 640): chmod 600",)
    path.chmod(0o600)
    assert check(str(path)) == ()


def test_many_threads_may_put_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    with writing(path) as file:

        def some(name: int) -> None:
            for number in range(500):
                file.put(json.dumps([name, number]).encode() + b"\n")

        threads = [threading.Thread(target=some, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    found = [json.loads(line) for line in lines(path)]
    assert len(found) == 2000
    for name in range(4):
        assert [number for one, number in found if one == name] == list(range(500))
