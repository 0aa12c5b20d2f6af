"""The work that is counted and timed: searches and adds of a full window.

Run by itself (``python -m load_tests.guard.work scan``) it does so many of one kind, after one of
each: what valgrind counts beyond ``nothing`` is the work's alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from omendb_core.model.change import RowBatch
from omendb_core.model.types import F32
from omendb_core.scoring import blas
from omendb_core.window import Window

from ..aims import engine

DIM: Final = 128
K: Final = 10
QUERIES: Final = 32
ADDED_ROWS: Final = 256
_WINDOW_ROWS: Final = 8192
#: Enough that starting the interpreter, which is not the same to the instruction, is within 1%.
TIMES: Final[Mapping[str, int]] = {"nothing": 0, "scan": 32, "add": 800}


def adder(window: Window, vectors: F32) -> Callable[[], None]:
    """Adds ADDED_ROWS of ``vectors`` at each call, in turn, with new ids."""
    next_id = 10 * len(vectors)

    def add() -> None:
        nonlocal next_id
        at = next_id % (len(vectors) - ADDED_ROWS + 1)
        ids = np.arange(next_id, next_id + ADDED_ROWS, dtype=np.uint64)
        engine.add(window, RowBatch(vectors[at : at + ADDED_ROWS], ids))
        next_id += ADDED_ROWS

    return add


def main() -> None:
    """Do it; prints the kernel's name."""
    blas.use_threads(1)
    vectors, queries = engine.clustered(_WINDOW_ROWS, QUERIES, DIM)
    window = engine.filled(vectors, "cosine")
    search = engine.kernels(window, K)["engine"]
    work: dict[str, Callable[[], object]] = {
        "scan": lambda: search(queries),
        "add": adder(window, vectors),
    }
    for one in work.values():
        one()
    for _ in range(TIMES[sys.argv[1]]):
        work[sys.argv[1]]()
    print(window.state.scan.name)


if __name__ == "__main__":
    main()
