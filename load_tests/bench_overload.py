"""Measures what a server does that is asked for more than it can do.

    python -m load_tests.bench_overload [--seconds 5] [--times 0.5,1,2,5] [--vectors 16] [--texts]

The load of ``scenarios/overload.toml`` at shares of the peak, made by processes of its own. The
peak is what a closed run achieves, with 64 searches in flight or with 256, whichever is more.
Generator and server share the machine, and at five times the peak the generator takes much more of
it: so for each rate the peak is measured once more while another process takes as much of a core as
the generator took more then than in that closed run, and goodput is compared with that, or with
what was offered where that is less. How much CPU the server took for each search that it answered
is said of both: that compares them whatever else the machine does.

The load does not listen: it sends at its rate whatever it is told. A last line is of clients that
do: 8,192 searches in flight, and whoever is refused waits as it is told and up to as long again, as
our clients do.

One more connection searches every 20 ms all the while. It asks for less than its share, so none of
its searches should be refused; and when the load is over, recovery is until the last of them that
took longer than ``WELL_MS`` was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import numpy as np
import orjson

import omendb_ws
from omendb_ws.wire import binary

from .figures import where
from .simulation import scenario
from .simulation.connection import Connection, Endpoint, framed
from .simulation.coordinator import run, with_requests
from .simulation.results import Operation, Resources
from .simulation.scenario import Scenario
from .simulation.server import Target, serving

PROBES_SECONDS: Final = 0.02
WELL_MS: Final = 50.0
AFTER_SECONDS: Final = 2.0
_IN_FLIGHT: Final = (64, 256)
#: Of clients that wait when they are refused: four tenths of a second of work.
_MANY_IN_FLIGHT: Final = 8_192
_SLICE_SECONDS: Final = 0.01
_PROBED: Final = "probed"


@dataclass(frozen=True)
class Peak:
    """What a closed run achieved; ``generator_cores``: how much of a core its generator took."""

    in_flight: int
    per_second: float
    generator_cores: float
    server_us: float


@dataclass(frozen=True)
class Case:
    """What came of one rate; ``peak`` is that beside as much other work."""

    name: str
    operation: Operation
    resources: Resources
    peak: Peak
    probed: list[tuple[float, float, bool]]
    ended_at: float

    def line(self) -> str:
        """The figures, in one line."""
        one = self.operation
        wanted = min(self.peak.per_second, one.offered_per_second or self.peak.per_second)
        took = [ms for _, ms, is_refused in self.probed if not is_refused]
        bad = [at + ms / 1000 for at, ms, refused in self.probed if refused or ms > WELL_MS]
        recovery = max([0.0, *(at - self.ended_at for at in bad)])
        refused = sum(one.errors.values())
        server_us = _server_us(one, self.resources)
        return (
            f"{self.name:>9} {one.offered_per_second or 0:>9,.0f}/s offered,"
            f" {one.achieved_per_second:,.0f}/s answered ({one.achieved_per_second / wanted:.0%}),"
            f" {server_us:.0f} us of the server's CPU each (peak {self.peak.server_us:.0f}),"
            f" p50 {_ms(one.uncorrected.p50_ms)}, p99 {_ms(one.uncorrected.p99_ms)};"
            f" {refused:,} refused, p99 {_ms(one.refused.p99_ms)};"
            f" beside it p50 {np.percentile(took or [np.nan], 50):.1f},"
            f" p99 {np.percentile(took or [np.nan], 99):.0f} ms,"
            f" {len(self.probed) - len(took)} of {len(self.probed)} refused;"
            f" recovery {recovery:.2f} s"
        )


def _server_us(one: Operation, resources: Resources) -> float:
    """The server's CPU for each search that it answered."""
    cores = (resources.server_cpu_percent or 0.0) / 100
    return 1e6 * cores / max(one.achieved_per_second, 1.0)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


# -- beside the load --------------------------------------------------------------------------


def _burn(share: float, pipe: Pipe) -> None:
    """Take that share of a core until the pipe says something."""
    while not pipe.poll():
        until = time.perf_counter() + share * _SLICE_SECONDS
        while time.perf_counter() < until:
            pass
        time.sleep((1 - share) * _SLICE_SECONDS)


async def _probe(url: str, pipe: Pipe) -> list[tuple[float, float, bool]]:
    connection = await Connection.open(Endpoint(url))
    opened = {"op": "open", "id": 1, "collection": _PROBED}
    handle = int((await connection.ok(orjson.dumps(opened), 1))["handle"])
    found: list[tuple[float, float, bool]] = []
    number = 1
    pipe.send("ready")
    while not pipe.poll():
        number += 1
        frame = binary.encode_search(number, handle, np.ones((1, 8), np.float32))
        began = time.perf_counter()
        answer = await connection.answer(framed(frame), number)
        took = time.perf_counter() - began
        found.append((began, took * 1000, answer[:1] == b"{"))
        await asyncio.sleep(max(0.0, PROBES_SECONDS - took))
    await connection.close()
    return found


def _probing(url: str, pipe: Pipe) -> None:
    pipe.send(asyncio.run(_probe(url, pipe)))


@contextmanager
def _beside(work: Any, *given: Any) -> Iterator[Pipe]:
    """A process that works until the block is over."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=work, args=(*given, theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        with suppress(OSError):  # it is over already
            ours.send("over")
        process.join(10.0)
        if process.is_alive():
            process.kill()
            process.join()


# -- the load ---------------------------------------------------------------------------------


def _closed(wanted: Scenario, in_flight: int) -> Scenario:
    search = wanted.requests["search"]
    settings = replace(
        search, arrivals="closed", rate=0.0, times_capacity=0.0, verified=0.0,
        in_flight=max(1, in_flight // search.connections),
    )  # fmt: skip
    return with_requests(wanted, "search", settings)


def _peak(wanted: Scenario, target: Target, in_flight: int, burnt: float) -> Peak:
    """What a closed run achieves beside another process that takes so much of a core."""
    with _beside(_burn, min(burnt, 0.99)):
        result = run(_closed(wanted, in_flight), target)
    one = result.operations[0]
    server_us = _server_us(one, result.resources)
    return Peak(in_flight, one.achieved_per_second, _of_a_core(result.resources), server_us)


def _of_a_core(resources: Resources) -> float:
    return resources.generator_cpu_percent / 100


def _case(wanted: Scenario, target: Target, times: float | None) -> Case:
    """``times`` the peak; None: of clients that wait when they are refused."""
    peak = max(
        (_peak(wanted, target, in_flight, 0.0) for in_flight in _IN_FLIGHT),
        key=lambda one: one.per_second,
    )
    if times is None:
        load = _closed(wanted, _MANY_IN_FLIGHT)
    else:
        rate = times * peak.per_second
        settings = wanted.requests["search"]
        settings = replace(settings, arrivals="poisson", rate=rate, times_capacity=0.0)
        load = with_requests(wanted, "search", settings)
    ends: list[float] = []
    with _beside(_probing, target.url) as pipe:
        pipe.recv()
        result = run(load, target, lambda at, looks: ends.append(time.perf_counter()))
        time.sleep(max(0.0, ends[-1] + AFTER_SECONDS - time.perf_counter()))
        pipe.send("over")
        probed = pipe.recv()
    more = max(0.0, _of_a_core(result.resources) - peak.generator_cores)
    same = _peak(wanted, target, peak.in_flight, more)
    name = "clients" if times is None else f"{times:g} x"
    return Case(name, result.operations[0], result.resources, same, probed, ends[-1])


async def _make_probed(url: str) -> None:
    async with omendb_ws.connect(url) as db:
        await db.create(_PROBED, dim=8, capacity=100)
        await db.add(_PROBED, np.ones((100, 8), np.float32), ids=np.arange(100))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m load_tests.bench_overload")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (default 5)")
    parser.add_argument("--times", default="0.5,1,2,5", help="of the peak")
    parser.add_argument("--vectors", type=int, default=1, help="of a search (default 1)")
    parser.add_argument("--texts", action="store_true", help="searches as JSON")
    options = parser.parse_args()
    overrides: dict[str, Any] = {"load.seconds": options.seconds, "search.verified": 0.0}
    overrides["search.vectors"] = options.vectors
    overrides["search.texts"] = options.texts
    wanted = scenario.read("overload", overrides)
    print(where())
    for times in [*map(float, options.times.split(",")), None]:
        with serving() as target:
            asyncio.run(_make_probed(target.url))
            print(_case(wanted, target, times).line(), flush=True)


if __name__ == "__main__":
    main()
