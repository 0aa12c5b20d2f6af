"""What a cluster costs, and how it bears losses, beside a server by itself, in one run.

    python -m load_tests.bench_cluster [--turns 3] [--seconds 3] [--parts rates catch-up ...]

Starts a server over the local journal, a cluster over one server of NATS (R1: it stores each change
once) and one over three (R3), each with three nodes, all on this machine, and measures them by
turns: adds at full speed and at a fixed rate, with the CPU that a row takes of the owner, of a
follower and of NATS; how much later than its acknowledgement a change is visible at a follower; how
fast a fresh follower catches up; searches by one, two and three nodes; how long changes wait once
the owner, or the stream's leader in NATS, is killed, and whether reads and pushes on the others go
on. All of it shares the machine's cores, so ratios and CPU say more than rates.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import numpy as np
from numpy.typing import NDArray

import omendb_ws

from .cluster import catching_up, outages, queries, rates
from .cluster.deployed import Deployed, Placed, alone, clustered, made
from .cluster.rates import Load, Pace, fill
from .figures import Figure, show, where

PARTS: Final = ("rates", "catch-up", "searches", "outages")
#: Rows are made once, and added again and again.
_VECTORS: Final = 16_384
#: What is wanted, as it is printed below each part.
AIMS: Final = {
    "rates": "R3 ≥ 200,000 rows/s; acknowledged at the fixed rate p50 ≤ 5 ms; visible p50 ≤ 2 ms",
    "catch-up": "≥ 1,000,000 rows/s",
    "searches": "≥ 0.9 of linear by CPU",
    "outages": "owner killed ≤ 2.5 s, NATS' leader killed ≤ 10 s; reads and pushes never stop",
}


class Bench:
    """One run: the arguments, the rows, and what was found by name and unit."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        chance = np.random.default_rng(1)
        shape = _VECTORS, options.dim
        self.vectors: NDArray[np.float32] = chance.standard_normal(shape).astype(np.float32)
        self._found: dict[tuple[str, str], list[float]] = {}

    def note(self, name: str, unit: str, value: float) -> None:
        """One value of a figure."""
        self._found.setdefault((name, unit), []).append(value)

    def show(self, part: str) -> None:
        """Print what was noted, and what was wanted."""
        print(f"\n{part} (wanted: {AIMS[part]})")
        show([Figure(name, unit, values) for (name, unit), values in self._found.items()])
        self._found.clear()

    def median(self, name: str, unit: str) -> float:
        """Of what was noted so far."""
        return statistics.median(self._found[name, unit])

    # -- parts ------------------------------------------------------------------------------------

    async def rates(self, deployments: Sequence[Deployed]) -> None:
        """Adds by turns."""
        options = self.options
        full = Load(options.rows, options.in_flight, options.seconds)
        fixed = Load(options.rows, 0, options.seconds, options.rows_per_second)
        places = [await self._made(one, "added", replicas=2) for one in deployments]
        for placed in places:
            await fill(placed.owner, "added", self.vectors, options.capacity)
        for _ in range(options.turns):
            for load, speed in (full, "full speed"), (fixed, f"{options.rows_per_second:,} rows/s"):
                for one, placed in zip(deployments, places, strict=True):
                    pace = await rates.measure(one, placed, "added", load, self.vectors)
                    self._note_pace(f"{one.name}, {speed}", one, pace)
        await _drop(places, "added")

    def _note_pace(self, name: str, deployed: Deployed, pace: Pace) -> None:
        self.note(name, "rows/s", pace.rows_per_second)
        self.note(f"{name}: acknowledged p50", "ms", pace.acknowledged_ms[0])
        self.note(f"{name}: acknowledged p99", "ms", pace.acknowledged_ms[1])
        if deployed.cluster is not None:
            self.note(f"{name}: visible later p50", "ms", pace.visible_ms[0])
            self.note(f"{name}: visible later p99", "ms", pace.visible_ms[1])
        for who, cpu_us in pace.cpu_us.items():
            if deployed.cluster is not None or who in ("owner", "client"):
                self.note(f"{name}: {who}'s CPU", "µs/row", cpu_us)

    async def catch_up(self, deployments: Sequence[Deployed]) -> None:
        """Fresh followers by turns."""
        clusters = [one for one in deployments if one.cluster is not None]
        places = [await self._made(one, "behind", replicas=3) for one in clusters]
        for placed in places:
            await fill(placed.owner, "behind", self.vectors, self.options.capacity)
        for _ in range(self.options.turns):
            for one, placed in zip(clusters, places, strict=True):
                caught_up = await catching_up.measure(placed, "behind")
                self.note(f"{one.name}, a fresh follower", "rows/s", caught_up.rows_per_second)
                self.note(f"{one.name}, the follower's CPU", "µs/row", caught_up.cpu_us)
        await _drop(places, "behind")

    async def searches(self, deployments: Sequence[Deployed]) -> None:
        """One, two and three nodes of the last cluster by turns."""
        cluster = deployments[-1]
        placed = await self._made(cluster, "searched", replicas=3)
        await fill(placed.owner, "searched", self.vectors, self.options.searched_rows)
        seconds, dim = self.options.seconds, self.options.dim
        with queries.limited(cluster.members, self.options.percent) as is_limited:
            limit = f"{self.options.percent}% of a core" if is_limited else "as much as there is"
            for _ in range(self.options.turns):
                for count in 1, 2, 3:
                    found = await queries.measure(cluster.members[:count], "searched", seconds, dim)
                    self.note(f"{count} nodes, {limit} each", "QPS", found.per_second)
                    self.note(f"{count} nodes: CPU of all", "µs", found.cpu_us)
            for count in 2, 3:
                name = f"{count} nodes, {limit} each"
                one = self.median(f"1 nodes, {limit} each", "QPS")
                self.note(f"{count} nodes", "linear", self.median(name, "QPS") / one / count)
                cpu = self.median("1 nodes: CPU of all", "µs")
                by_cpu = cpu / self.median(f"{count} nodes: CPU of all", "µs")
                self.note(f"{count} nodes, by CPU", "linear", by_cpu)

    async def outages(self) -> None:
        """A cluster each: it is not whole afterwards."""
        for _ in range(self.options.turns):
            for what, measure in (
                ("owner killed", outages.owner_killed),
                ("NATS' leader killed", outages.stream_leader_killed),
            ):
                async with clustered("R3", nats=3) as cluster:
                    outage = await measure(cluster)
                self.note(f"{what}: changes again after", "s", outage.changes_again)
                self.note(f"{what}: longest without an answer", "s", outage.reads_gap)
                self.note(f"{what}: pushed after its acknowledgement", "s", outage.pushed_after)
                self.note(f"{what}: others without a change", "s", outage.others_gap)

    async def _made(self, deployed: Deployed, name: str, replicas: int) -> Placed:
        options = self.options
        return await made(
            deployed, name, dim=options.dim, capacity=options.capacity, replicas=replicas
        )


async def _drop(places: Sequence[Placed], name: str) -> None:
    """Nothing of it is to be followed in the next part."""
    for placed in places:
        async with omendb_ws.connect(placed.owner.url) as db:
            await db.drop(name)


async def run(options: argparse.Namespace) -> None:
    """All parts that were asked for."""
    bench = Bench(options)
    if set(options.parts) - {"outages"}:
        async with AsyncExitStack() as stack:
            deployments = [
                await stack.enter_async_context(one)
                for one in (alone(options.data_dir), clustered("R1", nats=1), clustered("R3", 3))
            ]
            for part, measure in (
                ("rates", bench.rates), ("catch-up", bench.catch_up), ("searches", bench.searches),
            ):  # fmt: skip
                if part in options.parts:
                    await measure(deployments)
                    bench.show(part)
    if "outages" in options.parts:
        await bench.outages()
        bench.show("outages")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command line; None: of this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one turn")
    parser.add_argument("--rows", type=int, default=256, help="of one change")
    parser.add_argument("--in-flight", type=int, default=32, help="changes, at full speed")
    parser.add_argument("--rows-per-second", type=int, default=50_000, help="the fixed rate")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--capacity", type=int, default=400_000)
    parser.add_argument("--searched-rows", type=int, default=50_000)
    parser.add_argument("--percent", type=int, default=20, help="of a core, for each node")
    parser.add_argument("--data-dir", help="of the local journal; a temporary directory as a rule")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it with the arguments of the command line."""
    options = parsed(arguments)
    print(where())
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
