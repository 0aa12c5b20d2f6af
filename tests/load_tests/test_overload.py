"""What the measurement of overload makes of what it saw; how fast anything was is not tested."""

from __future__ import annotations

from dataclasses import replace

import pytest

from load_tests.bench_overload import Case, Peak
from load_tests.simulation import example
from load_tests.simulation.results import Operation, Resources


@pytest.fixture
def operation() -> Operation:
    found = next(one for one in example.example("run").operations if one.name == "search")
    return replace(
        found, offered_per_second=5_000.0, achieved_per_second=900.0, errors={"overloaded": 4000}
    )


@pytest.fixture
def resources() -> Resources:
    return replace(example.example("run").resources, server_cpu_percent=90.0)


def line(
    operation: Operation, resources: Resources, probed: list[tuple[float, float, bool]]
) -> str:
    peak = Peak(in_flight=64, per_second=1000.0, generator_cores=0.2, server_us=800.0)
    return Case("5 x", operation, resources, peak, probed, ended_at=10.0).line()


def test_goodput_is_told_against_the_peak_or_what_was_offered_if_that_is_less(
    operation: Operation, resources: Resources
) -> None:
    probed = [(1.0, 5.0, False)]
    told = line(operation, resources, probed)
    assert "900/s answered (90%)" in told
    assert "4,000 refused" in told
    assert "1000 us of the server's CPU each (peak 800)" in told
    half = replace(operation, offered_per_second=910.0)
    assert "900/s answered (99%)" in line(half, resources, probed)
    closed = replace(operation, offered_per_second=None)
    assert "900/s answered (90%)" in line(closed, resources, probed)


def test_recovery_lasts_until_the_last_probe_that_fared_badly(
    operation: Operation, resources: Resources
) -> None:
    good, slow, refused = (10.6, 5.0, False), (10.2, 300.0, False), (10.4, 1.0, True)
    assert "recovery 0.00 s" in line(operation, resources, [(9.0, 300.0, False), good])
    assert "recovery 0.50 s" in line(operation, resources, [slow, good])
    told = line(operation, resources, [slow, refused, good])
    assert "recovery 0.50 s" in told
    assert "1 of 3 refused" in told
