"""Instructions of a scan and of an add, counted by ``valgrind --tool=callgrind``.

Valgrind knows no AVX-512: the choice of a kernel falls on the best of the others there, and the
name of that goes with the count.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from ..peers.compare import THREAD_VARIABLES
from .work import ADDED_ROWS, QUERIES, TIMES

_ROOT: Final = Path(__file__).parent.parent.parent
_TIMEOUT_SECONDS: Final = 300.0
#: Threads that are started and wait make a count differ from run to run.
_THREADS: Final = dict.fromkeys((*THREAD_VARIABLES, "NUMEXPR_MAX_THREADS"), "1")


class Counts(NamedTuple):
    """By ``kernel``, for one query (of a batch of QUERIES) and for one row (of ADDED_ROWS)."""

    kernel: str
    scan_a_query: float
    add_a_row: float


def is_possible() -> bool:
    """Whether valgrind is there."""
    return shutil.which("valgrind") is not None


def count() -> Counts:
    """Count. Raises OSError with what valgrind said if it failed."""
    kernel, nothing = _count("nothing")
    beyond = {name: _count(name)[1] - nothing for name in ("scan", "add")}
    return Counts(
        kernel,
        beyond["scan"] / (TIMES["scan"] * QUERIES),
        beyond["add"] / (TIMES["add"] * ADDED_ROWS),
    )


def _count(work: str) -> tuple[str, int]:
    """The kernel, and all instructions from the interpreter's start to its end."""
    environment = {name: one for name, one in os.environ.items() if not name.startswith("OMENDB_")}
    paths = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         sys.executable, "-m", "load_tests.guard.work", work],
        cwd=_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS,
        env={**environment, **_THREADS, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise OSError(f"valgrind, {work}: {done.stderr.strip()[-500:]}")
    return done.stdout.split()[-1], int(found[1])
