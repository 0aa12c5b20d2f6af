"""A backup is the log up to some change; restored it is that window under a new epoch."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from omendb_core.model.errors import Exists
from omendb_core.replay import replay
from omendb_core.window import Window

from omendb_ws.journal.interface import Damaged
from omendb_ws.journal.local import store as store_module
from omendb_ws.journal.local.backups import back_up
from omendb_ws.journal.local.files import LocalFiles
from omendb_ws.journal.local.store import LocalStore
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.journal.logs import Pair, Settled, manifest, only, recovered
from tests.journal.long_logs import LongLog, read


def test_a_backup_of_a_log_in_use_is_the_window_of_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "segment_bytes_for", lambda _: 4000)
    store = LocalStore(str(tmp_path / "data"))
    settled = Settled()
    window = Window(definition(capacity=20), LIMITS)
    log = store.create(manifest(window.definition), LIMITS, settled)
    pair = Pair(window, log, settled)
    source = History(window, 1)
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set() or len(settled.tags) < 200:
            pair.take(source.change())

    thread = threading.Thread(target=go_on)
    thread.start()
    backups = [
        back_up(LocalFiles(), store.path(only(store).key), str(tmp_path / f"b{n}"), LIMITS)
        for n in range(5)
    ]
    stop.set()
    thread.join()
    log.close()
    store.close()
    other = LocalStore(str(tmp_path / "other"))
    for place, backup in enumerate(backups):
        name = f"copy{place}"
        restored = other.restore(str(tmp_path / f"b{place}"), LIMITS, name=name)
        assert restored.name == name
        assert restored.epoch != "e1"
        (stored,) = (one for one in other.stored() if one.name == name)
        found, opened = recovered(other, stored, Settled())
        expected = Window(window.definition, LIMITS)
        for change in settled.tags[: backup.version]:
            replay(expected, change)
        assert_same(found, expected)
        assert opened.manifest == restored
        opened.close()
    other.close()


def test_a_backup_is_not_restored_over_a_collection(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path / "data"))
    store.create(manifest(definition()), LIMITS, Settled()).close()
    back_up(LocalFiles(), store.path(only(store).key), str(tmp_path / "b"), LIMITS)
    with pytest.raises(Exists):
        store.restore(str(tmp_path / "b"), LIMITS)
    assert store.restore(str(tmp_path / "b"), LIMITS, tenant="another").tenant == "another"
    store.close()


def test_a_damaged_log_is_not_backed_up_and_a_damaged_backup_not_restored(tmp_path: Path) -> None:
    log = LongLog(60)
    log.disk.make_directory("/log/whole")
    log.disk.remove_directory("/log/whole")
    back_up(log.disk, log.disk.root, "/log/whole", LIMITS)
    assert_same(read(log.disk, "/log/whole")[0], log.window)
    for path in (log.disk.segments()[0], log.disk.segments("/log/whole")[0]):
        log.disk.file(path).data[900] ^= 4
    with pytest.raises(Damaged):
        back_up(log.disk, log.disk.root, "/log/another", LIMITS)
    with pytest.raises(Damaged):
        back_up(log.disk, "/log/whole", "/log/another", LIMITS)
    assert "another" not in log.disk.list("/log")
