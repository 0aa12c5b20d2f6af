"""Rows against standing queries: every pair that reaches its floor, and no other, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core import score
from omendb_core.kernels import matching
from omendb_core.types import F32, I64, METRICS, Metric

UNBOUNDED = 2**62


def data_set(name: str, count: int, dim: int, seed: int) -> F32:
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((count, dim))
    if name == "ties":
        made = np.repeat(made, 8, axis=0)[:count]
    if name == "offset":
        made = 1000 + made
    if name == "one huge coordinate":
        made[:, 0] = 2.0**61
    if name == "denormal":
        made *= 1e-40
    if name == "mixed norms":
        made *= 10.0 ** rng.integers(-18, 18, (count, 1))
    return made.astype(np.float32)


def brute(metric: Metric, rows: F32, queries: F32, floors: F32) -> set[tuple[int, int, float]]:
    return {
        (row, query, float(found))
        for query in range(len(queries))
        for row, found in enumerate(
            score.score_pairs(metric, rows, np.broadcast_to(queries[query], rows.shape))
        )
        if found >= floors[query]
    }


def matched(
    metric: Metric, rows: F32, queries: F32, floors: F32, most: I64 | None = None
) -> matching.Pairs:
    upper = (score.norms(rows) * (1 + 2.0**-20)).astype(np.float32)
    return matching.pairs_above(
        metric,
        rows,
        upper,
        queries,
        score.norms(queries),
        floors,
        np.full(len(queries), UNBOUNDED) if most is None else most,
    )


KINDS = ["plain", "ties", "offset", "one huge coordinate", "denormal", "mixed norms"]
#: Under cosine denormal vectors are refused (a norm below 2**-62).
CASES = [(kind, metric) for kind in KINDS for metric in METRICS]
CASES.remove(("denormal", "cosine"))


@pytest.mark.parametrize(("name", "metric"), CASES)
def test_every_pair_that_reaches_its_floor_is_found(
    name: str, metric: Metric, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "CHUNK_PRODUCTS", 700)
    rows = score.prepare(data_set(name, 90, 13, 1), metric)
    queries = score.prepare(data_set(name, 21, 13, 2), metric)
    # Floors that are themselves scores of pairs: the hard case, where a last bit decides.
    pairs = score.score_pairs(metric, rows[:21], queries)
    floors = pairs.copy()
    floors[3], floors[4] = np.inf, -np.inf
    found = matched(metric, rows, queries, floors)
    triples = set(
        zip(found.rows.tolist(), found.queries.tolist(), found.scores.tolist(), strict=True)
    )
    assert len(triples) == len(found.rows)
    assert triples == brute(metric, rows, queries, floors)
    assert (np.diff(found.rows) >= 0).all()
    assert not len(found.crowded)


def test_a_crowded_query_is_named_and_gets_no_pair() -> None:
    rows = data_set("plain", 50, 8, 3)
    queries = data_set("plain", 4, 8, 4)
    floors = np.array([-np.inf, 2.0, -np.inf, np.inf], np.float32)
    found = matched("dot", rows, queries, floors, np.array([49, 100, 50, 0]))
    assert found.crowded.tolist() == [0]
    assert set(found.queries.tolist()) <= {1, 2}
    assert (found.queries == 2).sum() == 50


def test_a_query_crowded_in_a_later_chunk_loses_its_earlier_pairs_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(matching, "CHUNK_PRODUCTS", 10)
    rows = np.zeros((20, 2), np.float32)
    rows[:, 0] = 1
    rows[0, 0] = 5
    queries = np.array([[1, 0]], np.float32)
    found = matched("dot", rows, queries, np.array([1.0], np.float32), np.array([9]))
    assert found.crowded.tolist() == [0]
    assert not len(found.rows)


def test_no_queries_and_no_rows_are_no_pairs() -> None:
    empty = np.empty((0, 4), np.float32)
    some = data_set("plain", 3, 4, 5)
    assert not len(matched("dot", empty, some, np.zeros(3, np.float32)).rows)
    assert not len(matched("dot", some, empty, np.zeros(0, np.float32)).rows)
