"""Answers that are shaped, as both sides are asked for them: the data, the cases, the oracle.

Rows of length 1 with ``published`` (seconds, over thirty days and in no order), ``price`` and
``liked`` (numbers) and ``shop`` (one of four). Scores are inner products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from omendb_core.model.types import F32, F64, I64, ColumnType, StrColumn
from omendb_core.model.types import Column as Values

from ..simulation import shaping, truth
from .compare import CENTRES, unit_vectors

DAY_SECONDS: Final = 86_400.0
DAYS: Final = 30
#: The time that rows are aged to.
AT: Final = DAYS * DAY_SECONDS
HALF_LIFE: Final = 3 * DAY_SECONDS
SHOPS: Final = ("north", "south", "east", "west")
COLUMNS: Final[Mapping[str, ColumnType]] = {
    "published": "f64", "price": "f64", "liked": "f64", "shop": "str",
}  # fmt: skip
#: What an answer is to be; ``at`` is AT. A decayed order is the same as of score x 2^(age / -half).
CASES: Final[Mapping[str, Mapping[str, Any]]] = {
    "decay": {"decay": {"half_life": HALF_LIFE, "column": "published"}},
    "formula": {
        "rank": {
            "$add": [
                {"$mul": [0.7, "$score"]},
                {"$mul": [0.3, {"$exp": {"$neg": {"$div": ["price", 20]}}}]},
                "liked",
            ]
        }
    },
    "boost": {"rank": {"$mul": ["$score", {"$if": [{"shop": "north"}, 1.2, 1]}]}},
    "mmr": {"mmr": {"lambda": 0.7, "candidates": 100}},
}


class Stock(NamedTuple):
    """Rows, with their columns; and queries."""

    vectors: F32
    columns: Mapping[str, F64 | I64]
    queries: F32

    def payload(self, row: int) -> dict[str, float | str]:
        """The columns of one row; a shop by its name."""
        found: dict[str, float | str] = {
            name: float(values[row]) for name, values in self.columns.items()
        }
        return found | {"shop": SHOPS[int(self.columns["shop"][row])]}

    def values(self) -> dict[str, Values]:
        """The columns as a frame holds them."""
        found: dict[str, Values] = dict(self.columns)
        return found | {"shop": StrColumn(self.columns["shop"].astype(np.uint32), SHOPS)}


def stocked(rows: int, dim: int, queries: int) -> Stock:
    """The same ones every time."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((CENTRES, dim), dtype=np.float32)
    columns: dict[str, F64 | I64] = {
        "published": random.uniform(0.0, AT, rows),
        "price": random.uniform(0.0, 100.0, rows),
        "liked": random.uniform(0.0, 0.1, rows),
        "shop": random.integers(0, len(SHOPS), rows),
    }
    vectors = unit_vectors(random, centres, rows)
    return Stock(vectors, columns, unit_vectors(random, centres, queries))


def due(stock: Stock, case: str, query: F32, k: int) -> list[int]:
    """Rows of the one right answer, best first, out of all rows."""
    scores = truth.scores(stock.vectors, query, "dot")
    columns: dict[str, Any] = {name: one for name, one in stock.columns.items() if name != "shop"}
    columns["shop"] = [SHOPS[one] for one in stock.columns["shop"].tolist()]

    def likeness(row: int, others: I64) -> F32:
        return truth.scores(stock.vectors[others], stock.vectors[row], "dot")

    seqs = np.arange(1, len(scores) + 1)
    return shaping.answer(CASES[case], scores, seqs, columns, likeness, k)
