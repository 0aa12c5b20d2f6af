"""Searches whose answer is shaped against plain ones of the same vectors, in process, by turns.

A window of 100,000 rows of 128 dimensions, k = 10. A shaped search is one call for all its vectors,
as the plain one beside it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from omendb_core.model.errors import OmenError
from omendb_core.model.types import F32, ColumnType
from omendb_core.ranking.shape_parser import shape_of
from omendb_core.search.query import Query
from omendb_core.window import Window

from . import engine
from .child import on_one_core
from .row import Effort, Row
from .turns import medians_us

ROWS, DIM = 100_000, 128
BATCHES = (1, 32)
_MAX_K = 1000
_GROUPS = 100
_EXCLUDED = 1000
_DAY_SECONDS = 86_400.0
_COLUMNS: dict[str, ColumnType] = {
    "kind": "i64", "price": "f64", "liked": "f64", "published": "f64",
}  # fmt: skip
#: Six operators.
_RANK = {
    "$add": [
        {"$mul": [0.7, "$score"]},
        {"$mul": [0.3, {"$exp": {"$neg": {"$div": ["price", 20]}}}]},
        "liked",
    ]
}
#: name -> (fields, the most that it may cost by batch, as a share of a plain search)
CASES: Mapping[str, tuple[Mapping[str, Any], Mapping[int, float]]] = {
    "decay": ({"decay": {"half_life": 3 * _DAY_SECONDS, "column": "published"}}, {1: 1.3}),
    "rank of 6 operators": ({"rank": _RANK}, {1: 5.0, 32: 15.0}),
    "group": ({"group": {"by": "kind"}}, {1: 1.5}),
    "spread": ({"spread": {"max_similarity": 0.9}}, {1: 1.5}),
    "mmr of 100": ({"mmr": {"lambda": 0.7}}, {1: 1.5}),
    "exclude of 1,000": ({}, {1: 1.2}),
}
_PLAIN = "plain"


def bench(effort: Effort) -> list[Row]:
    """Rows: shaped to plain."""
    found = on_one_core(measure, effort)
    made = []
    for (batch, name), (plain, shaped) in found.items():
        aim = CASES[name][1].get(batch)
        made.append(
            Row(
                f"{name}, batch {batch}", "of plain",
                [one / other for one, other in zip(shaped, plain, strict=True)],
                "at most" if aim else "", aim,
                notes=[f"{min(shaped) / batch:.0f} of {min(plain) / batch:.0f} µs a query"],
            )
        )  # fmt: skip
    return made


def measure(effort: Effort) -> dict[tuple[int, str], tuple[list[float], list[float]]]:
    """Microseconds of a plain call and a shaped one, by (batch, case)."""
    vectors, queries = engine.clustered(ROWS, max(BATCHES), DIM)
    random = np.random.default_rng(1)
    values = {
        "kind": random.integers(0, _GROUPS, ROWS),
        "price": random.uniform(0.0, 100.0, ROWS),
        "liked": random.uniform(0.0, 0.1, ROWS),
        "published": np.linspace(0.0, 30 * _DAY_SECONDS, ROWS),  # rows come as they are published
    }
    window = engine.filled(vectors, columns=_COLUMNS, values=values)
    found = {}
    for batch in BATCHES:
        asked = queries[:batch]
        calls = {name: _search(window, asked, name, effort.k) for name in (_PLAIN, *CASES)}
        times = medians_us(calls, effort.runs, effort.seconds)
        for name in CASES:
            found[batch, name] = (times[_PLAIN], times[name])
    return found


def _search(window: Window, vectors: F32, name: str, k: int) -> Callable[[], None]:
    if name == _PLAIN:
        query = Query(vectors, k=k)
    else:
        shape = shape_of(CASES[name][0], window.definition, k, _MAX_K, live=False)
        left_out = np.arange(0, ROWS, max(1, ROWS // _EXCLUDED), dtype=np.uint64)
        is_plain = not CASES[name][0]
        query = Query(vectors, k=k, shape=shape, at=0.0, exclude=left_out if is_plain else None)

    def search() -> None:
        (answer,) = window.search([query])
        if isinstance(answer, OmenError):
            raise answer

    return search
