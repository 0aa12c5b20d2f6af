"""``omendb-ws upgrade-check``: what opens, what does not, and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from omendb_ws._version import VERSION
from omendb_ws.sync import connect
from tests.cli.commands import serving
from tests.cli.here import run
from tests.cli.test_data_directories import damage, segments


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with two collections, stopped in order."""
    place = tmp_path_factory.mktemp("data")
    with serving("--data-dir", str(place)) as server:
        with connect(server.url) as db:
            for name in ("one", "two"):
                db.create(name, dim=4, capacity=1000)
                db.add(name, [[1.0, 0, 0, 0]] * 100, ids=list(range(100)))
        server.process.terminate()
        assert server.finish()[0] == 0
    return place


@pytest.fixture
def data(stored: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(stored, tmp_path / "data"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {one: one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_a_directory_that_was_left_in_order_is_ready_and_stays_as_it_is(data: Path) -> None:
    before = contents(data)
    done = run("upgrade-check", data)
    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if "format 1: opens as it is" in line] == [
        "default/one  format 1: opens as it is",
        "default/two  format 1: opens as it is",
    ]
    assert done.out.endswith("ready: take a backup, stop the server, install, start\n")
    assert contents(data) == before


def test_what_it_finds_is_said_as_json(data: Path) -> None:
    document = run("upgrade-check", data, "--json").document
    assert (document["version"], document["reads_format"], document["opens"]) == (VERSION, 1, True)
    assert document["memory_bytes"] == sum(one["memory_bytes"] for one in document["collections"])
    assert document["collections"][0] == {
        "tenant": "default", "collection": "one", "formats": [1], "clean_stop": True,
        "torn_bytes": 0, "problem": None,
        "memory_bytes": document["collections"][0]["memory_bytes"],
    }  # fmt: skip


def test_what_is_damaged_is_named_and_the_others_open(data: Path) -> None:
    (path,) = segments(data, "two")
    damage(path)
    done = run("upgrade-check", data, "--json")
    one, two = done.document["collections"]
    assert (done.code, done.document["opens"]) == (1, False)
    assert one["problem"] is None
    assert path.name in two["problem"]
    assert "default/two  would NOT come back: " in run("upgrade-check", data).out


def test_what_a_newer_version_wrote_is_said_to_be_that(data: Path) -> None:
    (path,) = segments(data, "two")
    with path.open("r+b") as file:
        file.seek(2)
        file.write(b"\x02")  # the byte of the format, docs/journal.md
    done = run("upgrade-check", data, "--json")
    two = done.document["collections"][1]
    assert (done.code, two["formats"]) == (1, [2])
    assert "it is of format 2, or damaged; this version reads 1" in two["problem"]


def test_an_end_that_is_torn_is_told_with_what_is_cut(data: Path) -> None:
    (path,) = segments(data, "two")
    end = len(path.read_bytes().rstrip(b"\0"))
    with path.open("r+b") as file:
        file.truncate(end - 70)
        file.truncate(1 << 20)
    (path.parent / "NOTE").unlink()
    done = run("upgrade-check", data, "--json")
    two = done.document["collections"][1]
    assert (done.code, two["problem"], two["clean_stop"]) == (0, None, False), done.out
    assert "it is being written, or was not stopped in order" in run("upgrade-check", data).out


def test_less_memory_than_the_windows_take_is_said(data: Path) -> None:
    done = run("upgrade-check", data, OMENDB_MAX_MEMORY_BYTES="1000")
    assert done.code == 0
    assert "raise max_memory_bytes" in done.out


def test_a_directory_that_is_not_there_or_holds_nothing_is_told(tmp_path: Path) -> None:
    assert run("upgrade-check", tmp_path / "absent").code == 2
    empty = run("upgrade-check", tmp_path)
    assert (empty.code, "holds no collection" in empty.err, "ready" in empty.out) == (
        0,
        True,
        False,
    )
    assert json.loads(run("upgrade-check", tmp_path, "--json").out)["collections"] == []


@pytest.mark.parametrize("command", ["upgrade-check", "inspect"])
def test_a_backup_is_looked_into_as_a_directory_is(
    command: str, data: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    assert run("backup", data, "one", backup).code == 0
    whole = run(command, backup)
    assert (whole.code, whole.err) == (0, "")
    assert whole.out.startswith("default/one  ")
    (segment,) = backup.glob("*.log")
    damage(segment)
    assert run(command, backup).code == 1
