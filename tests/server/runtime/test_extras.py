"""Extras that are missing, and such that are there and cannot be loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from omendb_ws.runtime.extras import ExtraMissing, load


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_what_is_there_is_loaded(site: Path) -> None:
    (site / "found_by_a_test.py").write_text("")
    load("this needs", "some", "found_by_a_test")
    assert "found_by_a_test" in sys.modules


@pytest.mark.parametrize("name", ["missed_by_a_test", "missed_by_a_test.part.of_it"])
def test_what_is_missing_is_said_with_how_it_is_installed(name: str) -> None:
    with pytest.raises(ExtraMissing) as caught:
        load("this needs", "some", "json", name)
    assert str(caught.value).startswith("this needs the extra some: ")
    assert str(caught.value).endswith("pip install 'omendb-ws[some]'")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("from json import nothing_of_the_kind", "cannot import name 'nothing_of_the_kind'"),
        ("import needed_by_a_test", "No module named 'needed_by_a_test'"),
    ],
)
def test_what_is_there_and_broken_is_said_to_be(site: Path, body: str, why: str) -> None:
    """To install the extra once more would not help, as its package is there."""
    (site / "broken_by_a_test.py").write_text(body)
    with pytest.raises(ExtraMissing, match="broken_by_a_test is installed and cannot") as caught:
        load("this needs", "some", "broken_by_a_test")
    assert why in str(caught.value)
