"""Standing queries through a server: how long after an add the push is there; and all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..simulation.results import Push, Result
from . import load
from .load import NO_SETTINGS
from .row import Effort, Row

_CONNECTIONS = 100
_HALF_LIVES_SECONDS = (3600.0, 60.0, 10.0)
#: A lag that grows is no lag: the server falls behind.
_GROWTH = 2.0
_GROWTH_MS = 10.0


def live(effort: Effort) -> list[Row]:
    """10,000 standing top-10 queries, 10,000 rows a second."""
    return _lags(
        "10,000 live queries, 10,000 rows/s: push lag", effort, 50.0,
        kind="live", add={"arrivals": "constant", "rate": 156.25, "rows": 64},
        live={"connections": _CONNECTIONS, "per_connection": 100, "verified": 0.005},
    )  # fmt: skip


def decayed(effort: Effort) -> list[Row]:
    """The same with answers in which newer rows count for more, by how much longer they live.

    Every add that a push tells of counts, as pushes are merged where the server falls behind. First
    the window's rows are replaced once, at the same pace: then their ages are what they stay.
    """
    return [row for half_life in _HALF_LIVES_SECONDS for row in _decayed(effort, half_life)]


def _decayed(effort: Effort, half_life: float) -> list[Row]:
    return _lags(
        f"10,000 decayed live queries, half-life {half_life:g} s: each add's lag", effort, 10.0,
        kind="live", of="told", load={"warm_up_seconds": load.CAPACITY / 10_000},
        add={"arrivals": "constant", "rate": 156.25, "rows": 64},
        live={
            "connections": _CONNECTIONS, "per_connection": 100, "verified": 0.005,
            "shapes": [{"decay": {"half_life": half_life}}],
        },
    )  # fmt: skip


def match(effort: Effort) -> list[Row]:
    """100,000 match queries, 5,000 rows a second.

    Between directions that are uniform on the sphere a score of 0.335 is a matter of one in some
    19,000: 26,000 hits a second, and some 15,000 pushes to those who heard of nothing for seconds.
    """
    return _lags(
        "100,000 match queries, 5,000 rows/s, 26,000 hits/s: push lag", effort, 60.0,
        kind="match", add={"arrivals": "constant", "rate": 78.125, "rows": 64},
        match={
            "connections": _CONNECTIONS, "per_connection": 1000, "min_score": 0.335,
            "verified": 0.0005,
        },
    )  # fmt: skip


def match_million(effort: Effort) -> list[Row]:
    """1,000,000 match queries, 500 rows a second; to subscribe them takes half a minute or more."""
    return _lags(
        "1,000,000 match queries, 500 rows/s: push lag", effort, 250.0,
        kind="match", add={"arrivals": "constant", "rate": 7.8125, "rows": 64},
        match={
            "connections": 1000, "per_connection": 1000, "min_score": 0.335, "verified": 0.00005,
        },
        settings={"max_server_subscriptions": 1_000_000},
    )  # fmt: skip


def mixed(effort: Effort) -> list[Row]:
    """100,000 rows/s, 5,000 QPS and 1,000 standing queries for a minute; nothing may get lost."""
    with load.server() as target:
        results = load.loads(
            target, 1, effort.long_seconds,
            search={
                "arrivals": "poisson", "rate": 5000, "connections": 8, "verified": 0.0005,
            },
            add={"arrivals": "constant", "rate": 390.625, "rows": 256},
            live={"connections": 10, "per_connection": 100, "verified": 0.05},
        )  # fmt: skip
    (result,) = results
    search = load.operation(result, "search").corrected
    faults = [*load.faults(results), *_growing(load.pushed(result, "live"))]
    notes = [*load.doubts(results), *_pushes(load.pushed(result, "live"))]
    name = f"mixed, {effort.long_seconds:.0f} s: search p99"
    return [
        Row(name, "ms", _some(search.p99_ms), "at most", 10.0, faults=faults, notes=notes),
        Row("  add p99", "ms", _some(load.operation(result, "add").corrected.p99_ms)),
        Row("  push lag p99", "ms", _some(load.pushed(result, "live").lag.p99_ms)),
    ]


def _lags(
    name: str,
    effort: Effort,
    aim: float,
    kind: str,
    of: str = "lag",
    settings: Mapping[str, int] = NO_SETTINGS,
    **tables: Any,
) -> list[Row]:
    """p50 and p99; a run is twice as long as others, so that growing would show."""
    with load.server(settings) as target:
        results = load.loads(
            target, effort.runs, 2 * effort.seconds, collection={"ids": "auto"}, **tables
        )
    pushes = [load.pushed(result, kind) for result in results]
    faults = [*load.faults(results), *[one for push in pushes for one in _growing(push)]]
    notes = [*load.doubts(results), *_pushes(pushes[0]), *_cpu(results)]
    p99, p50 = (
        [value for push in pushes for value in _some(getattr(getattr(push, of), which))]
        for which in ("p99_ms", "p50_ms")
    )
    return [
        Row(f"{name} p99", "ms", p99, "at most", aim, faults=faults, notes=notes),
        Row("  p50", "ms", p50),
    ]


def _some(value: float | None) -> list[float]:
    return [] if value is None else [value]


def _growing(push: Push) -> list[str]:
    """Whether the lag of the last third is above that of the first."""
    times = [one.p50_ms for one in push.over_time if one.p50_ms is not None]
    third = len(times) // 3
    if not third:
        return []
    first, last = (sorted(part)[third // 2] for part in (times[:third], times[-third:]))
    if last <= _GROWTH * first + _GROWTH_MS:
        return []
    return [f"{push.kind}: the lag grew from {first:.1f} to {last:.1f} ms"]


def _pushes(push: Push) -> list[str]:
    merged = f", {push.merged / push.pushes:.0%} of them merged" if push.merged else ""
    return [f"{push.pushes_per_second:,.0f} pushes/s{merged}"]


def _cpu(results: list[Result]) -> list[str]:
    used = [one.resources for one in results]
    server = max((one.server_cpu_percent or 0.0 for one in used), default=0.0)
    generator = max((one.generator_cpu_percent for one in used), default=0.0)
    return [f"CPU: server {server:.0f}%, generator {generator:.0f}%"]
