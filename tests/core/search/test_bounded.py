"""Searches by ``rank`` that leave rows out by limits, held against scoring every row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omendb_core.filters.parser import optional
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import METRICS, Definition, Metric
from omendb_core.ranking.shape_parser import shape_of
from omendb_core.search import best, bounded
from omendb_core.search.query import Answer, Query
from omendb_core.window import Window

from tests.core.windows import COLUMNS
from tests.examples import examples
from tests.oracle.strategies import expressions

ROWS, CAPACITY, DIM = 1200, 900, 6


@pytest.fixture(params=[0, 100], ids=["few rows let through", "more of them"])
def _small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that windows of tests have many."""
    monkeypatch.setattr(bounded, "_BLOCK_ROWS", 128)
    monkeypatch.setattr(bounded, "_LEAST_BLOCK_ROWS", 64)
    monkeypatch.setattr(bounded, "_LEAST_ROWS", 0)
    monkeypatch.setattr(bounded, "_LEAST_FOR_ONE", 4)
    monkeypatch.setattr(bounded, "_FIRST_ROWS", 64)
    monkeypatch.setattr(bounded, "_FIRST_FOR_ONE", 2)
    monkeypatch.setattr(bounded, "_STRETCH_ROWS", 320)
    monkeypatch.setattr(bounded, "_FLOOR_ROWS", 64)
    monkeypatch.setattr(bounded, "_FOUND", request.param)
    monkeypatch.setattr(best, "_KEPT", 0)
    monkeypatch.setattr(best, "_KEPT_FOR_ONE", 4)
    monkeypatch.setattr(best, "_PATIENCE", 1 << 20)
    monkeypatch.setattr(best, "_SCORED_ROWS", 50)


def filled(metric: Metric, seed: int, rows: int = ROWS, capacity: int = CAPACITY) -> Window:
    """Ties among vectors and values; rows that left, and slots that were overwritten."""
    random = np.random.default_rng(seed)
    window = Window(Definition(DIM, capacity, metric, "u64", COLUMNS))
    for start in range(0, rows, 100):
        vectors = random.integers(-3, 4, (100, DIM)).astype(np.float32) + np.float32(0.25)
        columns = {
            "price": random.choice([0.0, 1.5, -2.0, 1e300, np.nan], 100),
            "stock": random.integers(-5, 5, 100),
        }
        ids = np.arange(start, start + 100, dtype=np.uint64)
        batch = RowBatch(vectors, ids, columns)
        window.apply(window.admit_add(AddRequest(batch), start * 1000))  # type: ignore[arg-type]
    gone = random.choice(rows, rows // 10, replace=False).astype(np.uint64)
    deleted = window.admit_delete(gone, rows * 1000)
    if deleted is not None:
        window.apply(deleted)
    return window


def query(window: Window, vectors: Any, document: Any, **fields: Any) -> Query:
    k = fields.pop("k", 10)
    selection = fields.pop("selection", {})
    shape = shape_of({"rank": document, **selection}, window.definition, k, 1000, live=False)
    return Query(vectors, k=k, shape=shape, at=3.0, **fields)


def assert_as_if_every_row_were_scored(window: Window, asked: Query) -> Answer:
    [found] = window.search([asked])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded, "_LEAST_ROWS", 1 << 40)
        [expected] = window.search([asked])
    assert isinstance(found, Answer)
    assert isinstance(expected, Answer)
    assert found.counts.tolist() == expected.counts.tolist()
    assert found.hits.seqs.tolist() == expected.hits.seqs.tolist()
    assert found.hits.scores is not None
    assert expected.hits.scores is not None
    assert found.hits.scores.tobytes() == expected.hits.scores.tobytes()
    assert found.hits.ranks is not None
    assert expected.hits.ranks is not None
    assert found.hits.ranks.tobytes() == expected.hits.ranks.tobytes()
    return found


WINDOWS = {metric: filled(metric, seed) for seed, metric in enumerate(METRICS)}


@pytest.mark.usefixtures("_small")
@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_expression_answers_as_if_every_row_were_scored(data: st.DataObject) -> None:
    window = WINDOWS[data.draw(st.sampled_from(METRICS))]
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    vectors = random.normal(size=(data.draw(st.integers(1, 8)), DIM)).astype(np.float32)
    document = data.draw(expressions(tuple(COLUMNS.items())))
    filters = [None, {"price": {"$lt": 1}}, {"stock": 2}]
    chosen = data.draw(st.sampled_from(filters))
    assert_as_if_every_row_were_scored(
        window,
        query(
            window,
            vectors,
            document,
            k=data.draw(st.sampled_from([1, 10, 60])),
            filter=optional(chosen, COLUMNS),
            last=data.draw(st.sampled_from([None, 300])),
            min_score=data.draw(st.sampled_from([None, -20.0, 0.3])),
            exclude=np.array([900, 1000, 1100], np.uint64),
            selection=data.draw(
                st.sampled_from(
                    [{}, {"group": {"by": "stock"}}, {"spread": {"max_similarity": -0.5}}]
                )
            ),
        ),
    )


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("metric", METRICS)
def test_few_rows_are_scored(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 900 rows, for 5: else nothing would be gained, and no test would tell."""
    window = WINDOWS[metric]
    scored: list[int] = []
    whole = best.score.score_chosen

    def counting(*arguments: Any) -> Any:
        scored.append(len(arguments[2]))
        return whole(*arguments)

    monkeypatch.setattr(best.score, "score_chosen", counting)
    vectors = np.random.default_rng(5).normal(size=(1, DIM)).astype(np.float32)
    [found] = window.search([query(window, vectors, {"$add": ["$score", "stock"]}, k=5)])
    assert isinstance(found, Answer)
    assert 5 <= sum(scored) < 300


@pytest.mark.usefixtures("_small")
def test_a_query_of_which_too_little_is_known_has_every_row_scored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(best, "_PATIENCE", 0)
    window = WINDOWS["dot"]
    vectors = np.random.default_rng(6).normal(size=(2, DIM)).astype(np.float32)
    document = {"$pow": [2, {"$div": [1, "$score"]}]}
    state, shape = window.state, query(window, vectors, document).shape
    steps = bounded.first(
        state,
        shape.order,
        3.0,
        vectors,
        10,
        np.float32(-np.inf),
        state.ring.live_words,  # type: ignore[arg-type]
    )
    assert shaped_of(steps) == [None, None]
    assert_as_if_every_row_were_scored(window, query(window, vectors, document))


def shaped_of(steps: Any) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_a_window_of_the_usual_size_is_read_in_blocks() -> None:
    window = filled("cosine", 9, rows=9000, capacity=8000)
    vectors = np.random.default_rng(7).normal(size=(9, DIM)).astype(np.float32)
    document = {"$sub": [{"$mul": [2, "$score"]}, {"$div": ["$age", 5]}]}
    found = assert_as_if_every_row_were_scored(window, query(window, vectors, document))
    assert found.counts.tolist() == [10] * 9


@pytest.mark.usefixtures("_small")
def test_fewer_rows_are_bounded_at_once_by_an_expression_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as take no longer than a piece of work should, and whole words of them."""
    window = filled("cosine", 3)
    scan, rows = window.state.scan, []
    whole = scan.score_bounds

    def noted(*arguments: Any) -> Any:
        rows.append(arguments[4] - arguments[3])
        return whole(*arguments)

    monkeypatch.setattr(scan, "score_bounds", noted)
    vectors = np.random.default_rng(7).normal(size=(1, DIM)).astype(np.float32)
    light: Any = {"$add": ["$score", "stock"]}
    heavy: Any = {"$add": [light, *[{"$exp": {"$mul": ["$score", n]}} for n in range(12)]]}
    monkeypatch.setattr(bounded, "_BLOCK_ROWS", 512)
    least_ns = 2 * bounded.costs.ns_a_row(query(window, vectors, heavy).shape.order.expression)  # type: ignore[union-attr]
    monkeypatch.setattr(bounded, "_BLOCK_NS", 128 * least_ns)
    assert_as_if_every_row_were_scored(window, query(window, vectors, light))
    assert max(rows) > 128
    rows.clear()
    assert_as_if_every_row_were_scored(window, query(window, vectors, heavy))
    assert max(rows) <= 128
