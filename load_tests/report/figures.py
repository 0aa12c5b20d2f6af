"""What is plotted, as data: out of a Result come Figures, and every drawer draws the same ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..simulation.results import CurvePoint, Interval, Operation, Push, Result, Sweep
from . import axes
from .axes import Axis


@dataclass(frozen=True)
class Series:
    """A line. A y of None is a gap. ``colour`` counts in the palette; ``has_points`` marks each.

    ``hollow`` are places of points that are drawn hollow.
    """

    name: str
    xs: list[float]
    ys: list[float | None]
    colour: int
    is_dashed: bool = False
    has_points: bool = False
    hollow: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Mark:
    """A vertical line at ``x`` with a word."""

    x: float
    label: str


@dataclass(frozen=True)
class Figure:
    """One plot. ``name`` is that of its file."""

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: list[Series]
    marks: list[Mark] = field(default_factory=list)


def figures(result: Result) -> list[Figure]:
    """Every plot that the result has data for; the sweep first."""
    found: list[Figure] = []
    if result.sweep is not None and result.sweep.points:
        found += [rate_latency(result.sweep), rate_achieved(result.sweep)]
    for operation in result.operations:
        found += operation_figures(operation)
    for push in result.pushes:
        found += push_figures(push)
    return found + resource_figures(result)


# -- the sweep --------------------------------------------------------------------------------


def rate_latency(sweep: Sweep) -> Figure:
    """Percentiles against the offered rate, with the knee."""
    points = sweep.points
    xs = [point.offered_per_second for point in points]
    hollow = frozenset(at for at, point in enumerate(points) if not point.is_sustained)
    series = [
        Series("p50", xs, [p.corrected.p50_ms for p in points], 0, False, True, hollow),
        Series("p99", xs, [p.corrected.p99_ms for p in points], 1, False, True, hollow),
        Series("p99.9", xs, [p.corrected.p999_ms for p in points], 2, False, True, hollow),
        Series("p99 uncorrected", xs, [p.uncorrected.p99_ms for p in points], 1, True),
    ]
    return Figure(
        name="latency-by-rate",
        title=f"{sweep.operation}: latency against rate",
        caption=f"Hollow points: the rate was not sustained. Knee: {sweep.definition}",
        x=axes.linear("offered, requests a second", xs),
        y=axes.latency("ms", _values(series)),
        series=series,
        marks=_knee(sweep),
    )


def rate_achieved(sweep: Sweep) -> Figure:
    """What came back of what was offered."""
    xs = [point.offered_per_second for point in sweep.points]
    achieved: list[float | None] = [point.achieved_per_second for point in sweep.points]
    hollow = frozenset(at for at, point in enumerate(sweep.points) if not point.is_reached)
    series = [
        Series("achieved", xs, achieved, 0, False, True, hollow),
        Series("as offered", [0.0, max(xs)], [0.0, max(xs)], 5, True),
    ]
    return Figure(
        name="achieved-by-rate",
        title=f"{sweep.operation}: achieved against offered rate",
        caption="Hollow points: the offered rate was not reached.",
        x=axes.linear("offered, requests a second", xs),
        y=axes.linear("achieved, requests a second", _values(series)),
        series=series,
        marks=_knee(sweep),
    )


def _knee(sweep: Sweep) -> list[Mark]:
    if sweep.knee_per_second is None:
        return []
    return [Mark(sweep.knee_per_second, f"knee: {sweep.knee_per_second:,.0f}/s")]


# -- operations and pushes ----------------------------------------------------------------------


def operation_figures(operation: Operation) -> list[Figure]:
    """Over time, and by percentile with the uncorrected beside."""
    found = []
    if operation.over_time:
        caption = "Counted from the intended time of sending (corrected)."
        found.append(_over_time(operation.name, "latency", caption, operation.over_time))
    curves = [("corrected", operation.corrected_curve, operation.corrected.count)]
    if operation.arrivals != "closed":
        count = operation.uncorrected.count
        curves.append(("uncorrected", operation.uncorrected_curve, count))
    caption = (
        "In a closed loop the two latencies are the same."
        if operation.arrivals == "closed"
        else "Corrected: from the intended time of sending. Uncorrected: from the actual one."
    )
    return found + _by_percentile(operation.name, "latency", caption, curves)


def push_figures(push: Push) -> list[Figure]:
    """The lag of pushes over time, and by percentile."""
    found = []
    caption = "From just before the add was sent until the push that shows its row was received."
    if push.over_time:
        found.append(_over_time(push.kind, "push lag", caption, push.over_time))
    curves = [("push lag", push.lag_curve, push.lag.count)]
    return found + _by_percentile(push.kind, "push lag", caption, curves)


def _over_time(name: str, what: str, caption: str, intervals: list[Interval]) -> Figure:
    xs = [interval.at_seconds for interval in intervals]
    series = [
        Series("p50", xs, [interval.p50_ms for interval in intervals], 0),
        Series("p99", xs, [interval.p99_ms for interval in intervals], 1),
        Series("max", xs, [interval.max_ms for interval in intervals], 3, True),
    ]
    return Figure(
        name=f"{name}-over-time",
        title=f"{name}: {what} over time",
        caption=caption,
        x=axes.linear("seconds since the end of the warm-up", xs, from_zero=False),
        y=axes.latency("ms", _values(series)),
        series=series,
    )


def _by_percentile(
    name: str, what: str, caption: str, curves: list[tuple[str, list[CurvePoint], int]]
) -> list[Figure]:
    series = [
        _curve(label, curve, count, colour)
        for colour, (label, curve, count) in enumerate(curves)
        if curve
    ]
    if not series:
        return []
    return [
        Figure(
            name=f"{name}-percentiles",
            title=f"{name}: {what} by percentile",
            caption=caption + " The last point is the maximum.",
            x=axes.percentiles("percentile", (x for one in series for x in one.xs)),
            y=axes.latency("ms", _values(series)),
            series=series,
        )
    ]


def _curve(name: str, curve: list[CurvePoint], count: int, colour: int) -> Series:
    """The 100th percentile has no place on such an axis: it stands where 1 of ``count`` is left."""
    below = max((point.percentile for point in curve if point.percentile < 100), default=0.0)
    last = max(below, 100 - 100 / max(count, 2))
    xs = [min(point.percentile, last) for point in curve]
    return Series(name, xs, [point.ms for point in curve], colour, is_dashed=colour > 0)


# -- resources --------------------------------------------------------------------------------


def resource_figures(result: Result) -> list[Figure]:
    """CPU of both sides, and the server's memory."""
    looks = result.resources.over_time
    if not looks:
        return []
    xs = [look.at_seconds for look in looks]
    x = axes.linear("seconds since the end of the warm-up", xs, from_zero=False)
    cpu = [Series("generator", xs, [look.generator_cpu_percent for look in looks], 5, True)]
    server = [look.server_cpu_percent for look in looks]
    if any(one is not None for one in server):
        cpu.insert(0, Series("server", xs, server, 0))
    found = [
        Figure(
            "cpu", "CPU", "Percent of one core.", x, axes.linear("%", [100.0, *_values(cpu)]), cpu
        )
    ]
    mib = [
        None if look.server_resident_bytes is None else look.server_resident_bytes / (1 << 20)
        for look in looks
    ]
    if any(one is not None for one in mib):
        memory = [Series("resident", xs, mib, 0)]
        axis = axes.linear("MiB", _values(memory))
        caption = "Resident memory of the server's process."
        found.append(Figure("memory", "Server memory", caption, x, axis, memory))
    return found


def _values(series: Iterable[Series]) -> list[float]:
    return [y for one in series for y in one.ys if y is not None]
