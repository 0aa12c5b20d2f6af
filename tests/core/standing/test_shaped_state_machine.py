"""The law of live queries that are shaped: an answer is what search returns, to the bit.

Orders and selections of all kinds over a small window, all metrics and id kinds, columns with nulls
and times that stand still or leap; lists are cut and made anew, go deep, and are given up for
searches, all of it early. Search itself is held against an oracle elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from omendb_core.filters import parser as filters
from omendb_core.model.types import F32, ColumnType, IdKind, Metric
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Decay, Group, Order, Rank, Shape, Spread
from omendb_core.standing import live_lists, matcher, matching, orders, renewals
from omendb_core.standing.table import StandingQuery

from tests.core.standing.streams import DIM, START_US, Stream
from tests.examples import examples

COLUMNS: dict[str, ColumnType] = {"t": "f64", "n": "i64", "b": "bool", "g": "str"}
START = START_US / 1e6
element = st.sampled_from([0.0, 1.0, -1.0, 0.5, 3.0, -0.1, 1e-18])
vector = st.lists(element, min_size=DIM, max_size=DIM).filter(any)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "t": st.sampled_from([0.0, -0.0, START, START + 0.25, START - 1e6, 1e308, -1e308, None]),
        "n": st.sampled_from([-2, 0, 3, int(START), int(START) + 1, None]),
        "b": st.one_of(st.none(), st.booleans()),
        "g": st.sampled_from(["a", "b", "ü", None]),
    },
)
decay = st.builds(
    Decay, st.sampled_from([1e-3, 0.5, 10.0, 1e5, 1e12]), st.sampled_from([None, None, "t", "n"])
)
rank = st.sampled_from(
    [
        "$score",
        "n",
        {"$neg": "$score"},
        {"$log": "$score"},
        {"$mul": ["$score", {"$default": ["t", 1]}]},
        {"$add": [{"$default": ["n", 0]}, {"$mul": ["$score", 0.25]}]},
        {"$if": [{"g": "a"}, "$score", "n"]},
        {"$sub": [{"$default": ["b", 0.5]}, 1]},
        {"$mul": ["$score", {"$exp": {"$div": [{"$abs": "n"}, -4]}}]},
        {"$if": [{"n": {"$gte": 0}}, {"$pow": ["$score", 2]}, {"$div": ["$score", "n"]}]},
    ]
).map(lambda document: Rank(expression_of(document, COLUMNS, live=True)))
order: st.SearchStrategy[Order | None] = st.one_of(st.none(), decay, rank)
group = st.one_of(
    st.none(), st.builds(Group, st.sampled_from([*COLUMNS]), st.sampled_from([1, 1, 2, 5]))
)


def shapes(metric: Metric) -> st.SearchStrategy[Shape]:
    likeness = [-9.0, -2.0, -0.5, 0.0] if metric == "l2" else [-1.0, 0.0, 0.5, 0.99, 1.0]
    spread = st.one_of(st.none(), st.builds(Spread, st.sampled_from(likeness)))
    return st.builds(Shape, order, group, spread)


@pytest.fixture(autouse=True)
def little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 2)
    monkeypatch.setattr(renewals, "DEEPEST", 8)
    monkeypatch.setattr(renewals, "_TRIED_AGAIN", 3)
    monkeypatch.setattr(live_lists, "REBASE_ABOVE", 200)
    monkeypatch.setattr(orders, "_BOUNDS_NS", 1.0)
    monkeypatch.setattr(orders, "_PIECE_NS", 1.0)
    monkeypatch.setattr(matching, "_PIECE_ELEMENTS", 1)
    monkeypatch.setattr(matching, "_LEAST_MATCHED", 3)
    monkeypatch.setattr(matching, "_PIECE_NS", 1.0)
    monkeypatch.setattr(matcher, "_STEP_ENTRIES", 1)
    monkeypatch.setattr(matcher, "_STEP_LISTS", 1)


class ShapedMachine(RuleBasedStateMachine):
    @initialize(
        metric=st.sampled_from(["cosine", "dot", "l2"]),
        kind=st.sampled_from(["auto", "u64", "str"]),
        capacity=st.sampled_from([5, 20, 67]),
        ttl=st.sampled_from([None, 5.0]),
    )
    def start(self, metric: Metric, kind: IdKind, capacity: int, ttl: float | None) -> None:
        self.stream = Stream(
            capacity, [], metric=metric, kind=kind, columns=COLUMNS, ttl_seconds=ttl
        )
        self.shapes = shapes(metric)

    def rows(self, vectors: list[list[float]]) -> F32:
        return np.array(vectors, np.float32).reshape(-1, DIM)

    def numbers_there(self) -> list[int]:
        state = self.stream.window.state
        slots = state.ring.live_slots(state.first_seq, state.last_seq)
        ids = list(state.ids.of(slots))
        return [int(str(one).removeprefix("id-")) for one in ids]

    @rule(data=st.data(), count=st.integers(1, 12))
    def add(self, data: st.DataObject, count: int) -> None:
        count = min(count, self.stream.definition.capacity)
        vectors = data.draw(st.lists(vector, min_size=count, max_size=count))
        rows = data.draw(st.lists(metadata, min_size=count, max_size=count))
        numbers = data.draw(st.permutations(range(30)))[:count]
        self.stream.add(self.rows(vectors), numbers, rows)

    @precondition(lambda self: self.stream.window.rows)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        there = st.sampled_from(self.numbers_there())
        self.stream.delete(self.stream.ids(data.draw(st.lists(there, max_size=5))))

    @precondition(lambda self: self.stream.window.rows)
    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        there = st.sampled_from(self.numbers_there())
        numbers = data.draw(st.lists(there, min_size=1, max_size=4, unique=True))
        rows = data.draw(st.lists(metadata, min_size=len(numbers), max_size=len(numbers)))
        self.stream.update(numbers, rows)

    @rule(seconds=st.sampled_from([0.001, 1, 4, 20, 1e7]))
    def let_time_pass(self, seconds: float) -> None:
        self.stream.clock_us += int(seconds * 1_000_000)
        self.stream.expire()

    @rule(data=st.data(), count=st.integers(1, 4))
    def ask(self, data: st.DataObject, count: int) -> None:
        vectors = data.draw(st.lists(vector, min_size=count, max_size=count))
        queries = [data.draw(st.builds(StandingQuery, **self.fields())) for _ in range(count)]
        self.stream.ask_many(self.rows(vectors), queries)

    def fields(self) -> dict[str, Any]:
        return {"k": st.sampled_from([1, 1, 2, 3, 8]), "shape": self.shapes, **self.movable()}

    def movable(self) -> dict[str, Any]:
        numbers = st.lists(st.integers(0, 40), min_size=1, max_size=12)
        documents: list[Any] = [{"g": "a"}, {"n": {"$gte": 0}}, {"t": {"$exists": True}}]
        return {
            "filter": st.one_of(
                st.none(), st.sampled_from(documents).map(lambda one: filters.parse(one, COLUMNS))
            ),
            "min_score": st.sampled_from([None, None, -4.0, 0.0, 0.5]),
            "exclude": st.one_of(st.none(), numbers.map(self.stream.ids)),
        }

    @precondition(lambda self: self.stream.asked)
    @rule(data=st.data(), to=st.one_of(st.none(), vector))
    def move(self, data: st.DataObject, to: list[float] | None) -> None:
        handle = data.draw(st.sampled_from(self.stream.handles))
        chosen = data.draw(st.sets(st.sampled_from([*self.movable()])))
        changes = {name: data.draw(self.movable()[name]) for name in sorted(chosen)}
        self.stream.move(handle, None if to is None else self.rows([to]), **changes)

    @precondition(lambda self: self.stream.asked)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.stream.remove(data.draw(st.sampled_from(self.stream.handles)))

    @rule()
    def catch_up(self) -> None:
        self.stream.catch_up()

    @precondition(lambda self: self.stream.asked)
    @rule(data=st.data())
    def end_some_while_others_catch_up(self, data: st.DataObject) -> None:
        def end() -> None:
            for _ in range(min(2, len(self.stream.asked))):
                self.end(data)

        self.stream.catch_up(end)

    def teardown(self) -> None:
        if hasattr(self, "stream"):
            self.stream.catch_up()
            for handle in self.stream.handles:
                self.stream.remove(handle)
            assert self.stream.window.standing.nbytes == 0


TestShaped = ShapedMachine.TestCase
TestShaped.settings = settings(
    max_examples=examples(80), stateful_step_count=40, deadline=None, derandomize=True
)
