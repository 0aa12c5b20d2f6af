"""Whether a failure of a long run is taken for the machine's, and when it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import again

STEADY = "def test_it() -> None:\n    assert {passes}\n"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    found = tmp_path / "cache"
    (found / "v" / "cache").mkdir(parents=True)
    return found


@pytest.fixture
def rerun(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs tests of that text again; whether that is a failure."""
    monkeypatch.setattr(again, "TIMES", 1)
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-o cache_dir={cache.parent / 'other'}")

    def rerun(**files: str) -> int:
        for name, text in files.items():
            (cache.parent / f"{name}.py").write_text(text)
        failed = {f"{cache.parent / name}.py::test_it": True for name in files}
        (cache / "v" / "cache" / "lastfailed").write_text(json.dumps(failed))
        return again.main(cache)

    return rerun


def test_what_passes_alone_is_named_as_unsteady(
    rerun: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rerun(test_steady=STEADY.format(passes=True)) == 0
    said = capfd.readouterr().out
    assert "UNSTEADY, to be mended: " in said
    assert "test_steady.py::test_it failed" in said


def test_what_fails_again_fails(
    rerun: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    texts = {"test_one": STEADY.format(passes=True), "test_other": STEADY.format(passes=False)}
    assert rerun(**texts) == 1
    assert "UNSTEADY" not in capfd.readouterr().out


def test_many_failures_are_not_tried_again(
    rerun: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert rerun(**{f"test_{n}": STEADY.format(passes=True) for n in range(again.MOST + 1)}) == 1
    assert capfd.readouterr().err == "4 tests failed: none is run again\n"


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_a_run_that_ended_before_its_tests_did_fails(text: str | None, cache: Path) -> None:
    if text is not None:
        (cache / "v" / "cache" / "lastfailed").write_text(text)
    assert again.main(cache) == 1
