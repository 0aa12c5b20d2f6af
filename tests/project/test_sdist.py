"""An sdist is the whole project: it builds (``test_wheel.py``), and tests itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.built import build_sdist, unpacked
from tests.project.repository import files

#: What is run there: the project's own files, and a score in numpy; or what SDIST_TESTS names.
TESTS = os.environ.get(
    "SDIST_TESTS", "tests/project/test_sizes.py tests/core/scoring/test_score.py"
).split()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sdist")
    return unpacked(build_sdist(place), place / "unpacked")


def test_an_sdist_holds_every_file_of_the_project_and_no_other(sdist: Path) -> None:
    found = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}
    added = {name for name in found if name.startswith("omendb_ws.egg-info/")}
    assert found - added - {"PKG-INFO", "setup.cfg"} == set(files())


def test_an_unpacked_sdist_tests_itself(sdist: Path) -> None:
    """Without a compiler, a network or git."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        cwd=sdist,
        env=os.environ | {"PYTHONPATH": f"{sdist}:{sdist / 'core'}"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
