"""Where the server's time goes while it is searched or added to: which function, what share.

    python -m load_tests.profile search
    python -m load_tests.profile add --seconds 10

A server is started and loaded in a closed loop (64 searches, or 16 frames of 256 rows, in flight),
and ``py-spy`` looks at its threads some hundreds of times a second from outside: nothing in the
server is changed or slowed. A look counts for the innermost function of this project that was on
the stack, so what a function calls in numpy or in C is its own; of a thread that waits, nothing
counts. *With* is the share of looks at which a function was anywhere on the stack.
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
}
_LOOKS_PER_SECOND: Final = 400
#: Before the first look: the window is filled, the load has begun.
_SETTLE_SECONDS: Final = 1.5
_ELSEWHERE: Final = "(outside of this project)"
#: Of the loop's thread everything is within it: what it does itself is the event loop's.
_OUTERMOST: Final = "run (omendb_ws/cli/serve.py)"
_OURS: Final = re.compile(r"^(?P<name>\S+) \((?P<file>omendb_\w+/[\w/.]+):\d+\)$")
_THREAD: Final = re.compile(r"^thread \(\w+\): (?P<name>\S+)")


class Place(NamedTuple):
    """A function of this project, and the thread on which it ran."""

    thread: str
    function: str


class Profile(NamedTuple):
    """Looks by place: at which it was the innermost of this project, and at all."""

    looks: int
    own: Counter[Place]
    within: Counter[Place]


def read(stacks: Iterator[str]) -> Profile:
    """Stacks as lines ``thread;outer;…;inner count``."""
    own: Counter[Place] = Counter()
    within: Counter[Place] = Counter()
    looks = 0
    for line in stacks:
        stack, _, number = line.rpartition(" ")
        head, *frames = stack.split(";")
        thread = _THREAD.match(head)
        name = thread["name"] if thread else head
        matches = [match for frame in frames if (match := _OURS.match(frame))]
        places = [Place(name, f"{one['name']} ({one['file']})") for one in matches]
        places = [place for place in places if place.function != _OUTERMOST]
        looks += int(number)
        within.update(dict.fromkeys(places, int(number)))
        inner = places[-1] if places else Place(name, _ELSEWHERE)
        own[inner] += int(number)
    return Profile(looks, own, within)


def record(kind: str, seconds: float) -> tuple[Profile, float, str]:
    """The profile, the server's CPU in percent of a core, and what was answered."""
    with serving() as target, tempfile.TemporaryDirectory() as folder:
        assert target.process_id is not None
        load = {"seconds": seconds + 3 * _SETTLE_SECONDS, "warm_up_seconds": 0.5}
        document: dict[str, Any] = {"load": load, **LOADS[kind]}
        said: list[str] = []
        begun = threading.Event()
        drive = threading.Thread(target=_drive, args=(document, target, said, begun))
        drive.start()
        begun.wait(60.0)
        time.sleep(_SETTLE_SECONDS)
        path = Path(folder) / "stacks"
        before, began = cpu_seconds(target.process_id), time.perf_counter()
        _look(target.process_id, seconds, path)
        after, took = cpu_seconds(target.process_id), time.perf_counter() - began
        drive.join()
        percent = 100 * ((after or 0.0) - (before or 0.0)) / took
        return read(iter(path.read_text().splitlines())), percent, said[0] if said else "nothing"


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
    found, percent, answered = record(options.load, options.seconds)
    print(f"{options.load}: {answered}; the server takes {percent:.0f}% of a core while looked at")
    for line in lines(found, options.lines):
        print(line)


if __name__ == "__main__":
    main()
