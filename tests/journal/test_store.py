"""Collections in a data directory come back as they were, and go when they are dropped."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omendb_core.model.errors import StorageFailed, StorageFull, Unavailable
from omendb_core.model.types import IdKind
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability
from omendb_ws.journal.local.store import LocalStore
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.journal.disk import Crash, Disk
from tests.journal.logs import Pair, Settled, manifest, only, recovered


@pytest.mark.parametrize("durability", ["everysec", "always"])
@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
def test_a_collection_comes_back_as_it_was_again_and_again(
    tmp_path: Path, ids: IdKind, durability: Durability
) -> None:
    store = LocalStore(str(tmp_path))
    settled = Settled()
    window = Window(definition(ids), LIMITS)
    log = store.create(manifest(window.definition, durability), LIMITS, settled)
    for seed in range(4):
        pair = Pair(window, log, settled)
        source = History(window, seed, leaves_out=True)
        for _ in range(40):
            pair.take(source.change())
        log.close()
        store.close()
        store = LocalStore(str(tmp_path))
        settled = Settled()
        again, log = recovered(store, only(store), settled)
        assert_same(again, window)
        assert log.manifest.epoch == "e1"
        window = again
    log.close()
    store.close()


def test_a_dropped_collection_is_gone_and_its_name_is_free(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    log = store.create(manifest(definition()), LIMITS, Settled())
    log.drop()
    assert store.stored() == []
    store.create(manifest(definition()), LIMITS, Settled()).close()
    assert only(store).name == "items"
    store.drop(only(store))
    assert store.stored() == []
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["LOCK"]


def test_a_name_is_in_a_store_once(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    log = store.create(manifest(definition()), LIMITS, Settled())
    with pytest.raises(Unavailable, match="'items'"):
        store.create(manifest(definition()), LIMITS, Settled())
    assert only(store) == log.stored
    store.create(replace(manifest(definition()), tenant="another"), LIMITS, Settled()).close()
    log.drop()
    store.create(manifest(definition()), LIMITS, Settled()).close()
    store.close()


def test_names_of_any_kind_come_back(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    names = [("a/b+~\0ü", "items"), ("..", "Items"), ("default", "a.b-c_D")]
    for tenant, name in names:
        one = replace(manifest(definition()), tenant=tenant, name=name)
        store.create(one, LIMITS, Settled()).close()
    assert sorted((one.tenant, one.name) for one in store.stored()) == sorted(names)
    for one in store.stored():
        recovered(store, one, Settled())[1].close()
    store.close()


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    with pytest.raises(Unavailable):
        LocalStore(str(tmp_path))
    store.close()
    LocalStore(str(tmp_path)).close()


def test_what_was_never_finished_or_was_dropped_is_taken_away(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    store.create(manifest(definition()), LIMITS, Settled()).close()
    key = only(store).key
    (tmp_path / f"{key[:-1]}0.new").mkdir()
    (tmp_path / f"{key[:-1]}1.gone").mkdir()
    (tmp_path / f"{key[:-1]}1.gone" / "x.log").write_bytes(b"x")
    (tmp_path / "mine.new").mkdir()
    store.close()
    store = LocalStore(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["LOCK", key, "mine.new"])
    store.close()


class At:
    """Strikes at the ``nth`` operation of the disk."""

    def __init__(self, nth: int, error: BaseException) -> None:
        self.left = nth
        self.error = error

    def __call__(self, operation: str, path: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_creation_that_the_disk_fails_leaves_nothing(tmp_path: Path, number: int) -> None:
    disk = Disk(str(tmp_path))
    store = LocalStore(str(tmp_path), disk)
    failures = 0
    for nth in range(1, 100):
        disk.fault = fault = At(nth, OSError(number, "injected"))
        try:
            log = store.create(manifest(definition()), LIMITS, Settled())
        except (StorageFull, StorageFailed):
            failures += 1
            disk.fault = lambda operation, path: None
            assert store.stored() == []
            assert disk.paths() == []
            continue
        disk.fault = lambda operation, path: None
        assert only(store)
        log.drop()
        if fault.left > 0:
            break
    assert failures > 5
    store.close()


@pytest.mark.parametrize("seed", range(8))
def test_a_crash_while_creating_or_dropping_leaves_all_or_nothing(
    tmp_path: Path, seed: int
) -> None:
    random = np.random.default_rng(seed)
    crashes = 0
    for nth in range(1, 100):
        directory = tmp_path / str(nth)
        directory.mkdir()
        disk = Disk(str(directory))
        store = LocalStore(str(directory), disk, boot=f"{nth}")
        is_created = is_dropping = is_dropped = False
        disk.fault = fault = At(nth, Crash())
        try:
            log = store.create(manifest(definition(), "always"), LIMITS, Settled())
            is_created = True
            if seed % 2:
                is_dropping = True
                log.drop()
                is_dropped = True
        except Crash:
            crashes += 1
        disk.fault = lambda operation, path: None
        store.close()
        disk.lose_power(random)
        store = LocalStore(str(directory), disk)
        found = store.stored()
        assert len(found) <= 1
        if is_dropped:
            assert found == []
        elif is_created and not is_dropping:
            assert len(found) == 1
        for stored in found:
            window, log = recovered(store, stored, Settled())
            assert window.version == 0
            log.close()
        store.close()
        if fault.left > 0:
            break
    assert crashes > 5
