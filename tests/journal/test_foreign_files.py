"""Files in a data directory that no server put there: nothing waits, loops, or follows a link."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from omendb_core.model.errors import OmenError
from omendb_core.model.logged import Checkpoint

from omendb_ws.journal.interface import Damaged
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.backups import back_up
from omendb_ws.journal.local.files import LocalFiles
from omendb_ws.journal.local.inspecting import inspect
from omendb_ws.journal.local.openings import Previous
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.recovery import read_chain
from omendb_ws.journal.local.repairing import plan_repair
from omendb_ws.journal.local.store import LocalStore, stored_in
from omendb_ws.journal.local.tracker import Tracker
from tests.core.windows import LIMITS, definition
from tests.journal.disk import Disk
from tests.journal.logs import Settled, manifest, only


def one_collection(data_dir: Path) -> Path:
    """The directory of a collection, stopped in order."""
    store = LocalStore(str(data_dir))
    store.create(manifest(definition()), LIMITS, Settled()).close()
    key = only(store).key
    store.close()
    return data_dir / key


def everything_refuses(directory: Path, elsewhere: Path) -> None:
    """Start, inspect, backup and restore each come to an end, and trust nothing."""
    store = LocalStore(str(directory.parent))
    with pytest.raises(Damaged):
        store.recover(only(store), LIMITS)
    assert inspect(LocalFiles(), str(directory), LIMITS).damage is not None
    with pytest.raises(Damaged):
        back_up(LocalFiles(), str(directory), str(elsewhere / "b"), LIMITS)
    with pytest.raises(Damaged):
        store.restore(str(directory), LIMITS, name="another")
    assert len(store.stored()) == 1
    store.close()
    try:
        plan_repair(LocalFiles(), str(directory), LIMITS)
    except OmenError:
        return  # nothing can be kept


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "link to nothing"])
def test_what_is_no_regular_file_is_no_segment(tmp_path: Path, kind: str) -> None:
    data = tmp_path / "data"
    directory = one_collection(data)
    (segment,) = directory.glob("*.log")
    kept = tmp_path / "kept"
    segment.rename(kept)
    before = kept.read_bytes()
    if kind == "fifo":
        os.mkfifo(segment)
    elif kind == "directory":
        segment.mkdir()
    else:
        segment.symlink_to(kept if kind == "link" else tmp_path / "nothing")
    everything_refuses(directory, tmp_path)
    assert kept.read_bytes() == before


@pytest.mark.parametrize("previous", [{1: 1}, {1: 2, 2: 1}, {1: 3}])
def test_segments_that_name_each_other_end_in_a_refusal(previous: dict[int, int]) -> None:
    disk = Disk()
    of = manifest(definition())
    for number, named in previous.items():
        tracker = Tracker(of.definition, LIMITS, Checkpoint())
        plan = Plan(of, "boot", 2048, number=number, previous=Previous(named, 0))
        Appender(disk, disk.root, plan, tracker, lambda: 0.0).abandon()
    with pytest.raises(Damaged, match="as the one before it"):
        read_chain(disk, disk.root)


def test_a_segment_under_another_number_is_refused(tmp_path: Path) -> None:
    directory = one_collection(tmp_path / "data")
    (segment,) = directory.glob("*.log")
    segment.rename(directory / segment.name.replace("0000000001", "0000000007"))
    everything_refuses(directory, tmp_path)


def test_clearing_up_at_the_start_follows_no_link(tmp_path: Path) -> None:
    data = tmp_path / "data"
    directory = one_collection(data)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for suffix in (".gone", ".new"):
        (data / f"{directory.name[:-1]}0{suffix}").symlink_to(mine)
        inside = data / f"{directory.name[:-1]}1{suffix}"
        inside.mkdir()
        (inside / "0000000001-0000000000000000.log").symlink_to(mine / "thesis.txt")
    LocalStore(str(data)).close()
    assert (mine / "thesis.txt").read_text() == "years"


def test_a_collection_that_is_a_link_is_refused_and_dropped_without_what_it_names(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    directory = one_collection(data)
    elsewhere = tmp_path / "elsewhere"
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)
    before = {path.name: path.read_bytes() for path in elsewhere.iterdir()}
    assert inspect(LocalFiles(), str(directory), LIMITS).damage is not None
    store = LocalStore(str(data))
    with pytest.raises(Damaged):
        store.recover(only(store), LIMITS)
    store.drop(only(store))
    assert store.stored() == []
    store.close()
    LocalStore(str(data)).close()
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == before


def test_a_data_directory_may_itself_be_a_link(tmp_path: Path) -> None:
    data = tmp_path / "data"
    one_collection(data)
    (tmp_path / "link").symlink_to(data)
    assert len(stored_in(LocalFiles(), str(tmp_path / "link"))) == 1
    store = LocalStore(str(tmp_path / "link"))
    recovery = store.recover(only(store), LIMITS)
    assert list(recovery.changes()) == []
    recovery.finish(Settled()).close()
    store.close()


def test_a_directory_under_another_collections_name_is_refused(tmp_path: Path) -> None:
    directory = one_collection(tmp_path)
    directory.rename(tmp_path / directory.name.replace("+items+", "+other+"))
    store = LocalStore(str(tmp_path))
    with pytest.raises(Damaged, match="it belongs to 'items' of 'default'"):
        store.recover(only(store), LIMITS)
    store.close()


@pytest.mark.parametrize(
    ("mode", "said"), [(0o700, None), (0o750, "read"), (0o707, "changed"), (0o777, "changed")]
)
def test_a_data_directory_that_is_open_to_others_is_warned_of(
    tmp_path: Path, mode: int, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(mode)
    with caplog.at_level(logging.WARNING):
        LocalStore(str(data)).close()
    assert (f"can be {said} by other users" in caplog.text) == (said is not None)
