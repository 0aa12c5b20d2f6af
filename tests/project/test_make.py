"""The Makefile's commands do their own set-up, and `.ci/run` is style, types, the site
and `make test`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS
from tests.project.pages import ROOT, page

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Without what a make around these tests hands down.
    inherited = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHON", "VENV"}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in inherited},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def dry_run(target: str, venv: Path) -> list[str]:
    """The commands of a target from a fresh clone on; none is run."""
    result = make("--dry-run", target, f"VENV={venv}")
    assert result.returncode == 0, result.stderr
    return result.stdout.replace(str(venv), ".venv").splitlines()


def position(lines: list[str], part: str) -> int:
    found = [index for index, line in enumerate(lines) if part in line]
    assert found, f"no command has {part!r}: {lines}"
    return found[0]


@pytest.mark.parametrize(
    ("target", "what", "last"),
    [
        ("run", ".", ".venv/bin/omendb-ws demo"),
        (
            "test",
            "'.[test]'",
            ".venv/bin/python -m pytest --numprocesses=3 --dist=worksteal",
        ),
        (
            "test-newest",
            "'.[test]'",
            ".venv/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal"
            " tests",
        ),
        ("style", "'.[lint]'", ".venv/bin/ruff format --check ."),
        ("types", "'.[lint]'", ".venv/bin/mypy"),
        ("docs", "'.[docs]'", 'echo "The site is in build/docs/: open build/docs/index.html"'),
        ("bench", "'.[load]'", ".venv/bin/python -m load_tests.guard"),
        (
            "bench-aims",
            "'.[load]'",
            ".venv/bin/python -m load_tests.aims --output build/load/aims.json",
        ),
    ],
)
def test_a_command_makes_the_environment_installs_and_then_runs(
    tmp_path: Path, target: str, what: str, last: str
) -> None:
    lines = dry_run(target, tmp_path / "venv")
    assert lines[-1] == last
    assert (
        position(lines, "(3, 11)")
        < position(lines, "-m venv .venv")
        < position(lines, f"--editable {what}")
        < len(lines) - 1
    )


def test_what_is_installed_is_not_installed_again_until_its_sources_change(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".installed").touch()
    assert dry_run("run", tmp_path) == [".venv/bin/omendb-ws demo"]
    for source in ("pyproject.toml", "setup.py", "core/omendb_core/native/module.c"):
        older = (ROOT / source).stat().st_mtime - 1
        os.utime(tmp_path / ".installed", (older, older))
        assert any("--editable" in line for line in dry_run("run", tmp_path))


def test_an_old_python_is_refused_with_a_clear_message(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    # Runs the same check with a version that is too old.
    old.write_text(
        f'#!/bin/sh\nshift\nexec "{sys.executable}" -c '
        '"import sys; sys.version_info = (3, 10, 9); exec(sys.argv[1])" "$1"\n'
    )
    old.chmod(0o755)
    result = make("run", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stderr
    assert "is 3.10" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_told(tmp_path: Path) -> None:
    result = make("run", f"VENV={tmp_path / 'venv'}", "PYTHON=no-such-python")
    assert result.returncode != 0
    assert "no-such-python is not there" in result.stderr


def test_ci_runs_style_types_docs_make_test_and_once_more_without_a_compiler() -> None:
    script = page(".ci/run")
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in script
    assert re.findall(r"^(?:timeout .*\d )?(make .*?)(?: \|\| .*)?$", script, re.M) == [
        "make style", "make types", "make docs", "make test", "make test-s3",
        'make "$VENV/.installed-test"',
    ]  # fmt: skip
    assert 0 < script.index("OMENDB_REQUIRE_NATIVE=1") < script.index(" make test ")
    assert 0 < script.index("CC=/bin/false") < script.index('make "$VENV')
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_no_page_or_script_names_a_package_registry() -> None:
    registry = re.compile(r"pypi\.org|pythonhosted|--(extra-)?index-url|find-links", re.I)
    files = [ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "pyproject.toml", ROOT / "mkdocs.yml"]
    files += [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert [str(path) for path in files if registry.search(path.read_text("utf-8"))] == []
