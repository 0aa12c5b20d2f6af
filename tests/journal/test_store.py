"""Collections in a data directory come back as they were, and go when they are dropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from omendb_core.errors import Unavailable
from omendb_core.types import IdKind
from omendb_core.window import Window

from omendb_ws.journal.interface import Durability
from omendb_ws.journal.store import LocalStore
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.journal.logs import Pair, Settled, facts, only, recovered


@pytest.mark.parametrize("durability", ["everysec", "always"])
@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
def test_a_collection_comes_back_as_it_was_again_and_again(
    tmp_path: Path, ids: IdKind, durability: Durability
) -> None:
    store = LocalStore(str(tmp_path))
    settled = Settled()
    window = Window(definition(ids), LIMITS)
    log = store.create(facts(window.definition, durability), LIMITS, settled)
    for seed in range(4):
        pair = Pair(window, log, settled)
        source = History(window, seed)
        for _ in range(40):
            pair.take(source.change())
        log.close()
        store.close()
        store = LocalStore(str(tmp_path))
        settled = Settled()
        again, log = recovered(store, only(store), settled)
        assert_same(again, window)
        assert log.facts.epoch == "e1"
        window = again
    log.close()
    store.close()


def test_a_dropped_collection_is_gone_and_its_name_is_free(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    log = store.create(facts(definition()), LIMITS, Settled())
    log.drop()
    assert store.stored() == []
    store.create(facts(definition()), LIMITS, Settled()).close()
    assert only(store).name == "items"
    store.drop(only(store))
    assert store.stored() == []
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["LOCK"]


def test_names_of_any_kind_come_back(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    names = [("a/b+~\0ü", "items"), ("..", "Items"), ("default", "a.b-c_D")]
    for tenant, name in names:
        one = replace(facts(definition()), tenant=tenant, name=name)
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
    store.create(facts(definition()), LIMITS, Settled()).close()
    key = only(store).key
    (tmp_path / f"{key[:-1]}0.new").mkdir()
    (tmp_path / f"{key[:-1]}1.gone").mkdir()
    (tmp_path / f"{key[:-1]}1.gone" / "x.log").write_bytes(b"x")
    (tmp_path / "mine.new").mkdir()
    store.close()
    store = LocalStore(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["LOCK", key, "mine.new"])
    store.close()
