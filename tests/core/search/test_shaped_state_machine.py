"""Whatever happened to a window, a shaped search answers as the oracle does, to the bit.

All fields together, all metrics, all kinds of ids, nulls; through eviction, replacement, delete,
update and expiry. The window that was replayed in numpy alone has to say the same as the one in C.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from omendb_core.filters import parser as filters
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Hits, IdKind, Metric
from omendb_core.ranking.shape_parser import shape_of
from omendb_core.search.query import Answer, Examples, Query

from tests.core.test_window_state_machine import COLUMNS, WindowMachine, f32_matrix
from tests.core.variants import NUMPY, computing_with
from tests.filter_oracle import metadata_for
from tests.oracle.asking import RARELY, any_metadata, any_vector, draw_search
from tests.oracle.runs import runs
from tests.oracle.served import SERVED
from tests.oracle.shaping import Hit, Refused, search
from tests.oracle.strategies import times

MAX_K = 40
DECLARED = tuple(COLUMNS.items())
#: What the ordinary machine does is left to it; the more is asked here.
NOT_HERE = None


class ShapedMachine(WindowMachine):
    rows_metadata = metadata_for(COLUMNS)
    search = count = read_as_a_feed = NOT_HERE

    @initialize(
        metric=st.sampled_from(["cosine", "dot", "l2"]),
        ids=st.sampled_from(["auto", "u64", "str"]),
        capacity=st.sampled_from([2, 9, 30, 64, 67]),
        ttl=RARELY,
        seed=st.integers(0, 2**32),
    )
    def start(self, metric: Metric, ids: IdKind, capacity: int, ttl: bool, seed: int) -> None:
        self.begin(metric, ids, capacity, ttl)
        self.keys = (
            [f"id-{n}" for n in range(40)] if ids == "str" else [0, 2**64 - 1, *range(1, 39)]
        )

        self.add(seed, 40)

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 30))
    def add(self, seed: int, count: int) -> None:
        """Out of a seed: drawn one by one, they would leave hypothesis little to ask with."""
        count = min(count, self.definition.capacity)
        random = Random(seed)
        vectors = [any_vector(random) for _ in range(count)]
        rows = [any_metadata(random, COLUMNS) for _ in range(count)]
        is_auto = self.definition.ids == "auto"
        keys = None if is_auto else random.sample(self.keys, count)
        self.add_rows(vectors, keys, rows)
        self.now_us += random.choice([0, 1, 250_000, 1_000_000])

    @rule(data=st.data(), count=st.integers(1, 6))
    def shaped_searches(self, data: st.DataObject, count: int) -> None:
        at = data.draw(st.one_of(times, st.just(self.now_us / 1e6)))
        asked = [
            draw_search(data, self.oracle, self.keys[-1], DECLARED, MAX_K) for _ in range(count)
        ]
        for window in (self.window, self.replayed):
            variant = computing_with(NUMPY) if window is self.replayed else nullcontext()
            with variant:
                answers = window.search([self.shaped(one, at) for one in asked])
            for one, answer in zip(asked, answers, strict=True):
                self.compare_shaped(one, at, answer)

    def shaped(self, fields: dict[str, Any], at: float) -> Query:
        shape = shape_of(fields, self.definition, fields["k"], MAX_K, live=False)
        sought: dict[str, Any] = {"vectors": None}
        if "vectors" in fields:
            sought["vectors"] = f32_matrix(fields["vectors"])
        elif "like" in fields:
            sought["like"] = self.ids([fields["like"]])
        else:
            given = (fields["positive"], fields.get("negative", []))
            sought["examples"] = Examples(*map(self.example, given))
        return Query(
            k=fields["k"],
            filter=filters.parse(fields["filter"], COLUMNS) if "filter" in fields else None,
            min_score=fields.get("min_score"),
            last=fields.get("last"),
            exclude=self.ids(fields["exclude"]) if "exclude" in fields else None,
            shape=shape,
            at=at,
            **sought,
        )

    def example(self, given: list[Any]) -> tuple[Any, ...]:
        return tuple(np.array(one, np.float32) if isinstance(one, list) else one for one in given)

    def compare_shaped(self, fields: dict[str, Any], at: float, answer: Answer | OmenError) -> None:
        try:
            expected = [
                search(self.oracle, {**fields, "vector": one}, at, MAX_K, SERVED)
                for one in fields.get("vectors", [None])
            ]
        except Refused as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert isinstance(answer, OmenError), (fields, at)
            assert answer.code == refused.code
            assert "like" in fields or answer.row == refused.row
            return
        assert isinstance(answer, Answer), answer
        assert answer.counts.tolist() == list(map(len, expected)), (fields, at, expected)
        compare_hits(answer.hits, [hit for one in expected for hit in one], fields)


def compare_hits(hits: Hits, expected: list[Hit], fields: dict[str, Any]) -> None:
    """Ids, seqs, scores and ranks to the bit, weights within what rounding twice may do."""
    assert hits.scores is not None
    assert list(hits.ids) == [hit.id for hit in expected], (fields, hits, expected)
    assert hits.seqs.tolist() == [hit.seq for hit in expected]
    assert hits.scores.tolist() == [hit.score for hit in expected]
    assert (hits.ranks is not None) == ("decay" in fields or "rank" in fields)
    if hits.ranks is not None:
        found = [None if math.isnan(rank) else rank for rank in hits.ranks.tolist()]
        assert found == [hit.rank for hit in expected], (fields, expected)
    assert (hits.weights is not None) == ("decay" in fields)
    if hits.weights is not None:
        assert hits.weights.dtype == np.float32
        for weight, hit in zip(hits.weights.tolist(), expected, strict=True):
            assert math.isnan(weight) == (hit.weight is None)
            if hit.weight is not None:
                assert math.isclose(weight, hit.weight, rel_tol=2**-22, abs_tol=2**-149)


TestShaped = ShapedMachine.TestCase
TestShaped.settings = runs(100, 25)
