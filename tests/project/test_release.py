"""What a release is made by: workflow and Makefile agree with each other and the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml

from tests.project.pages import ROOT, page

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads(page("pyproject.toml"))


@pytest.mark.parametrize(
    "schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"]
)
def test_the_workflow_is_valid(schema: str) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(WORKFLOW)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


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
    assert targets == {"release", "test-sdist", "test-lowest", "test-newest"}
    assert targets <= set(re.findall(r"^([\w-]+):", page("Makefile"), re.M))
    for name in re.findall(r"tests/\w+", commands):
        assert (ROOT / name).is_dir(), name


def test_nothing_is_published_before_all_else_has_passed(jobs: dict[str, Any]) -> None:
    publish = jobs["publish"]
    assert set(publish["needs"]) == set(jobs) - {"publish"}
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"


def test_wheels_are_made_once_for_the_stable_abi_and_tried(project: dict[str, Any]) -> None:
    wheels = project["tool"]["cibuildwheel"]
    assert wheels["build"] == "cp311-*"
    assert wheels["environment"] == {"OMENDB_REQUIRE_NATIVE": "1"}
    for name in re.findall(r"tests/[\w/.]+", " ".join(wheels["test-command"])):
        assert (ROOT / name).exists(), name
