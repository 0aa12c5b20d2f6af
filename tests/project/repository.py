"""The project's files, by path: from git, or in an unpacked sdist those that lie there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.project.pages import ROOT

#: What is made in a checkout (.gitignore), or stands only in an sdist.
MADE_FOLDERS = {
    *(".git", ".venv", "__pycache__", "build", "dist", "node_modules"),
    *(".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"),
}
MADE_SUFFIXES = {".egg-info", ".pyc", ".so", ".pyd"}
OF_AN_SDIST = {"PKG-INFO", "setup.cfg"}


def files(*under: str) -> list[str]:
    """All of them, or those in these folders; new ones too, unless git is told to ignore them."""
    if not (ROOT / ".git").exists():
        return [name for name in _walk() if not under or name.split("/")[0] in under]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *under],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def _walk() -> list[str]:
    found = (path.relative_to(ROOT).as_posix() for path in _inside(ROOT))
    return sorted(name for name in found if name not in OF_AN_SDIST)


def _inside(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in MADE_FOLDERS or path.suffix in MADE_SUFFIXES:
            continue
        if path.is_dir():
            yield from _inside(path)
        else:
            yield path
