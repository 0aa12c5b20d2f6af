"""What a release is made by: workflow and Makefile agree with each other and the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project.pages import ROOT, page
from tests.project.try_wheel import copy_sources

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads(page("pyproject.toml"))


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-workflows", WORKFLOW),
        ("custom.github-workflows-require-timeout", WORKFLOW),
        ("vendor.dependabot", WORKFLOW.parents[1] / "dependabot.yml"),
    ],
)
def test_the_files_for_github_are_valid(schema: str, file: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_action_is_pinned_to_a_commit_and_says_which_version_that_is() -> None:
    """A tag is moved by whoever owns the action; a bot moves these (dependabot.yml)."""
    lines = re.findall(r"uses: (.*)", WORKFLOW.read_text("utf-8"))
    assert len(lines) > 10
    for line in lines:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    assert len({line.split("@")[0] for line in lines}) == len(set(lines)), "one version of each"


def test_it_tries_every_python_that_the_project_promises_with_lowest_and_newest_dependencies(
    jobs: dict[str, Any], project: dict[str, Any]
) -> None:
    promised = re.findall(r"Python :: (3\.\d+)", " ".join(project["project"]["classifiers"]))
    matrix = jobs["matrix"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    assert project["project"]["requires-python"] == f">={promised[0]}"
    assert matrix["dependencies"] == ["lowest", "newest"]


def test_what_it_runs_is_there(jobs: dict[str, Any]) -> None:
    commands = " ".join(
        step["run"] for job in jobs.values() for step in job["steps"] if "run" in step
    )
    assert ".ci/run" in commands
    kinds = jobs["matrix"]["strategy"]["matrix"]["dependencies"]
    assert commands.count("make test-${{ matrix.dependencies }} ") == 1
    targets = {*re.findall(r"make ([\w-]+)(?=\s|$)", commands), *(f"test-{one}" for one in kinds)}
    assert targets == {"release", "test-sdist", "test-wheel", "test-lowest", "test-newest"}
    assert targets <= set(re.findall(r"^([\w-]+):", page("Makefile"), re.M))
    for name in re.findall(r"tests/\w+", commands):
        assert (ROOT / name).is_dir(), name


def test_nothing_is_published_before_all_else_has_passed(jobs: dict[str, Any]) -> None:
    publish = jobs["publish"]
    assert set(publish["needs"]) == set(jobs) - {"publish"}
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"


def test_a_wheels_tests_find_all_that_they_import_and_read_where_it_is_tried(
    project: dict[str, Any], tmp_path: Path
) -> None:
    wheels = project["tool"]["cibuildwheel"]
    copy_sources(wheels, tmp_path)
    [command] = [one.split()[1:] for one in wheels["test-command"] if "pytest" in one]
    reading = ["-m", "pytest", "tests/core/scoring/test_functions.py", "-k", "header or digest"]
    for arguments in ([*command, "--collect-only"], reading):
        done = subprocess.run(
            [sys.executable, *arguments, "-q"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]


def test_wheels_are_made_once_for_the_stable_abi_and_tried(project: dict[str, Any]) -> None:
    wheels = project["tool"]["cibuildwheel"]
    assert wheels["build"] == "cp311-*"
    assert wheels["environment"] == {"OMENDB_REQUIRE_NATIVE": "1"}
    for name in re.findall(r"tests/[\w/.]+", " ".join(wheels["test-command"])):
        assert (ROOT / name).exists(), name
