"""A small result with every field filled, made of formulas: for tests of reports, and to look at.

python -m load_tests.simulation.example > example.json
"""

from __future__ import annotations

import math
import sys

from .results import (
    SCHEMA,
    CurvePoint,
    Environment,
    Interval,
    Mismatch,
    Operation,
    Percentiles,
    Push,
    ResourcePoint,
    Resources,
    Result,
    Sweep,
    SweepPoint,
    Truth,
    to_json,
)

_CURVE = (0.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0)


def _percentiles(scale: float, count: int = 5000) -> Percentiles:
    times = (1.1, 1.0, 1.4, 3.0, 9.0, 20.0)
    mean, p50, p90, p99, p999, most = (scale * one for one in times)
    return Percentiles(count, mean, p50, p90, p99, p999, most)


def _curve(scale: float) -> list[CurvePoint]:
    return [CurvePoint(p, scale * (0.8 - math.log10(1.0001 - p / 100))) for p in _CURVE]


def _over_time(scale: float) -> list[Interval]:
    return [
        Interval(float(at), 1.0, 500, 0, scale, scale * (3 + math.sin(at)), scale * 6)
        for at in range(10)
    ]


def _operation(name: str, arrivals: str, offered: float | None, rows: int) -> Operation:
    is_closed = arrivals == "closed"
    return Operation(
        name=name, arrivals=arrivals, in_flight=16 if is_closed else None, rows_a_request=rows,
        offered_per_second=offered, achieved_per_second=500.0,
        is_reached=None if is_closed else True,
        sent=5000, count=4998, errors={"overloaded": 2}, unanswered=0, unsent=0, late_sends=3,
        generator_late_sends=1,
        late_ms=1.0, corrected=_percentiles(1.2), uncorrected=_percentiles(1.0),
            refused=_percentiles(0.2),
        over_time=_over_time(1.2), corrected_curve=_curve(1.2), uncorrected_curve=_curve(1.0),
    )  # fmt: skip


def _sweep() -> Sweep:
    rates = (250.0, 500.0, 1000.0, 2000.0)
    points = [
        SweepPoint(
            offered_per_second=rate, achieved_per_second=min(rate, 1100.0), is_reached=rate <= 1000,
            is_sustained=rate <= 1000, is_knee=rate == 1000, tries=1, errors=0,
            corrected=_percentiles(1 + (rate / 1000) ** 4),
            uncorrected=_percentiles(1 + rate / 1000), server_cpu_percent=min(100.0, rate / 10),
            generator_cpu_percent=rate / 25,
        )
        for rate in rates
    ]  # fmt: skip
    return Sweep("search", "The highest rate that was sustained.", 1000.0, points)


def example(kind: str = "sweep") -> Result:
    """A result of ``kind`` ``run`` or ``sweep``."""
    environment = Environment(
        machine="Example CPU", cores=2, memory_bytes=8 << 30, kernel="Linux 6.1", python="3.11.0",
        event_loop="uvloop", versions={"omendb-ws": "0.1.0", "numpy": "2.0.0"},
        git_revision="0123abc+", server="omendb-ws/0.1.0", durability="memory",
    )  # fmt: skip
    looks = [ResourcePoint(float(at), 40.0, 90.0, 200_000_000 + 1000 * at) for at in range(10)]
    resources = Resources(
        1, 40.0, 90.0, 200_000_000, 200_009_000, 1000.0, looks,
        {"omendb_searches_total": 0.0}, {"omendb_searches_total": 5000.0},
    )  # fmt: skip
    push = Push(
        "live",
        10,
        100,
        900,
        90.0,
        1800,
        1,
        {"closed_4408": 1},
        20,
        _percentiles(2.0, 900),
        _percentiles(2.0, 920),
        _over_time(2.0),
        _curve(2.0),
        Truth(50, 50, 0, 0, 1.0, []),
    )
    wrong = Mismatch(17, 3, [[101.0, 0.5]], [[100.0, 0.5]])
    return Result(
        schema=SCHEMA, kind=kind, scenario="mixed", description="An example; nothing was measured.",
        started_at="2026-01-01T00:00:00+00:00", warm_up_seconds=2.0, measured_seconds=10.0,
        is_honest_load=True, environment=environment,
        settings={"collection": {"dim": 128, "capacity": 100_000}, "search": {"rate": 500.0}},
        operations=[
            _operation("search", "poisson", 500.0, 1), _operation("add", "closed", None, 64)
        ],
        pushes=[push], resources=resources, truth=Truth(100, 99, 1, 1, 0.999, [wrong]),
        sweep=_sweep() if kind == "sweep" else None, notes=["An example."],
    )  # fmt: skip


if __name__ == "__main__":
    sys.stdout.buffer.write(to_json(example()))
