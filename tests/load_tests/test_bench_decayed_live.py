"""The bench of decayed live queries runs, compares views, and counts what a push tells of."""

from __future__ import annotations

import dataclasses
import re

import pytest

from load_tests import bench_decayed_live as bench
from load_tests.simulation.example import example
from load_tests.simulation.results import Truth

SMALL = [
    "--queries", "20", "--rows-per-second", "1280", "--capacity", "500", "--dim", "8",
    "--seconds", "0.5", "--rounds", "2", "--half-lives", "100", "0.5",
]  # fmt: skip


def test_each_order_takes_its_turn_and_its_views_are_those_of_a_search(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench.main(SMALL)
    said = capsys.readouterr().out
    turns = re.findall(r"^round (\d), (.+): add p99 [\d.]+ ms$", said, re.M)
    assert turns == [(r, name) for r in "12" for name in ("plain", "100 s", "0.5 s")]
    number = r" +[\d,.]+"
    lines = re.findall(rf"^ +(plain|100 s|0\.5 s)({number * 7}) +([\d.]+)%", said, re.M)
    assert [name for name, *_ in lines] == ["plain", "100 s", "0.5 s"]
    for _, numbers, merged in lines:
        pushes, told = (float(one.replace(",", "")) for one in numbers.split()[-2:])
        assert 0 < pushes <= told
        assert 0 <= float(merged) <= 100


def test_a_view_that_is_not_what_a_search_answers_fails_the_bench(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = example("run")
    assert bench.wrong(result) == 0
    (push,) = result.pushes
    broken = dataclasses.replace(push, truth=Truth(2, 2, 0, 1, 0.5, []))
    bad = dataclasses.replace(result, pushes=[broken])
    monkeypatch.setattr(bench.coordinator, "run", lambda scenario, target: bad)
    with pytest.raises(SystemExit, match="3 views are not what a search answers"):
        bench.main([*SMALL, "--rounds", "1"])
