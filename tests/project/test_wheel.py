"""A wheel from an sdist holds exactly the two packages, with their data, and says what it is."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.project.built import build_wheel
from tests.project.pages import ROOT

NO_COMPILER = {"CC": "/bin/false", "OMENDB_REQUIRE_NATIVE": "0"}


@pytest.fixture(scope="module", params=[{}, NO_COMPILER], ids=["compiled", "without a compiler"])
def wheel(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    built = build_wheel(place, **request.param)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = (place / "out").glob("*.whl")
    return found


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def is_extension(name: str) -> bool:
    return name.startswith("omendb_core/native/_native.") and name.endswith((".so", ".pyd"))


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
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix not in {".c", ".h", ".so", ".pyd"}
    }
    found = {name for name in contents(wheel) if ".dist-info/" not in name}
    assert {name for name in found if not is_extension(name)} == wanted
    assert {"omendb_ws/py.typed", "omendb_core/py.typed"} <= wanted
    assert {"omendb_ws/demo/digits.npz", "omendb_ws/demo/digits-LICENSE.txt"} <= wanted


def test_the_wheel_carries_both_licences(wheel: Path) -> None:
    licences = {Path(name).name for name in contents(wheel) if "/licenses/" in name}
    assert licences == {"LICENSE", "digits-LICENSE.txt"}
    assert "License-Expression: Apache-2.0" in read(wheel, "METADATA")


def test_the_wheel_gives_the_command(wheel: Path) -> None:
    assert "omendb-ws = omendb_ws.cli:main" in read(wheel, "entry_points.txt")


def test_a_wheel_has_the_extension_if_there_was_a_compiler(
    wheel: Path, request: pytest.FixtureRequest
) -> None:
    extensions = [name for name in contents(wheel) if is_extension(name)]
    if request.node.callspec.id == "compiled" and shutil.which("cc"):
        assert extensions == ["omendb_core/native/_native.abi3.so"]
        assert "cp311-abi3" in wheel.name
    else:
        assert extensions == []


def test_a_failed_compile_is_an_error_where_the_extension_is_required(tmp_path: Path) -> None:
    built = build_wheel(tmp_path, CC="/bin/false", OMENDB_REQUIRE_NATIVE="1")
    assert built.returncode != 0
    assert "/bin/false" in built.stdout + built.stderr
