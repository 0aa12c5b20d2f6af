"""What the measurement of overload makes of what it saw; how fast anything was is not tested."""

from __future__ import annotations

from dataclasses import replace

import pytest

from load_tests.bench_overload import Case
from load_tests.simulation import example
from load_tests.simulation.results import Operation


@pytest.fixture
def operation() -> Operation:
    found = next(one for one in example.example("run").operations if one.name == "search")
    return replace(found, achieved_per_second=900.0, errors={"overloaded": 4000})


def line(operation: Operation, times: float, probed: list[tuple[float, float, bool]]) -> str:
    return Case(times, operation, 1000.0, probed, ended_at=10.0).line()


def test_goodput_is_told_against_the_peak_or_what_was_offered_of_it(operation: Operation) -> None:
    assert "900/s answered (90%)" in line(operation, 5.0, [(1.0, 5.0, False)])
    assert "900/s answered (180%)" in line(operation, 0.5, [(1.0, 5.0, False)])
    assert "4,000 refused" in line(operation, 5.0, [(1.0, 5.0, False)])


def test_recovery_lasts_until_the_last_probe_that_fared_badly(operation: Operation) -> None:
    good, slow, refused = (10.6, 5.0, False), (10.2, 300.0, False), (10.4, 1.0, True)
    assert "recovery 0.00 s" in line(operation, 5.0, [(9.0, 300.0, False), good])
    assert "recovery 0.50 s" in line(operation, 5.0, [slow, good])
    told = line(operation, 5.0, [slow, refused, good])
    assert "recovery 0.50 s" in told
    assert "1 of 3 refused" in told
