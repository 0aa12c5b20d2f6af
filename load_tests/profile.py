"""Where the server's time goes while it is searched or added to: which function, what share.

    python -m load_tests.profile search
    python -m load_tests.profile add --seconds 10

A server is started and loaded in a closed loop (64 searches, or 16 frames of 256 rows, in flight;
``match``: 1,000 rows/s in frames of 64 beside 100,000 match queries, 5,200 hits/s), and ``py-spy``
looks at its threads some hundreds of times a second from outside: nothing in the server is changed
or slowed. A look counts for the innermost function of this project that was on the stack, so what a
function calls in numpy or in C is its own; of a thread that sleeps, nothing counts. *With* is the
share of looks at which a function was anywhere on the stack. On a busy machine a thread that could
go on but has no core counts, too, where it waits: the CPU of each thread, printed beside, tells how
much of that there was.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from load_tests.simulation import scenario
from load_tests.simulation.coordinator import run
from load_tests.simulation.resources import cpu_seconds
from load_tests.simulation.server import Target, serving

LOADS: Final[Mapping[str, dict[str, Any]]] = {
    "search": {"search": {"in_flight": 64}},
    "add": {"add": {"in_flight": 16, "rows": 256}},
    "match": {
        "collection": {"ids": "auto"},
        "add": {"arrivals": "constant", "rate": 1000 / 64, "rows": 64},
        "match": {"connections": 100, "per_connection": 1000, "min_score": 0.335},
    },
}
_LOOKS_PER_SECOND: Final = 400
#: Before the first look: the window is filled, the load has begun.
_SETTLE_SECONDS: Final = 1.5
#: Until then at the latest: 100,000 match queries are some seconds' work.
_BEGIN_SECONDS: Final = 120.0
_ELSEWHERE: Final = "(outside of this project)"
#: Of the loop's thread everything is within these: what they do themselves is the event loop's.
_OUTERMOST: Final = ("omendb_ws/__main__.py", "omendb_ws/cli/")
_OURS: Final = re.compile(r"^(?P<name>\S+) \((?P<file>omendb_\w+/[\w/.]+):\d+\)$")
_THREAD: Final = re.compile(r"^thread \((?P<id>\d+)\): (?P<name>\S+)")


class Place(NamedTuple):
    """A function of this project, and the thread on which it ran."""

    thread: str
    function: str


class Profile(NamedTuple):
    """Looks by place: at which it was the innermost of this project, and at all.

    ``threads``: names by the system's numbers.
    """

    looks: int
    threads: dict[int, str]
    own: Counter[Place]
    within: Counter[Place]


def read(stacks: Iterator[str]) -> Profile:
    """Stacks as lines ``thread;outer;…;inner count``."""
    own: Counter[Place] = Counter()
    within: Counter[Place] = Counter()
    threads: dict[int, str] = {}
    looks = 0
    for line in stacks:
        stack, _, number = line.rpartition(" ")
        head, *frames = stack.split(";")
        thread = _THREAD.match(head)
        name = thread["name"] if thread else head
        if thread:
            threads[int(thread["id"])] = name
        matches = [
            match
            for frame in frames
            if (match := _OURS.match(frame)) and not match["file"].startswith(_OUTERMOST)
        ]
        places = [Place(name, f"{one['name']} ({one['file']})") for one in matches]
        looks += int(number)
        within.update(dict.fromkeys(places, int(number)))
        inner = places[-1] if places else Place(name, _ELSEWHERE)
        own[inner] += int(number)
    return Profile(looks, threads, own, within)


def record(kind: str, seconds: float) -> tuple[Profile, dict[str, float], str]:
    """The profile, CPU by thread in percent of a core, and what was answered."""
    with serving() as target, tempfile.TemporaryDirectory() as folder:
        assert target.process_id is not None
        load = {"seconds": seconds + 3 * _SETTLE_SECONDS, "warm_up_seconds": 0.5}
        document: dict[str, Any] = {"load": load, **LOADS[kind]}
        said: list[str] = []
        begun = threading.Event()
        drive = threading.Thread(target=_drive, args=(document, target, said, begun))
        drive.start()
        begun.wait(_BEGIN_SECONDS)
        time.sleep(_SETTLE_SECONDS)
        path = Path(folder) / "stacks"
        before, began = _cpu_by_thread(target.process_id), time.perf_counter()
        _look(target.process_id, seconds, path)
        after, took = _cpu_by_thread(target.process_id), time.perf_counter() - began
        drive.join()
        found = read(iter(path.read_text().splitlines()))
        cpu = {
            found.threads[one]: 100 * (spent - before.get(one, 0.0)) / took
            for one, spent in after.items()
            if one in found.threads
        }
        return found, cpu, said[0] if said else "nothing"


def _cpu_by_thread(process_id: int) -> dict[int, float]:
    """Seconds of each thread, by its number."""
    threads = [int(path.name) for path in Path(f"/proc/{process_id}/task").iterdir()]
    return {one: cpu_seconds(f"{process_id}/task/{one}") or 0.0 for one in threads}


def _drive(document: dict[str, Any], target: Target, said: list[str], begun: Any) -> None:
    try:
        result = run(scenario.parse("profile", document, {}), target, lambda at, looks: begun.set())
    finally:
        begun.set()
    (operation,) = result.operations
    said.append(f"{operation.achieved_per_second * operation.rows_a_request:,.0f} a second")


def _look(process_id: int, seconds: float, path: Path) -> None:
    done = subprocess.run(
        [
            "py-spy", "record", "--nonblocking", "--threads", "--format", "raw",
            "--pid", str(process_id), "--duration", str(round(seconds)),
            "--rate", str(_LOOKS_PER_SECOND), "--output", str(path),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode or not path.is_file():
        sys.exit(f"py-spy could not look at the server: {done.stderr.strip()[-500:]}")


def lines(found: Profile, count: int) -> Iterator[str]:
    """A table: the costliest places first."""
    yield f"{'of all':>8}{'with':>8}  thread          function"
    for place, looks in found.own.most_common(count):
        own, within = (100 * one / max(found.looks, 1) for one in (looks, found.within[place]))
        yield f"{own:7.1f}%{max(own, within):7.1f}%  {place.thread:14}  {place.function}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the server's time goes.")
    parser.add_argument("load", choices=tuple(LOADS))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--lines", type=int, default=12, help="of the table")
    options = parser.parse_args()
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is not installed: pip install py-spy")
    found, cpu, answered = record(options.load, options.seconds)
    threads = ", ".join(f"{name} {percent:.0f}% of a core" for name, percent in cpu.items())
    print(f"{options.load}: {answered}; {threads}")
    for line in lines(found, options.lines):
        print(line)


if __name__ == "__main__":
    main()
