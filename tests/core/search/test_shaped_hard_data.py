"""Shaped searches over windows of some hundred rows that are hard for a scan, as the oracle has it.

Ties, cancellation and extreme magnitudes in the vectors; clocks as they are, with half-lives that
make everything of the score or nothing of it; depths that are exceeded at once.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np
import pytest
from omendb_core.filters import parser as filters
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import ColumnType, Definition, Metric
from omendb_core.ranking.shape_parser import shape_of
from omendb_core.search import shaped
from omendb_core.search.query import Answer, Query
from omendb_core.window import Window

from tests.core.hard_data import CASES, DATA, TINY_DATA
from tests.filter_oracle import passes
from tests.oracle.runs import TIMES
from tests.oracle.served import SERVED
from tests.oracle.shaping import search
from tests.oracle.window import Oracle

from .test_shaped_state_machine import compare_hits

COLUMNS: dict[str, ColumnType] = {"at": "f64", "second": "i64", "kind": "str", "price": "f64"}
MAX_K = 100
ROWS, DIM = 300, 9
NOW_US = 1_700_000_000_000_000


class Both:
    """A window and the oracle that has the same rows."""

    def __init__(self, metric: Metric, name: str, random: Random) -> None:
        capacity = random.choice([ROWS, ROWS // 2, ROWS + 50])
        self.random = random
        self.definition = Definition(DIM, capacity, metric, "u64", COLUMNS)
        self.window = Window(self.definition)
        self.oracle = Oracle(capacity, metric, "u64", passes=passes)
        rng = np.random.default_rng(random.randrange(2**32))
        self.vectors = (DATA | TINY_DATA)[name](rng, ROWS, DIM).astype(np.float32)
        self.now_us = NOW_US
        start = 0
        while start < ROWS:
            end = min(ROWS, start + random.choice([1, 7, 64, 150]))
            self.add(self.vectors[start : min(end, start + capacity)])
            self.now_us += random.choice([0, 1, 1000, 10**6, 3600 * 10**6])
            start = end

    def add(self, vectors: Any) -> None:
        count = len(vectors)
        ids = self.random.sample(range(2 * ROWS), count)
        rows = [self.metadata() for _ in range(count)]
        payloads = [json.dumps(row).encode() if row else None for row in rows]
        batch = RowBatch(vectors, np.array(ids, np.uint64), metadata=rows, payloads=payloads)
        change = self.window.admit_add(AddRequest(batch), self.now_us)
        self.window.apply(change)  # type: ignore[arg-type]
        self.oracle.add(vectors.tolist(), ids, rows, self.now_us)

    def metadata(self) -> dict[str, Any]:
        random, second = self.random, NOW_US / 1e6
        times = [second, second + random.uniform(-9, 9), second - 86400 * random.random(), 0.0]
        made: dict[str, Any] = {
            "at": random.choice([*times, None, -1.7e9, 1e300, -1e308, 5e-324]),
            "second": random.choice([1_700_000_000 + random.randrange(9), 2**53 - 1, 1 - 2**53]),
            "kind": random.choice(["a", "b", "c", None, str(random.randrange(99))]),
            "price": random.choice([None, random.uniform(0, 9), 1.0]),
        }
        return {name: value for name, value in made.items() if random.random() < 0.9}

    # -- what is asked ---------------------------------------------------------------------------

    def fields(self) -> dict[str, Any]:
        random = self.random
        k = random.choice([1, 3, 10, 40, MAX_K])
        fields: dict[str, Any] = {"k": k}
        order = random.choice(["decay", "decay", "decay", "rank", None])
        if order == "decay":
            half_life = random.choice([1e-3, 0.5, 30.0, 3600, 86400, 1e7, 1e9, 1e12])
            column = random.choice([None, None, "at", "second"])
            fields["decay"] = {"half_life": half_life} | ({"column": column} if column else {})
        elif order == "rank":
            fields["rank"] = random.choice(RANKS)
        if random.random() < 0.4:
            size = random.choice([1, 2, 5])
            fields["group"] = {"by": random.choice(list(COLUMNS)), "size": size}
        if random.random() < 0.3:
            candidates = random.choice([k, MAX_K])
            fields["mmr"] = {"lambda": random.random(), "candidates": candidates}
        elif random.random() < 0.5:
            fields["spread"] = {"max_similarity": self.some_score()}
        if random.random() < 0.2:
            fields["filter"] = {"price": {"$lt": random.uniform(0, 9)}}
        if random.random() < 0.2:
            fields["min_score"] = self.some_score()
        if random.random() < 0.2:
            fields["exclude"] = random.sample(range(2 * ROWS), 100)
        if random.random() < 0.2:
            fields["last"] = random.randint(1, ROWS)
        return fields

    def some_score(self) -> float:
        """Of two rows that are there."""
        slots = self.random.choices(range(self.window.rows), k=2)
        one, other = self.window.state.ring.vectors[slots]
        if self.definition.metric == "l2":
            return min(-float(np.sum((one.astype(float) - other) ** 2)), 0.0)
        return float(np.dot(one.astype(float), other))

    def compare(self, fields: dict[str, Any], vector: Any) -> None:
        at = self.now_us / 1e6
        query = Query(
            vectors=vector[None],
            k=fields["k"],
            filter=filters.parse(fields["filter"], COLUMNS) if "filter" in fields else None,
            min_score=fields.get("min_score"),
            last=fields.get("last"),
            exclude=np.array(fields["exclude"], np.uint64) if "exclude" in fields else None,
            shape=shape_of(fields, self.definition, fields["k"], MAX_K, live=False),
            at=at,
        )
        (answer,) = self.window.search([query])
        assert isinstance(answer, Answer), answer
        asked = {**fields, "vector": vector.tolist()}
        compare_hits(answer.hits, search(self.oracle, asked, at, MAX_K, SERVED), fields)


RANKS: list[Any] = [
    "$score",
    {"$neg": "$score"},
    {"$mul": ["$score", {"$exp": {"$div": [{"$neg": "$age"}, 3600]}}]},
    {"$add": [{"$mul": [0.7, "$score"]}, {"$mul": [0.3, {"$default": ["price", 0]}]}]},
    {"$if": [{"kind": "a"}, {"$log": "$score"}, {"$pow": [{"$abs": "$score"}, "price"]}]},
    {"$max": [{"$min": ["$score", "price"]}, 0]},
    {"$sub": ["second", {"$default": ["second", 0]}]},
]


@pytest.mark.parametrize("is_shallow", [False, True], ids=["as it is", "read deeper at once"])
@pytest.mark.parametrize(("metric", "name"), CASES)
def test_an_answer_over_hard_data_is_the_oracles(
    metric: Metric, name: str, is_shallow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_shallow:
        monkeypatch.setattr(shaped, "_LEAST_SCANNED", 16)
        monkeypatch.setattr(shaped, "_MOST_SCANNED", 32)
    for seed in range(1 + TIMES):
        random = Random(f"{metric} {name} {seed}")
        both = Both(metric, name, random)
        for _ in range(8):
            vector = random.choice(
                [random.choice(both.vectors), -both.vectors[0], both.vectors.mean(0)]
            )
            if not np.linalg.norm(vector.astype(float)) > 2.0**-60:
                vector = np.ones(DIM, np.float32)
            both.compare(both.fields(), vector)
