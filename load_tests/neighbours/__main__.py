"""Run scenarios and print the table."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import omendb_ws
from omendb_ws.access.keyring import key_entry

from ..figures import where
from ..simulation.server import serving
from .heavy import overrides
from .scenario import Scenario, ScenarioError, names, read

#: What is wanted beside any neighbour.
AIM_P50_MS: Final = 3.0
AIM_P99_MS: Final = 10.0
_LIGHT: Final = "light"
#: By the tenant of the neighbour.
PLACES: Final = {"one": "two connections", "other": "two tenants"}
_RIGHTS: Final = ("admin", "read", "write", "operator")
_END_SECONDS: Final = 60.0


class Waited(NamedTuple):
    """How long the light searches took, how often the neighbour was answered and refused, and how
    many of the light searches were ``refused``.
    """

    p50_ms: float
    p99_ms: float
    max_ms: float
    heavy: str
    refused: int

    @property
    def is_within(self) -> bool:
        """Whether that is as it is wanted."""
        is_soon = self.p50_ms <= AIM_P50_MS and self.p99_ms <= AIM_P99_MS
        return is_soon and not self.refused


@contextmanager
def _keys() -> Iterator[str]:
    """A file of keys: the light one's, and one of each tenant."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "keys.toml")
        tenants = {_LIGHT: "one", **{tenant: tenant for tenant in PLACES}}
        path.write_text(
            "\n".join(
                key_entry(name, tenant, _RIGHTS, f"token-{name}")
                for name, tenant in tenants.items()
            )
        )
        path.chmod(0o600)
        yield str(path)


@contextmanager
def _neighbour(
    scenario: Scenario, url: str, tenant: str, given: Sequence[str]
) -> Iterator[subprocess.Popen[str]]:
    """The neighbour, at work."""
    command = [sys.executable, "-m", "load_tests.neighbours.heavy", scenario.name, url]
    child = subprocess.Popen(
        [*command, f"token-{tenant}", *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise ScenarioError(f"{scenario.name}: the neighbour failed")
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


async def _fill(db: Any, scenario: Scenario) -> Any:
    light = scenario.light
    rows = np.random.default_rng(1).standard_normal((light.rows, light.dim), dtype=np.float32)
    await db.create("small", dim=light.dim, capacity=light.rows, metric="dot")
    for start in range(0, light.rows, 10_000):
        part = rows[start : start + 10_000]
        await db.add("small", part, ids=np.arange(start, start + len(part)))
    return rows[0]


async def _measured(url: str, scenario: Scenario, tenant: str, given: Sequence[str]) -> Waited:
    took: list[float] = []
    refused = 0
    async with omendb_ws.connect(url, token=f"token-{_LIGHT}") as db:
        query = await _fill(db, scenario)
        with _neighbour(scenario, url, tenant, given) as child:
            begin = time.perf_counter() + scenario.load.warm_up_seconds
            until = begin + scenario.load.seconds
            while (asked_at := time.perf_counter()) < until or not took:
                try:
                    await db.search("small", query)
                except omendb_ws.Overloaded:
                    refused += 1
                if asked_at >= begin:
                    took.append((time.perf_counter() - asked_at) * 1e3)
                await asyncio.sleep(scenario.light.pause_ms / 1e3)
            said, _ = child.communicate(timeout=_END_SECONDS)
            if child.returncode:  # it asked for nothing from then on
                raise ScenarioError(f"{scenario.name}: the neighbour failed")
    p50, p99 = np.percentile(took, [50, 99]).tolist()
    heavy = "/".join(said.split()) + (f" light refused {refused}" if refused else "")
    return Waited(p50, p99, max(took), heavy, refused)


def measure(scenario: Scenario, tenant: str, given: Sequence[str] = ()) -> Waited:
    """One place of one line, on a server of its own."""
    with _keys() as keys, serving(["--api-key-file", keys]) as target:
        return asyncio.run(_measured(target.url, scenario, tenant, given))


def main() -> int:
    """Print the table; 2 where a scenario makes no sense."""
    parser = argparse.ArgumentParser(prog="load_tests.neighbours", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="by default all")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.FIELD=VALUE")
    arguments = parser.parse_args()
    given = [*arguments.set]
    if arguments.seconds is not None:
        given.append(f"load.seconds={arguments.seconds}")
    try:
        scenarios = [read(name, overrides(given)) for name in arguments.names or names()]
        print(where())
        print(f"{'':50}" + "".join(f"{place:>36}" for place in PLACES.values()))
        heads = f"{'p50 ms':>8}{'p99 ms':>8}{'max ms':>8}{'done/refused':>12}"
        print(f"{'a neighbour asks for':50}{heads * len(PLACES)}")
        within = 0
        for scenario in scenarios:
            waited = [measure(scenario, tenant, given) for tenant in PLACES]
            within += all(one.is_within for one in waited)
            cells = "".join(
                f"{one.p50_ms:8.2f}{one.p99_ms:8.2f}{one.max_ms:8.2f}{one.heavy:>12}"
                for one in waited
            )
            print(f"{scenario.description:50}{cells}", flush=True)
    except ScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{within} of {len(scenarios)} within what is wanted:"
        f" p50 at most {AIM_P50_MS:g} ms and p99 at most {AIM_P99_MS:g} ms"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
