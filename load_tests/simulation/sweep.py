"""A sweep: the same load at rising rates, until the server cannot follow; and where that begins.

*The knee* is the highest rate that was sustained, out of those up to which every lower one was too.
A rate is *sustained* if it was reached (97% of what was offered was answered in time), nothing was
refused or left unanswered, and the corrected p99 stays within ``p99_limit_ms``; by default that is
ten times the p99 at the lowest rate, and at least MIN_LIMIT_MS. A rate that is not is tried once
more, because a machine that was busy with something else for a moment is no knee. After the first
rate that was not either time, the gap between it and the knee is halved a few times, and the sweep
ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from .coordinator import run, with_requests
from .results import Operation, Result, Sweep, SweepPoint
from .scenario import Requests, Scenario, ScenarioError
from .server import Target

#: Below this no user notices, however many times the best case it is.
MIN_LIMIT_MS: Final = 20.0
TIMES_LOWEST: Final = 10.0
#: Rates of a sweep that was given none, as shares of what a closed run achieves.
SHARES: Final = (0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1)
_HALVINGS: Final = 2
_TRIES: Final = 2
OnPoint = Callable[[SweepPoint], None]


@dataclass(frozen=True)
class _Tried:
    """A rate, and what came of it."""

    result: Result
    operation: Operation
    is_sustained: bool
    tries: int = 1


def sweep(
    scenario: Scenario,
    target: Target,
    name: str,
    rates: Sequence[float],
    p99_limit_ms: float | None = None,
    on_point: OnPoint = lambda point: None,
) -> Result:
    """Try ``rates`` of the operation ``name``, rising; the result holds the last run and all."""
    settings = scenario.requests.get(name)
    if settings is None:
        raise ScenarioError(f"scenario {scenario.name} has no {name} to sweep over")
    if settings.arrivals == "closed":
        settings = replace(settings, arrivals="poisson")
    tried: list[_Tried] = []
    limit_ms = p99_limit_ms

    def attempt(rate: float, number: int) -> _Tried:
        nonlocal limit_ms
        result = run(_at(scenario, name, settings, rate), target)
        operation = next(one for one in result.operations if one.name == name)
        if limit_ms is None:
            limit_ms = max(TIMES_LOWEST * (operation.corrected.p99_ms or 0.0), MIN_LIMIT_MS)
        one = _Tried(result, operation, is_sustained(operation, limit_ms), number)
        on_point(_point(one, None))
        return one

    def holds(rate: float) -> bool:
        tried.append(_until_sustained(lambda number: attempt(rate, number)))
        return tried[-1].is_sustained

    _search(rates, holds)
    found = points(tried)
    knee = next((one.offered_per_second for one in found if one.is_knee), None)
    definition = (
        f"the highest rate, with all lower ones, of which 97% were answered in time, nothing was "
        f"refused, and the corrected p99 was at most {limit_ms:.1f} ms, in one of {_TRIES} tries"
    )
    last = tried[-1].result
    return replace(last, kind="sweep", sweep=Sweep(name, definition, knee, found))


def _until_sustained(attempt: Callable[[int], _Tried]) -> _Tried:
    """The first attempt that was sustained, else the last."""
    for number in range(1, _TRIES + 1):
        found = attempt(number)
        if found.is_sustained:
            break
    return found


def _search(rates: Sequence[float], holds: Callable[[float], bool]) -> None:
    """Try rising rates until one fails, then halve the gap below it."""
    highest = 0.0
    for rate in sorted(rates):
        if holds(rate):
            highest = rate
            continue
        too_high = rate
        for _ in range(_HALVINGS if highest else 0):
            middle = (highest + too_high) / 2
            if holds(middle):
                highest = middle
            else:
                too_high = middle
        return


def is_sustained(operation: Operation, limit_ms: float) -> bool:
    """Whether the server followed."""
    p99_ms = operation.corrected.p99_ms
    return (
        operation.is_reached is True
        and not operation.errors
        and not operation.unanswered
        and not operation.unsent
        and p99_ms is not None
        and p99_ms <= limit_ms
    )


def points(tried: Sequence[_Tried]) -> list[SweepPoint]:
    """By offered rate, the knee marked."""
    ordered = sorted(tried, key=lambda one: one.operation.offered_per_second or 0.0)
    knee = None
    for one in ordered:
        if not one.is_sustained:
            break
        knee = one
    return [_point(one, knee) for one in ordered]


def _point(one: _Tried, knee: _Tried | None) -> SweepPoint:
    operation, resources = one.operation, one.result.resources
    return SweepPoint(
        offered_per_second=operation.offered_per_second or 0.0,
        achieved_per_second=operation.achieved_per_second,
        is_reached=operation.is_reached is True,
        is_sustained=one.is_sustained,
        is_knee=one is knee,
        tries=one.tries,
        errors=sum(operation.errors.values()),
        corrected=operation.corrected,
        uncorrected=operation.uncorrected,
        server_cpu_percent=resources.server_cpu_percent,
        generator_cpu_percent=resources.generator_cpu_percent,
    )


def _at(scenario: Scenario, name: str, settings: Requests, rate: float) -> Scenario:
    return with_requests(scenario, name, replace(settings, rate=rate, times_capacity=0.0))
