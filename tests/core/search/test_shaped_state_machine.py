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
from tests.core.test_window_state_machine import vector as any_vector
from tests.core.variants import NUMPY, computing_with
from tests.filter_oracle import VALUES, filters_for, metadata_for
from tests.oracle.numbers import score
from tests.oracle.runs import runs
from tests.oracle.served import SERVED
from tests.oracle.shaping import Hit, Refused, search
from tests.oracle.strategies import examples, shapes, times

MAX_K = 40
FILTERS = filters_for(COLUMNS)
#: float32 values, as the oracle takes them
vector = any_vector.map(lambda one: np.array(one, np.float32).tolist())


#: What the ordinary machine does is left to it; the more is asked here.
NOT_HERE = None
RARELY = st.sampled_from([False, False, False, True])


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
        vectors = [self.any_vector(random) for _ in range(count)]
        rows = [any_metadata(random) for _ in range(count)]
        is_auto = self.definition.ids == "auto"
        keys = None if is_auto else random.sample(self.keys, count)
        self.add_rows(vectors, keys, rows)
        self.now_us += random.choice([0, 1, 250_000, 1_000_000])

    def any_vector(self, random: Random) -> list[float]:
        elements = [0.0, 1.0, -1.0, 0.5, 3.0, -0.1, random.uniform(-2, 2)]
        return [random.choice(elements[1:]), random.choice(elements), random.choice(elements)]

    @rule(data=st.data(), count=st.integers(1, 6))
    def shaped_searches(self, data: st.DataObject, count: int) -> None:
        at = data.draw(st.one_of(times, st.just(self.now_us / 1e6)))
        asked = [self.draw_fields(data) for _ in range(count)]
        for window in (self.window, self.replayed):
            variant = computing_with(NUMPY) if window is self.replayed else nullcontext()
            with variant:
                answers = window.search([self.shaped(one, at) for one in asked])
            for one, answer in zip(asked, answers, strict=True):
                self.compare_shaped(one, at, answer)

    def draw_fields(self, data: st.DataObject) -> dict[str, Any]:
        """What stands in the JSON of one search; ``vectors`` or ``like`` or ``positive``."""
        k = data.draw(st.sampled_from([1, 2, 3, 10, MAX_K]))
        there = sorted(self.keys_there(), key=str)
        ids = [*there, self.keys[-1]]
        sought: st.SearchStrategy[dict[str, Any]] = st.one_of(
            st.fixed_dictionaries({"vectors": st.lists(vector, min_size=1, max_size=2)}),
            st.fixed_dictionaries({"vectors": st.lists(vector, min_size=1, max_size=2)}),
            st.fixed_dictionaries({"like": st.sampled_from(ids)}),
            examples(vector, there),
            examples(vector, ids),
        )
        fields = {"k": k, **data.draw(sought)}
        others = {
            "filter": FILTERS,
            "min_score": st.sampled_from([-4.0, 0.0, 0.5, 1.0, 0.3, 1e300]),
            "last": st.integers(1, 40),
            "exclude": st.lists(st.sampled_from(ids), max_size=4),
        }
        for name, values in others.items():
            if data.draw(RARELY):
                fields[name] = data.draw(values)
        fields |= data.draw(shapes(tuple(COLUMNS.items()), self.definition.metric, k, MAX_K))
        if "spread" in fields and self.oracle.rows and data.draw(st.booleans()):
            fields["spread"] = {"max_similarity": self.some_similarity(data)}
        return fields

    def some_similarity(self, data: st.DataObject) -> float:
        """Of two rows that are there, or a float64 that is rounded to it."""
        rows = st.sampled_from(sorted(self.oracle.rows))
        one, other = (self.oracle.rows[data.draw(rows)].vector for _ in range(2))
        nearly_one = data.draw(st.sampled_from([1, 1 + 2**-30, 1 - 2**-30]))
        return score(self.definition.metric, one, other) * nearly_one

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


def any_metadata(random: Random) -> dict[str, Any]:
    made = {}
    for name, type_ in COLUMNS.items():
        values = [None, *VALUES[type_]]
        if type_ in ("f64", "i64"):  # times and prices that are none of the awkward ones
            values += [random.randint(0, 9)] * 6
        if random.random() < 0.8:
            made[name] = random.choice(values)
    return made


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
