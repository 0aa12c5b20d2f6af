"""Many searches in one call: each is answered as if it had been asked alone, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.errors import DimMismatch, NonFinite, OmenError, ZeroNorm
from omendb_core.model.types import Definition, Metric
from omendb_core.search.query import Answer, Query
from omendb_core.window import Window


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_each_search_is_answered_as_if_it_were_alone(metric: Metric) -> None:
    random = np.random.default_rng(7)
    window = Window(Definition(5, 50, metric=metric))
    rows = random.normal(size=(60, 5)).astype(np.float32)
    for start in range(0, 60, 20):
        ids = np.arange(start, start + 20, dtype=np.uint64)
        request = AddRequest(RowBatch(rows[start : start + 20], ids))
        change = window.admit_add(request, start)
        window.apply(change)  # type: ignore[arg-type]
    queries = [Query(random.normal(size=(n, 5)).astype(np.float32), k=n + 2) for n in (1, 3, 1)]
    queries.append(Query(None, like=np.array([30], np.uint64), k=4))
    bad = [
        Query(np.ones((1, 4), np.float32)),
        Query(np.array([[1, 2, np.nan, 4, 5]], np.float32)),
        Query(np.full((1, 5), 3e38, np.float32)),
        Query(np.zeros((1, 5), np.float32)),
    ]
    expected: list[type[OmenError]] = [DimMismatch, NonFinite, NonFinite, ZeroNorm]
    alone = [window.search([query])[0] for query in queries]
    for count in range(len(bad) + 1):
        mixed = [*bad[:count], *queries]
        outcomes = window.search(mixed)
        for outcome, error in zip(outcomes[:count], expected, strict=False):
            if error is ZeroNorm and metric != "cosine":
                assert isinstance(outcome, Answer)
            else:
                assert isinstance(outcome, error)
                assert outcome.row is None
        for outcome, one in zip(outcomes[count:], alone, strict=True):
            assert isinstance(outcome, Answer)
            assert isinstance(one, Answer)
            assert outcome.counts.tolist() == one.counts.tolist()
            assert outcome.hits.seqs.tolist() == one.hits.seqs.tolist()
            assert outcome.hits.scores is not None
            assert one.hits.scores is not None
            assert outcome.hits.scores.tobytes() == one.hits.scores.tobytes()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("filled", [0, 3, 60])
def test_plain_searches_are_answered_as_others_are(metric: Metric, filled: int) -> None:
    random = np.random.default_rng(filled)
    window = Window(Definition(5, 50, metric=metric))
    for seq in range(filled):
        row = random.normal(size=(1, 5)).astype(np.float32)
        batch = RowBatch(row, np.array([seq], np.uint64))
        window.apply(window.admit_add(AddRequest(batch), seq))  # type: ignore[arg-type]
    if filled == 60:
        window.apply(window.admit_delete(np.array([20, 59], np.uint64), 99))  # type: ignore[arg-type]
    vectors = random.normal(size=(4, 5)).astype(np.float32)
    k = np.array([1, 7, 50, 900], np.int64)
    found = window.search_all(vectors, k)
    ends = np.cumsum(found.counts)
    for place in range(4):
        (alone,) = window.search([Query(vectors[place : place + 1], k=int(k[place]))])
        assert isinstance(alone, Answer)
        here = slice(int(ends[place] - found.counts[place]), int(ends[place]))
        for mine, other in zip(
            (found.hits.ids, found.hits.seqs, found.hits.scores),
            (alone.hits.ids, alone.hits.seqs, alone.hits.scores),
            strict=True,
        ):
            assert isinstance(mine, np.ndarray)
            assert isinstance(other, np.ndarray)
            assert mine[here].tobytes() == other.tobytes()


def test_a_plain_search_at_fault_is_refused() -> None:
    window = Window(Definition(2, 5))
    k = np.ones(2, np.int64)
    for vectors, error in (
        (np.ones((2, 3), np.float32), DimMismatch),
        (np.array([[1, 1], [0, 0]], np.float32), ZeroNorm),
        (np.array([[1, 1], [np.inf, 0]], np.float32), NonFinite),
    ):
        with pytest.raises(error):
            window.search_all(vectors, k)
