"""Loads of the simulation as the aims need them: a full window of 100,000 rows of 128 in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ..simulation import scenario
from ..simulation.coordinator import run
from ..simulation.results import Operation, Push, Result
from ..simulation.server import Target, serving
from .row import Effort

CAPACITY, DIM = 100_000, 128


#: A server as it is by default.
NO_SETTINGS: Final[Mapping[str, int]] = MappingProxyType({})


@contextmanager
def server(settings: Mapping[str, int] = NO_SETTINGS) -> Iterator[Target]:
    """One that is fresh, with these settings besides."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "omendb.toml"
        file.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        with serving(["--config", str(file)]) as target:
            yield target


def loads(target: Target, runs: int, seconds: float, **tables: Any) -> list[Result]:
    """``runs`` of a load, each on a collection of its own."""
    document = {
        "load": {"seconds": seconds, "warm_up_seconds": 1.0, **tables.pop("load", {})},
        "collection": {"dim": DIM, "capacity": CAPACITY, **tables.pop("collection", {})},
        **tables,
    }
    return [
        run(scenario.parse("aim", {name: dict(one) for name, one in document.items()}, {}), target)
        for _ in range(runs)
    ]


def several(effort: Effort, **tables: Any) -> list[Result]:
    """``effort.runs`` of it against a fresh server."""
    with server() as target:
        return loads(target, effort.runs, effort.seconds, **tables)


def operation(result: Result, name: str) -> Operation:
    """The one of that name."""
    return next(one for one in result.operations if one.name == name)


def pushed(result: Result, kind: str) -> Push:
    """What subscriptions of that kind got."""
    return next(one for one in result.pushes if one.kind == kind)


def faults(results: list[Result]) -> list[str]:
    """Why figures do not count: what was refused, lost, wrong, or not sent as it was meant to."""
    found: list[str] = []
    for result in results:
        for one in result.operations:
            if one.is_reached is False:
                offered, achieved = one.offered_per_second or 0.0, one.achieved_per_second
                found.append(f"{one.name}: {achieved:,.0f} of {offered:,.0f}/s reached")
            lost = {**one.errors, "unanswered": one.unanswered, "unsent": one.unsent}
            found += [f"{one.name}: {count} {what}" for what, count in lost.items() if count]
        for push in result.pushes:
            lost = {**push.errors, "gaps": push.gaps}
            found += [f"{push.kind}: {count} {what}" for what, count in lost.items() if count]
        for what, truth in result.truths:
            if truth.mismatches:
                found.append(f"{truth.mismatches} wrong {what}")
    return found


def doubts(results: list[Result]) -> list[str]:
    """What a reader must know: the generator may be what was measured."""
    late = sum(not one.is_honest_load for one in results)
    return [f"in {late} of {len(results)} runs the generator was late or busy"] if late else []
