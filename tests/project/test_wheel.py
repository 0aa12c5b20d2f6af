"""The wheel holds exactly the two packages, with their data, and says what it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.pages import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of an earlier build is in it, and without a network."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    skip = shutil.ignore_patterns(
        ".*", "*.egg-info", "build", "dist", "__pycache__", "node_modules"
    )
    shutil.copytree(ROOT, source, ignore=skip)
    built = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation"),
            *("--no-deps", "--no-index", "--disable-pip-version-check"),
            *("--wheel-dir", str(place / "out"), str(source)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = (place / "out").glob("*.whl")
    return found


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def read(wheel: Path, end: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(end))
        return archive.read(name).decode()


def test_the_wheel_holds_exactly_the_two_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in contents(wheel)}
    info = {top for top in tops if top.endswith(".dist-info")}
    assert len(info) == 1
    assert tops - info == {"omendb_core", "omendb_ws"}


def test_the_wheel_holds_every_module_and_data_file_of_them(wheel: Path) -> None:
    wanted = {
        path.relative_to(base).as_posix()
        for base, package in ((ROOT, "omendb_ws"), (ROOT / "core", "omendb_core"))
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in contents(wheel) if ".dist-info/" not in name} == wanted
    assert {"omendb_ws/py.typed", "omendb_core/py.typed"} <= wanted
    assert {"omendb_ws/demo/digits.npz", "omendb_ws/demo/digits-LICENSE.txt"} <= wanted


def test_the_wheel_carries_both_licences(wheel: Path) -> None:
    licences = {Path(name).name for name in contents(wheel) if "/licenses/" in name}
    assert licences == {"LICENSE", "digits-LICENSE.txt"}
    assert "License-Expression: Apache-2.0" in read(wheel, "METADATA")


def test_the_wheel_gives_the_command(wheel: Path) -> None:
    assert "omendb-ws = omendb_ws.cli:main" in read(wheel, "entry_points.txt")
