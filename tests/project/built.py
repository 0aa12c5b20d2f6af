"""The project as it is released, built without a network: an sdist, and wheels from that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.project.pages import ROOT
from tests.project.repository import files


def build_sdist(place: Path) -> Path:
    """The archive, from a copy of the files, so that nothing of an earlier build is in it."""
    source = place / "source"
    for name in files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    subprocess.run(
        [
            *(sys.executable, "-m", "build", "--sdist", "--no-isolation"),
            *("--outdir", str(place / "sdist"), str(source)),
        ],
        capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    (found,) = (place / "sdist").glob("*.tar.gz")
    return found


def unpacked(archive: Path, place: Path) -> Path:
    """The one folder in it, in ``place``."""
    with tarfile.open(archive) as opened:
        opened.extractall(place, filter="data")
    (found,) = place.iterdir()
    return found


def build_wheel(place: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Into ``place / "out"``, from an sdist."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation"),
            *("--no-deps", "--no-index", "--disable-pip-version-check"),
            *("--wheel-dir", str(place / "out"), str(build_sdist(place))),
        ],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
