"""The guard against getting slower: what it calls worse, what it skips, what it counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from load_tests.guard import __main__ as command_line
from load_tests.guard import baseline, instructions, ratios
from load_tests.guard.baseline import Baseline, Verdict
from load_tests.guard.instructions import Counts
from tests.examples import ARE_ALL

KNOWN = {"portable": {"a query": 1000.0}}


def test_more_than_the_tolerance_is_worse_and_less_is_worth_recording() -> None:
    found = [
        next(baseline.verdicts("instructions", KNOWN, "portable", {"a query": figure}))
        for figure in (1000.0, 1099.0, 1101.0, 890.0)
    ]
    verdicts = [one for one in found if isinstance(one, Verdict)]
    assert [one.is_worse for one in verdicts] == [False, False, True, False]
    said = [str(one).split("  ")[-1] for one in verdicts]
    assert said == ["fine", "fine", "WORSE", "better: record it"]


def test_what_was_not_recorded_is_skipped_by_name() -> None:
    (said,) = baseline.verdicts("ratios", KNOWN, "avx2", {"a query": 1.0})
    assert said == "a query: nothing is recorded for the kernel avx2: skipped"
    (said,) = baseline.verdicts("ratios", KNOWN, "portable", {"another": 1.0})
    assert "another" in str(said)


def test_the_command_fails_if_a_figure_got_worse_and_without_valgrind_skips_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(baseline, "PATH", tmp_path / "baseline.json")
    monkeypatch.setattr(instructions, "is_possible", lambda: True)
    monkeypatch.setattr(instructions, "count", lambda: Counts("portable", 1000.0, 10.0))
    monkeypatch.setattr(ratios, "ratios", lambda: ("avx512", {"scan": 0.2}))
    monkeypatch.setattr("sys.argv", ["guard", "--record"])
    assert command_line.main() == 0
    monkeypatch.setattr("sys.argv", ["guard"])
    assert command_line.main() == 0
    monkeypatch.setattr(instructions, "count", lambda: Counts("portable", 1000.0, 11.5))
    assert command_line.main() == 1
    assert "WORSE" in capsys.readouterr().out
    monkeypatch.setattr(instructions, "is_possible", lambda: False)
    assert command_line.main() == 0
    assert "valgrind is not installed" in capsys.readouterr().out


def test_what_is_recorded_is_of_this_guard() -> None:
    known = baseline.load()
    assert isinstance(known, Baseline)
    assert known.where["machine"]
    assert all(figure > 0 for one in known.ratios.values() for figure in one.values())


@pytest.mark.skipif(not ARE_ALL, reason="`make torture`: numpy's start takes valgrind long")
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_valgrind_counts_what_is_asked_for() -> None:
    kernel, counted = instructions._count("nothing")
    assert kernel
    assert counted > 100_000_000, "an interpreter and numpy have been started"
