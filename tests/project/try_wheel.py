"""Tries a wheel as the workflow's cibuildwheel does.

    python -m tests.project.try_wheel WHEEL PYTHON...

Each Python gets an environment of its own with the wheel and ``test-requires``, and runs
``test-command`` beside a copy of ``test-sources``. cibuildwheel itself needs a container here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tests.project.pages import ROOT


def try_wheel(wheel: Path, python: str, place: Path) -> None:
    """CalledProcessError: a step has failed."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted: dict[str, Any] = tomllib.load(file)["tool"]["cibuildwheel"]
    environment = place / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", wheel.resolve()]
    subprocess.run([*install, *wanted["test-requires"]], check=True)
    tests = place / "tests"
    tests.mkdir()
    copy_sources(wanted, tests)
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    given = os.environ | {"PATH": path}
    for command in wanted["test-command"]:
        subprocess.run(["sh", "-c", command], cwd=tests, env=given, check=True)


def copy_sources(wanted: dict[str, Any], place: Path) -> None:
    """Copy what the tests of a wheel are given, ``test-sources``, into ``place``."""
    for name in wanted["test-sources"]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name)
        else:
            shutil.copyfile(source, place / name)


def main() -> None:
    """Try it with each Python that is named."""
    wheel, *pythons = sys.argv[1:]
    for python in pythons:
        with tempfile.TemporaryDirectory(prefix="omendb-") as place:
            try_wheel(Path(wheel), python, Path(place))
        print(f"{Path(wheel).name} works with {python}")


if __name__ == "__main__":
    main()
