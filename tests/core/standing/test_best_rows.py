"""Lists of queries by ``rank`` are made of the rows that a search over every row finds."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Rank, Shape
from omendb_core.search import best, bounded
from omendb_core.search.query import Answer, Query
from omendb_core.standing.table import StandingQuery

from tests.core.search.test_bounded import DIM, filled
from tests.core.windows import COLUMNS


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_a_list_by_rank_is_made_of_few_rows_that_are_scored(
    metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = filled(metric, 3)  # type: ignore[arg-type]
    rank = Rank(expression_of({"$add": ["$score", "stock"]}, COLUMNS, live=True))
    shape, k = Shape(rank), 5
    vectors = np.random.default_rng(1).normal(size=(4, DIM)).astype(np.float32)
    expected = window.search([Query(vector[None], k=k, shape=shape, at=0.0) for vector in vectors])
    monkeypatch.setattr(bounded, "_LEAST_ROWS", 0)
    monkeypatch.setattr(bounded, "_LEAST_FOR_ONE", 8)
    scored: list[int] = []
    whole = best.score.score_chosen

    def counting(*arguments: object) -> object:
        scored.append(len(arguments[2]))  # type: ignore[arg-type]
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(best.score, "score_chosen", counting)
    handles = window.standing.add([StandingQuery(k, shape=shape)] * len(vectors), vectors)
    assert 0 < sum(scored) < len(vectors) * window.rows / 2
    for handle, answer in zip(handles.tolist(), expected, strict=True):
        assert isinstance(answer, Answer)
        found = window.standing.lists.answers(np.array([handle]))
        assert found.seqs.tolist() == answer.hits.seqs.tolist()
        assert found.ranks is not None
        assert answer.hits.ranks is not None
        assert found.ranks.tobytes() == answer.hits.ranks.tobytes()
