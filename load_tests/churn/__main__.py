"""Run the soak, and say whether the server grew.

    python -m load_tests.churn --minutes 30

Starts a server with a journal in a temporary directory on a free port. Exit code 1 if its memory
grew by more than a MiB a minute after the first minutes, if it holds more descriptors or threads at
the end, or if anything failed that should not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from load_tests.figures import where
from load_tests.simulation.server import Target, serving
from omendb_ws.client import connect

from .samples import Sample, judge, look
from .work import Work

#: Descriptors and threads come and go with connections and collections; so many more are none.
MORE_ALLOWED = 3
#: Seconds between two turns of each worker: some 60% of a core at the server.
PACES: dict[str, float] = {
    "add_numbers": 0.02,
    "add_names": 0.05,
    "add_recent": 0.05,
    "change": 0.2,
    "search": 0.05,
    "read": 0.2,
    "subscribe": 0.1,
    "reconnect": 0.3,
    "come_and_go": 1.0,
}


async def sample(pid: int, seconds: float, interval_seconds: float) -> list[Sample]:
    """Look at the process until the soak ends, and print a line now and then."""
    began = time.monotonic()
    samples: list[Sample] = []
    shown = -60.0
    while (at := time.monotonic() - began) < seconds:
        one = look(pid, at)
        samples.append(one)
        if at - shown >= 60:
            shown = at
            print(
                f"{at / 60:5.1f} min {one.resident_bytes / 2**20:8.1f} MiB "
                f"{one.descriptors:5} descriptors {one.threads:4} threads",
                flush=True,
            )
        await asyncio.sleep(interval_seconds)
    return samples


async def soak(target: Target, seconds: float, interval_seconds: float) -> dict[str, Any]:
    """Everything at once for that long: the samples, and what was done and failed."""
    assert target.process_id is not None
    async with connect(target.url) as db:
        work = Work(target.url, db, seed=1)
        await work.begin()
        until = asyncio.get_running_loop().time() + seconds
        workers = [
            asyncio.ensure_future(work.repeat(name, getattr(work, name), pause, until))
            for name, pause in PACES.items()
        ]
        samples = await sample(target.process_id, seconds, interval_seconds)
        await asyncio.gather(*workers)
    return {"samples": samples, "done": dict(work.done), "failed": dict(work.failed)}


def report(found: dict[str, Any], settled_seconds: float, most_mib_per_minute: float) -> list[str]:
    """Print what came of it; what is wrong, in words."""
    verdict = judge(found["samples"], settled_seconds)
    print("done:", ", ".join(f"{count:,} {name}" for name, count in sorted(found["done"].items())))
    print(f"memory: {verdict.slope_mib_per_minute:+.2f} MiB a minute after {settled_seconds:g} s")
    print("descriptors, first and last quarter: {:g}, {:g}".format(*verdict.descriptors))
    print("threads, first and last quarter: {:g}, {:g}".format(*verdict.threads))
    failures = [f"{count} times {what}" for what, count in found["failed"].items()]
    missing = [f"{name} was never done" for name in PACES if not found["done"].get(name)]
    return verdict.faults(most_mib_per_minute, MORE_ALLOWED) + failures + missing


def main(arguments: list[str] | None = None) -> int:
    """Run it, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--settled-minutes", type=float, default=5.0, help="left out at the start")
    parser.add_argument("--interval-seconds", type=float, default=5.0, help="between two looks")
    parser.add_argument("--most-mib-per-minute", type=float, default=1.0)
    parser.add_argument("--output", type=Path, help="a file for samples and counts, as JSON")
    given = parser.parse_args(arguments)
    print(where())
    with tempfile.TemporaryDirectory() as data, serving(["--data-dir", data]) as target:
        found = asyncio.run(soak(target, given.minutes * 60, given.interval_seconds))
    if given.output is not None:
        given.output.write_text(json.dumps(found))
    faults = report(found, given.settled_minutes * 60, given.most_mib_per_minute)
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
