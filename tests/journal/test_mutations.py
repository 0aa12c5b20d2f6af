"""Whole data directories, changed at random: cut, zeroed, renamed, doubled, linked, swapped.

Whatever is done to the files: every collection comes back as it was, or under another epoch, or is
held with a reason; it is never another under the same epoch. Everything comes to an end, and
nothing outside the directory is touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omendb_core.model.errors import OmenError
from omendb_core.window import Window

from omendb_ws.journal.local import store as store_module
from omendb_ws.journal.local.files import LocalFiles
from omendb_ws.journal.local.inspecting import inspect
from omendb_ws.journal.local.repairing import plan_repair
from omendb_ws.journal.local.store import LocalStore
from tests.core.windows import LIMITS, History, assert_same, definition
from tests.examples import examples
from tests.journal.logs import Pair, Settled, manifest, recovered

NAMES = ("one", "other")
Mutation = Callable[[Path, Path, Any], None]


@dataclass
class Base:
    """Data directories as they are left, and what the collections are."""

    clean: Path
    killed: Path
    windows: dict[str, Window]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Two collections of the same shape and history, so that their files look alike."""
    top = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "segment_bytes_for", lambda _: 4000)
        store = LocalStore(str(top / "clean"), boot="one")
        logs, windows = [], {}
        for name in NAMES:
            windows[name] = window = Window(definition("u64", capacity=150), LIMITS)
            settled = Settled()
            of = replace(manifest(window.definition, "always"), name=name)
            log = store.create(of, LIMITS, settled)
            pair, source = Pair(window, log, settled), History(window, 1)
            for _ in range(60):
                pair.take(source.change())
            logs.append(log)
        shutil.copytree(top / "clean", top / "killed")
        for log in logs:
            log.close()
        store.close()
        yield Base(top / "clean", top / "killed", windows)


def cut(path: Path, other: Path, data: Any) -> None:
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))


def zero_tail(path: Path, other: Path, data: Any) -> None:
    size = path.stat().st_size
    os.truncate(path, data.draw(st.integers(0, size)))
    os.truncate(path, size)


def flip(path: Path, other: Path, data: Any) -> None:
    whole = bytearray(path.read_bytes())
    if whole:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(whole)


def delete(path: Path, other: Path, data: Any) -> None:
    path.unlink()


def renumber(path: Path, other: Path, data: Any) -> None:
    renamed = _under_another_number(path, data)
    if not renamed.is_dir():
        path.rename(renamed)


def double(path: Path, other: Path, data: Any) -> None:
    copy = _under_another_number(path, data)
    if not os.path.lexists(copy):
        shutil.copy(path, copy)


def swap(path: Path, other: Path, data: Any) -> None:
    """With a file of the other collection, its name too."""
    mine, its = path.read_bytes(), other.read_bytes()
    path.unlink()
    other.unlink()
    for place, content in ((path.parent / other.name, its), (other.parent / path.name, mine)):
        if not os.path.lexists(place):  # what an earlier change left there may be no file
            place.write_bytes(content)


def swap_bytes(path: Path, other: Path, data: Any) -> None:
    mine, its = path.read_bytes(), other.read_bytes()
    path.write_bytes(its)
    other.write_bytes(mine)


def link(path: Path, other: Path, data: Any) -> None:
    """A link to a file elsewhere in place of the file."""
    path.unlink()
    path.symlink_to(path.parent.parent.parent / "elsewhere" / "mine.log")


def fifo(path: Path, other: Path, data: Any) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path, other: Path, data: Any) -> None:
    path.unlink()
    path.mkdir()


def _under_another_number(path: Path, data: Any) -> Path:
    if not path.name.endswith(".log"):
        return path
    number = data.draw(st.integers(1, 20))
    return path.with_name(f"{number:010}{path.name[10:]}")


MUTATIONS: list[Mutation] = [
    cut, zero_tail, flip, delete, renumber, double, swap, swap_bytes, link, fifo, directory,
]  # fmt: skip


def mutate(top: Path, data: Any) -> None:
    """One change to one file, or to two."""
    directories = sorted(path for path in top.iterdir() if path.is_dir())
    files = [sorted(path for path in one.iterdir() if _is_plain(path)) for one in directories]
    if not all(files):
        return
    which = data.draw(st.integers(0, 1))
    path, other = (
        data.draw(st.sampled_from(files[which])),
        data.draw(st.sampled_from(files[1 - which])),
    )
    data.draw(st.sampled_from(MUTATIONS))(path, other, data)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def is_same(window: Window, expected: Window) -> bool:
    try:
        assert_same(window, expected)
    except AssertionError:
        return False
    return True


@settings(
    max_examples=examples(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_data_directory_that_was_changed_never_comes_back_as_another_under_its_epoch(
    base: Base, tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    top = tmp_path_factory.mktemp("changed")
    elsewhere = top / "elsewhere"
    elsewhere.mkdir()
    source = data.draw(st.sampled_from([base.clean, base.killed]))
    shutil.copytree(source, top / "data")
    shutil.copy(next(source.glob("*+one+*/*.log")), elsewhere / "mine.log")
    before = (elsewhere / "mine.log").read_bytes()
    for _ in range(data.draw(st.integers(1, 2))):
        mutate(top / "data", data)
    store = LocalStore(str(top / "data"), boot="one")
    try:
        for stored in store.stored():
            path = store.path(stored.key)
            inspect(LocalFiles(), path, LIMITS)
            try:
                window, log = recovered(store, stored, Settled())
            except OmenError:
                with suppress(OmenError):
                    plan_repair(LocalFiles(), path, LIMITS)
                continue
            log.close()
            if log.manifest.epoch == "e1":
                assert is_same(window, base.windows[stored.name])
    finally:
        store.close()
    assert (elsewhere / "mine.log").read_bytes() == before
    assert [path.name for path in elsewhere.iterdir()] == ["mine.log"]
    shutil.rmtree(top)
