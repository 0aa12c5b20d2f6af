"""What released versions wrote opens, and their clients work, with the version of now."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws._version import VERSION
from omendb_ws.sync import Client, connect
from tests.cli.commands import serving
from tests.cli.here import run, server
from tests.compat import make
from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT
from tests.web.runtimes import websocket_flags

VERSIONS = sorted(path.name for path in make.FOLDER.iterdir() if re.match(r"\d", path.name))

pytestmark = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def stored(version: str, tmp_path: Path) -> Path:
    """The directories of that version, unpacked."""
    with tarfile.open(make.FOLDER / version / "stored.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def holds(version: str, directory: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((make.FOLDER / version / "holds.json").read_text("utf-8"))
    kept: dict[str, Any] = found[directory]
    return kept


def read(db: Client, *names: str) -> dict[str, Any]:
    """What is there now, as it was written down then."""
    found: dict[str, Any] = json.loads(json.dumps(make.holds(db, *names)))
    return found


def test_a_directory_that_was_left_in_order_holds_what_it_held_to_the_bit(
    version: str, stored: Path
) -> None:
    kept = holds(version, "data")
    with serving("--data-dir", str(stored / "data")) as now, connect(now.url) as db:
        assert read(db, *kept) == kept
        # And it goes on: a change is the next version, a row the next seq.
        numbers = kept[make.NUMBERS]
        added = db.add(make.NUMBERS, [[1, 2, 3, 4]], ids=[5000])
        assert added.version == numbers["version"] + 1
        assert added.first_seq == numbers["last_seq"] + 1


def test_a_directory_whose_server_was_killed_has_lost_nothing_and_knows_its_producers(
    version: str, stored: Path
) -> None:
    kept = holds(version, "killed")
    with serving("--data-dir", str(stored / "killed")) as now, connect(now.url) as db:
        found = read(db, make.KILLED)
        # Whether what was written had reached the disk nobody knows, so the epoch is another.
        assert {**found[make.KILLED], "epoch": ""} == {**kept[make.KILLED], "epoch": ""}
        again = db.add(make.KILLED, [[1.0, 3.0]], producer=make.PRODUCER, batch=3)
        assert again.duplicate
        new = db.add(make.KILLED, [[1.0, 4.0]], producer=make.PRODUCER, batch=4)
        assert new.first_seq == kept[make.KILLED]["last_seq"] + 1


def test_a_backup_is_restored_beside_the_data_of_its_time(version: str, stored: Path) -> None:
    kept = holds(version, "backup")[make.NUMBERS]
    restored = run("restore", stored / "backup", stored / "data", "--as", "again")
    assert restored.code == 0, restored.err
    with serving("--data-dir", str(stored / "data")) as now, connect(now.url) as db:
        found = read(db, "again")["again"]
        assert found["epoch"] != kept["epoch"]
        assert {**found, "epoch": ""} == {**kept, "epoch": ""}


def test_the_check_says_that_it_opens(version: str, stored: Path) -> None:
    for directory, is_clean in (("data", True), ("killed", False)):
        done = run("upgrade-check", stored / directory, "--json")
        assert done.code == 0, done.out
        assert {one["clean_stop"] for one in done.document["collections"]} == {is_clean}


def test_python_s_client_of_that_version_does_what_it_did(version: str) -> None:
    archive = make.FOLDER / version / "client.zip"
    with server() as url:
        done = subprocess.run(
            [sys.executable, make.FOLDER / version / "client.py", url],
            env=os.environ | {"PYTHONPATH": str(archive)}, cwd="/",
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen.pop("client").startswith(str(archive))
    assert seen == {
        "snapshot": [], "added": [1, 1, 2], "live": [[1, {"n": 1}]], "feed": [1, 2],
        "search": [[2, 1.0]], "count": 2, "error": "NotFound", "deleted": 1, "left": [None, 2],
    }  # fmt: skip


def test_javascript_s_client_of_that_version_does_what_it_did(version: str, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    command = ["node", *websocket_flags()]
    with zipfile.ZipFile(make.FOLDER / version / "client.zip") as archive:
        archive.extractall(tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    with server() as url:
        done = subprocess.run(
            [*command, make.FOLDER / version / "client.mjs", tmp_path / "web" / "client.js", url],
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "search": [[2, {"n": 2}]], "count": 2, "error": "not_found",
    }  # fmt: skip


def test_every_version_of_the_changelog_is_kept(version: str) -> None:
    """What begins with ``0.2.0`` there wants a folder here, once it is made."""
    told = re.findall(r"^## (\d+\.\d+)\.\d+", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sorted(set(told)) == VERSIONS
    assert ".".join(VERSION.split(".")[:2]) in VERSIONS
    assert np.all(
        [(make.FOLDER / version / name).is_file() for name in ("client.py", "client.mjs")]
    )
