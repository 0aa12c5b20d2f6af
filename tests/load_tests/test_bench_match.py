"""The benches of match queries run, and hold what was told to the oracle."""

from __future__ import annotations

import dataclasses
import re

import pytest

from load_tests import bench_match as bench
from load_tests import bench_match_stages as stages
from load_tests.simulation.results import Truth

SMALL = [
    "--queries", "40", "--rows-per-second", "1280", "--capacity", "500", "--dim", "8",
    "--seconds", "0.5", "--rounds", "1", "--min-score", "0.5",
]  # fmt: skip


def test_lags_and_hits_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(SMALL)
    said = capsys.readouterr().out
    found = dict(re.findall(r"^ *([a-z][a-zA-Z0-9', ]*?) +([\d.,-]+) (?:ms|/s|%|µs) ", said, re.M))
    assert found.keys() >= {"lag p50", "lag p99", "hits", "pushes", "server", "server's CPU, a hit"}
    assert all(float(found[name].replace(",", "")) >= 0 for name in ("lag p99", "hits", "server"))


def test_what_is_not_the_oracles_fails_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = bench.turn

    def wrong(*arguments: object) -> bench.Turn:
        found = turn(*arguments)  # type: ignore[arg-type]
        truth = Truth(2, 2, 0, 1, 0.5, [])
        push = dataclasses.replace(found.push, truth=truth)
        return found._replace(result=dataclasses.replace(found.result, pushes=[push]))

    monkeypatch.setattr(bench, "turn", wrong)
    with pytest.raises(SystemExit, match="1 WRONG"):
        bench.main(SMALL)


def test_stages_tell_what_hits_and_silence_take(capsys: pytest.CaptureFixture[str]) -> None:
    stages.main(["--queries", "200", "--min-score", "0.1", "--capacity", "300", "--ticks", "2"])
    said = capsys.readouterr().out
    hits = re.findall(r"^hits: ([\d,]+) hits, ([\d,]+) pushes", said, re.M)
    silence = re.findall(r"^silence: [\d,]+ hits, ([\d,]+) pushes", said, re.M)
    assert len(hits) == len(silence) == 2
    for came, pushed in hits:
        assert 0 < int(pushed.replace(",", "")) <= int(came.replace(",", ""))
    assert all(int(count.replace(",", "")) >= 100 for count in silence)
