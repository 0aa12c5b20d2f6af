"""Filtered searches against unfiltered ones in the same batch, in process, by turns.

A filter leaves 0.1%, 1%, 10% or 50% of a window of 100,000 rows of 128 dimensions. Once with the
window at rest, and once with a few rows added before every call: then a mask that is kept must be
brought up to date, or made again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from omendb_core.filters import parser as filters
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import OmenError
from omendb_core.model.types import F32, F64, ColumnType
from omendb_core.search.query import Query
from omendb_core.window import Window

from . import engine
from .child import on_one_core
from .row import Effort, Row
from .turns import medians_us

ROWS, DIM = 100_000, 128
SHARES = (0.001, 0.01, 0.1, 0.5)
BATCHES = (1, 32)
#: What a filter that leaves 1% may cost, as a share of no filter.
_AIM, _AIMED_SHARE = 0.2, 0.01
_ADDED_ROWS = 16
_COLUMNS: dict[str, ColumnType] = {"price": "f64"}


def bench(effort: Effort) -> list[Row]:
    """Rows: filtered to unfiltered."""
    found = on_one_core(measure, effort)
    made = []
    for (batch, is_added, share), (plain, filtered) in found.items():
        values = [one / other for one, other in zip(filtered, plain, strict=True)]
        aim = _AIM if share == _AIMED_SHARE else None
        made.append(
            Row(
                f"filter leaves {100 * share:g}%, batch {batch}"
                f"{', rows coming in' if is_added else ''}",
                "of unfiltered", values, "at most" if aim else "", aim,
                notes=[f"{min(filtered) / batch:.0f} of {min(plain) / batch:.0f} µs a query"],
            )
        )  # fmt: skip
    return made


def measure(
    effort: Effort,
) -> dict[tuple[int, bool, float], tuple[list[float], list[float]]]:
    """Microseconds of a batch without and with a filter, by (batch, are rows added, share)."""
    vectors, queries = engine.clustered(ROWS, 512, DIM)
    price = np.random.default_rng(1).uniform(0.0, 1.0, ROWS)
    window = engine.filled(vectors, columns=_COLUMNS, values={"price": price})
    adding = _adds(window, vectors, price)
    found = {}
    for batch in BATCHES:
        for is_added in (False, True):
            calls = {
                str(share): _searches(window, queries[:batch], share, effort.k)
                for share in (None, *SHARES)
            }
            before = adding if is_added else _nothing
            times = medians_us(calls, effort.runs, effort.seconds / 4, before)
            for share in SHARES:
                found[batch, is_added, share] = (times[str(None)], times[str(share)])
    return found


def _nothing() -> None:
    """Nothing changes between two calls."""


def _searches(window: Window, vectors: F32, share: float | None, k: int) -> Callable[[], None]:
    wanted = None if share is None else filters.parse({"price": {"$lt": share}}, _COLUMNS)
    asked = [Query(vector[None], k=k, filter=wanted) for vector in vectors]

    def search() -> None:
        for answer in window.search(asked):
            if isinstance(answer, OmenError):
                raise answer

    return search


def _adds(window: Window, vectors: F32, price: F64) -> Callable[[], None]:
    """Adds a few rows with new ids."""
    next_id = 2 * ROWS

    def add() -> None:
        nonlocal next_id
        at = next_id % (ROWS - _ADDED_ROWS)
        part = slice(at, at + _ADDED_ROWS)
        ids = np.arange(next_id, next_id + _ADDED_ROWS, dtype=np.uint64)
        engine.add(window, RowBatch(vectors[part], ids, {"price": price[part]}))
        next_id += _ADDED_ROWS

    return add
