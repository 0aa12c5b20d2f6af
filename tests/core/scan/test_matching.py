"""Rows against standing queries: every pair that reaches its floor, and no other, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.types import F32, I64, METRICS, Metric
from omendb_core.rows.shadow import Shadow
from omendb_core.scan import choice as scan
from omendb_core.scan import interface, matching
from omendb_core.scoring import score
from omendb_core.standing.table import StandingQuery, Table

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
) -> interface.Pairs:
    upper = (score.norms(rows) * (1 + 2.0**-20)).astype(np.float32)
    most = np.full(len(queries), UNBOUNDED) if most is None else most
    shadows: list[Shadow | None] = [None]
    if native.is_there and len(queries):
        for centre in (np.zeros_like(queries[0]), queries.mean(axis=0)):
            shadows.append(Shadow(len(queries), queries.shape[1], metric))
            shadows[-1].move_centre(centre, queries)  # type: ignore[union-attr]
    found = [
        scan.choose(name).pairs_above(
            metric, rows, upper, interface.Subscribed(queries, score.norms(queries), shadow),
            floors, most,
        )
        for shadow in shadows
        for name in scan.names()
    ]  # fmt: skip
    for one in found[1:]:
        for column, expected in zip(one, found[0], strict=True):
            assert column.dtype == expected.dtype
            assert column.tobytes() == expected.tobytes()
    return found[0]


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


def test_standing_queries_far_from_the_origin_are_quantised_around_their_middle() -> None:
    if not native.is_there:
        pytest.skip("there is no C extension here")
    queries = data_set("offset", 600, 8, 15)
    table = Table(8, "dot")
    for part in np.split(np.arange(600), 6):
        handles = table.take([StandingQuery(3)] * len(part))
        table.set_vectors(handles, queries[part])
    shadow = table.subscribed.shadow
    assert shadow is not None
    assert np.abs(shadow.centre - 1000).max() < 1
    shadow.check(table.vectors[:600], np.arange(600))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [1, 5, 6, 7, 13, 64])
def test_rows_and_queries_of_all_numbers_are_matched(metric: Metric, count: int) -> None:
    for dim, asking in ((3, 1), (17, 63), (32, 64), (9, 200)):
        rows = score.prepare(data_set("plain", count, dim, 7), metric)
        queries = score.prepare(data_set("ties", asking, dim, 8), metric)
        near = score.score_pairs(metric, np.resize(rows, queries.shape), queries)
        for share in (0.0, 0.5, 1.0):
            floors = near.copy()
            floors[np.random.default_rng(9).random(asking) < share] = np.inf
            found = matched(metric, rows, queries, floors)
            assert len(found.rows) >= np.count_nonzero(floors[:count] < np.inf)


@pytest.mark.parametrize("metric", METRICS)
def test_floors_that_everything_or_nothing_reaches(metric: Metric) -> None:
    rows = score.prepare(data_set("plain", 30, 12, 10), metric)
    queries = score.prepare(data_set("plain", 100, 12, 11), metric)
    for floor in (-np.inf, -3e38, -1e-42, 0.0, 1e-42, 0.99, 1.0, 3e38, np.inf):
        floors = np.full(100, floor, np.float32)
        matched(metric, rows, queries, floors)
        matched(metric, np.concatenate((queries, rows)), queries, floors)


def test_rows_of_very_different_lengths_are_matched_in_classes() -> None:
    rng = np.random.default_rng(12)
    rows = data_set("plain", 200, 10, 13) * np.exp(rng.uniform(-6, 6, (200, 1))).astype(np.float32)
    queries = data_set("plain", 80, 10, 14)
    floors = rng.uniform(0, 500, 80).astype(np.float32)
    found = matched("dot", rows, queries, floors)
    assert len(np.unique(found.queries)) > 70
    most = np.full(80, 20)
    assert len(matched("dot", rows, queries, floors, most).crowded)
