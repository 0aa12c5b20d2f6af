"""Fuzz for a while: ``python -m tests.fuzz [NAME …] [--seconds 60 | --runs N] [--first N]``.

With ``--guided`` by atheris, if it is there, which follows what the code covers: a process for each
target, the time divided among them. ``FILE …`` after one NAME: these inputs, once each.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME|FILE")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together")
    parser.add_argument("--runs", type=int, help="of each, instead of a time")
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--guided", action="store_true", help="by atheris, where it is installed")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # of faults; servers warn of what is asked of them
    if given.guided and importlib.util.find_spec("atheris") is not None:
        return _guided(given)
    from .driver import Feeder
    from .registry import TARGETS

    files = [Path(one) for one in given.names if one not in TARGETS]
    names = [one for one in given.names if one in TARGETS] or list(TARGETS)
    for path in files:
        if not path.is_file():
            parser.error(f"{path}: neither a file nor one of {', '.join(TARGETS)}")
    if files and len(names) != 1:
        parser.error("files are for one target: name it")
    for name in names if files else ():
        for path in files:
            TARGETS[name].run(path.read_bytes())
    for name in () if files else names:
        feeder = Feeder(TARGETS[name])
        feeder.run_seeds()
        if given.runs is not None:
            runs = given.runs
            feeder.run(given.first, lambda runs=runs, one=feeder, before=feeder.executions: (
                one.executions - before >= runs))  # fmt: skip
        else:
            end = time.monotonic() + given.seconds / len(names)
            feeder.run(given.first, lambda end=end: time.monotonic() >= end)
        print(f"{name}: {feeder.executions} executions, nothing found", flush=True)
    return 0


def _guided(given: argparse.Namespace) -> int:
    """Each target in a process of its own: a guided fuzzer ends with the process."""
    names = given.names or subprocess.run(
        [sys.executable, "-c", "from tests.fuzz.registry import TARGETS; print(*TARGETS)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in names:
        seconds = str(max(1, round(given.seconds / len(names))))
        command = [sys.executable, "-m", "tests.fuzz.guided", name, seconds]
        if subprocess.run(command).returncode != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
