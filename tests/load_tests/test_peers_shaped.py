"""Shaped searches beside peers': ours are the oracle's, and what a peer misses is counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from omendb_core.model.types import F32

from load_tests.peers import shaped
from load_tests.peers.peer import by_name
from load_tests.peers.shaped_window import ShapedWindow
from load_tests.peers.shaping_cases import CASES, Stock, due, stocked

SMALL = ["--rows", "400", "--dim", "16", "--queries", "3", "--seconds", "0.01"]
LINE = re.compile(r"^(\w+) +(.+?) +([\d.]+)% +([\d.]+)% +\d+ µs +([\d.]+)x$", re.M)


@pytest.fixture(scope="module")
def stock() -> Stock:
    return stocked(400, 16, 3)


@pytest.mark.parametrize("case", CASES)
def test_an_answer_of_ours_is_the_oracles_and_no_plain_one(stock: Stock, case: str) -> None:
    ((name, search),) = ShapedWindow(stock).ways(case, 10).items()
    assert name == shaped.OURS
    nearest = [(-(stock.vectors @ query)).argsort()[:10].tolist() for query in stock.queries]
    right = [due(stock, case, query, 10) for query in stock.queries]
    assert [search(query) for query in stock.queries] == right
    assert right != nearest


def test_each_case_is_a_line_and_who_is_not_installed_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shaped.main(SMALL)
    said = capsys.readouterr().out
    ours = [found for found in LINE.findall(said) if found[1] == shaped.OURS]
    assert ours == [(case, shaped.OURS, "0.0", "100.0", "1.0") for case in CASES]
    is_there = by_name("qdrant-edge").is_installed()
    assert ("qdrant-edge skipped: qdrant-edge-py is not installed" in said) is not is_there


class Forgetful:
    """Ours, and one that answers without the best row; ``is_ours`` forgets, too."""

    def __init__(self, stock: Stock, is_ours: bool) -> None:
        self._inner = ShapedWindow(stock)
        self._is_ours = is_ours

    def ways(self, case: str, k: int) -> Mapping[str, Any]:
        (search,) = self._inner.ways(case, k).values()

        def forget(vector: F32) -> list[int]:
            return search(vector)[1:]

        return {shaped.OURS: forget if self._is_ours else search, "other": forget}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("is_ours", [False, True])
def test_a_row_that_is_missed_counts_and_ours_may_miss_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_ours: bool
) -> None:
    monkeypatch.setattr(shaped, "peers", lambda stock: [Forgetful(stock, is_ours)])
    if is_ours:
        with pytest.raises(SystemExit, match="answers of ours are not the oracle's"):
            shaped.main(SMALL)
    else:
        shaped.main(SMALL)
    found = LINE.findall(capsys.readouterr().out)
    assert {(way, missed, right) for _, way, missed, right, _ in found} == {
        (shaped.OURS, "10.0", "0.0") if is_ours else (shaped.OURS, "0.0", "100.0"),
        ("other", "10.0", "0.0"),
    }
