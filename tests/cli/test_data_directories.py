"""``inspect``, ``repair``, ``backup``, ``restore``; the server that refuses what is damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import Definition, WindowLimits

from omendb_ws.journal.interface import Manifest
from omendb_ws.journal.local.appender import Appender
from omendb_ws.journal.local.files import LocalFiles
from omendb_ws.journal.local.plans import Plan
from omendb_ws.journal.local.tracker import Tracker
from omendb_ws.sync import connect
from tests.cli.commands import serving
from tests.cli.here import omendb_ws


def filled(data_dir: Path, *names: str) -> None:
    """A data directory with collections of 100 rows each, its server stopped in order."""
    with serving("--data-dir", str(data_dir)) as server:
        with connect(server.url) as db:
            for name in names:
                db.create(name, dim=4, capacity=1000, metric="dot")
                for first in range(0, 100, 10):
                    ids = list(range(first, first + 10))
                    db.add(name, [[float(id), 1.0, 0.0, 0.0] for id in ids], ids=ids)
        server.process.terminate()
        assert server.finish()[0] == 0


def segments(data_dir: Path, name: str) -> list[Path]:
    return sorted(data_dir.glob(f"*+{name}+*/*.log"))


def damage(path: Path) -> int:
    """Flip a bit in the middle of what was written; its offset."""
    data = bytearray(path.read_bytes())
    offset = len(data.rstrip(b"\0")) // 2
    data[offset] ^= 1
    path.write_bytes(data)
    return offset


def inspected(data_dir: Path, code: int = 0) -> dict[str, Any]:
    done = omendb_ws("inspect", str(data_dir), "--json")
    assert done.returncode == code, done.stderr
    return {one["collection"]: one for one in json.loads(done.stdout)["collections"]}


def rows_in(data_dir: Path, name: str) -> list[int]:
    with serving("--data-dir", str(data_dir)) as server, connect(server.url) as db:
        return [int(id) for id in db.search(name, [1.0, 0, 0, 0], k=1000).ids]


def test_inspect_shows_segments_records_and_seqs(tmp_path: Path) -> None:
    filled(tmp_path, "items")
    found = inspected(tmp_path)["items"]
    assert found["damage"] is None
    assert found["clean_stop"]
    assert (found["dim"], found["durability"]) == (4, "everysec")
    (segment,) = found["segments"]
    assert segment["seqs"] == [1, 100]
    assert segment["records"]["open"] == 1
    said = omendb_ws("inspect", str(tmp_path)).stdout
    assert "seqs 1 to 100" in said
    assert omendb_ws("inspect", str(tmp_path / "absent")).returncode == 2
    assert omendb_ws("inspect", str(tmp_path), "--collection", "absent").returncode == 2


def test_a_damaged_collection_is_dropped_with_its_files_and_its_name_is_free(
    tmp_path: Path,
) -> None:
    filled(tmp_path, "good", "bad")
    (path,) = segments(tmp_path, "bad")
    damage(path)
    with serving("--data-dir", str(tmp_path)) as server:
        done = omendb_ws("drop", "bad", "--yes", "--url", server.url)
        assert (done.returncode, done.stdout) == (0, "bad is dropped\n")
        assert not list(tmp_path.glob("*+bad+*"))
        with connect(server.url) as db:
            db.create("bad", dim=2, capacity=10)
            db.add("bad", [[1.0, 0]], ids=[1])
            assert db.count("good") == 100
        server.process.terminate()
        assert server.finish()[0] == 0
    with serving("--data-dir", str(tmp_path)) as server, connect(server.url) as db:
        assert (db.describe("bad").rows, db.describe("good").rows) == (1, 100)


def test_a_damaged_collection_is_refused_the_others_serve_and_repair_keeps_the_rest(
    tmp_path: Path,
) -> None:
    filled(tmp_path, "items", "bad")
    (path,) = segments(tmp_path, "bad")
    damage(path)
    damaged = path.read_bytes()
    assert inspected(tmp_path, code=1)["bad"]["damage"]
    with serving("--data-dir", str(tmp_path)) as server, connect(server.url) as db:
        assert len(db.search("items", [1.0, 0, 0, 0], k=1000).ids) == 100
        with pytest.raises(Exception, match=path.name):
            db.describe("bad")
        held = omendb_ws("repair", str(tmp_path))
        assert held.returncode == 1
        assert "another server" in held.stderr
    told = omendb_ws("repair", str(tmp_path))
    assert told.returncode == 1
    assert "items: sound" in told.stdout
    assert path.name in told.stdout
    assert "lost: the rows of seqs" in told.stdout
    assert "nothing was done" in told.stdout
    assert path.read_bytes() == damaged
    done = omendb_ws("repair", str(tmp_path), "--apply")
    assert done.returncode == 0, done.stdout + done.stderr
    assert inspected(tmp_path)["bad"]["damage"] is None
    assert omendb_ws("repair", str(tmp_path)).stdout.count("sound") == 2
    assert len(rows_in(tmp_path, "items")) == 100
    assert len(rows_in(tmp_path, "bad")) < 100
    assert path.read_bytes()[: len(damaged) // 4] == damaged[: len(damaged) // 4]


def test_a_collection_is_backed_up_while_it_serves_and_restored(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    with serving("--data-dir", str(data)) as server, connect(server.url) as db:
        made = db.create("items", dim=4, capacity=1000, metric="dot")
        db.add("items", [[float(n), 0, 0, 0] for n in range(50)], ids=list(range(50)))
        done = omendb_ws("backup", str(data), "items", str(copy))
        assert done.returncode == 0, done.stderr
        assert f"version 1, seqs 1 to 50, epoch {made.epoch}" in done.stdout
        db.add("items", [[9.0, 0, 0, 0]], ids=[99])
        again = omendb_ws("backup", str(data), "items", str(copy))
        assert again.returncode == 2
        assert again.stderr.splitlines() == [
            f"omendb-ws: {copy}: is there already; a backup is a directory of its own"
        ]
        held = omendb_ws("restore", str(copy), str(data), "--as", "old")
        assert held.returncode == 1
        assert "another server" in held.stderr
    assert omendb_ws("restore", str(copy), str(data)).returncode == 2
    absent = omendb_ws("restore", str(tmp_path / "absent"), str(data))
    assert absent.returncode == 2
    assert absent.stderr.endswith("absent: there is no such directory\n")
    assert omendb_ws("restore", str(copy), str(data), "--as", "a b").returncode == 2
    assert omendb_ws("restore", str(tmp_path), str(data), "--as", "old").returncode == 1
    done = omendb_ws("restore", str(copy), str(data), "--as", "old")
    assert done.returncode == 0, done.stderr
    with serving("--data-dir", str(data)) as server, connect(server.url) as db:
        assert db.describe("items").rows == 51
        old = db.describe("old")
        assert (old.rows, old.version, old.last_seq) == (50, 1, 50)
        assert old.epoch != made.epoch


def test_one_server_has_a_data_directory(tmp_path: Path) -> None:
    with serving("--data-dir", str(tmp_path)):
        second = omendb_ws("serve", "--port", "0", "--data-dir", str(tmp_path))
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1] == (
            f"omendb-ws: data_dir: another server uses it: it holds {tmp_path}/LOCK"
        )
    with serving("--data-dir", str(tmp_path)):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_directory_that_cannot_be_written_is_a_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    failed = omendb_ws("serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert failed.returncode == 1
    assert "data_dir" in failed.stderr


def test_a_data_directory_that_is_a_file_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    failed = omendb_ws("serve", "--port", "0", "--data-dir", str(path))
    assert failed.returncode == 1
    assert failed.stderr.count("\n") <= 2
    assert "data_dir" in failed.stderr


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ({"name": "../up"}, "collection: 1 to 64"),
        ({"tenant": "a/b"}, "tenant: 1 to 64"),
        ({"dim": 5000}, "dim: at most 4096"),
        ({"columns": {"a b": "f64"}}, "columns.a b: 1 to 64"),
        ({"columns": {f"c{n}": "f64" for n in range(65)}}, "at most 64"),
    ],
)
def test_restore_makes_no_collection_that_create_would_not(
    tmp_path: Path, manifest: dict[str, Any], told: str
) -> None:
    names = {"tenant": "default", "name": "items"} | {
        key: value for key, value in manifest.items() if key in ("tenant", "name")
    }
    fields = {"dim": 2, "capacity": 10} | {
        key: value for key, value in manifest.items() if key in ("dim", "columns")
    }
    of = Manifest(names["tenant"], names["name"], Definition(**fields), "always", "e1")
    backup = tmp_path / "backup"
    backup.mkdir()
    tracker = Tracker(of.definition, WindowLimits(), Checkpoint())
    Appender(LocalFiles(), str(backup), Plan(of, "b", 1 << 16), tracker, lambda: 0.0).close()
    done = omendb_ws("restore", str(backup), str(tmp_path / "data"))
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["LOCK"]


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    served = omendb_ws("serve", "--port", "0", "--data-dir", str(path))
    assert served.returncode == 1
    assert served.stderr.splitlines()[-1] == f"omendb-ws: data_dir {path}: Not a directory"


@pytest.mark.parametrize("command", ["inspect", "repair"])
def test_a_directory_without_collections_is_not_passed_over_in_silence(
    command: str, tmp_path: Path
) -> None:
    done = omendb_ws(command, str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"omendb-ws: {tmp_path}: holds no collection\n"


def test_an_empty_window_is_shown_as_one(tmp_path: Path) -> None:
    with serving("--data-dir", str(tmp_path)) as server, connect(server.url) as db:
        db.create("items", dim=2, capacity=10)
    assert "version 0, no rows; " in omendb_ws("inspect", str(tmp_path)).stdout
