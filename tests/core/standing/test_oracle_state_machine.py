"""The law of live queries that are shaped, against the oracle: every answer is the naive search's.

The window's machine goes on underneath, in C or in numpy; queries come, move in any of what they
ask, and go; a round of catching up is cut into pieces of almost nothing, and lists run out early.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from omendb_core.filters import parser as filters
from omendb_core.model.types import F32
from omendb_core.ranking.shape_parser import shape_of
from omendb_core.standing import live_lists, matcher, matching, orders, renewals
from omendb_core.standing.table import StandingQuery

from tests.core.search.test_shaped_state_machine import DECLARED, MAX_K, NOT_HERE, ShapedMachine
from tests.core.test_window_state_machine import COLUMNS
from tests.core.variants import NUMPY, computing_with
from tests.oracle.asking import draw_others, vectors
from tests.oracle.runs import runs
from tests.oracle.served import SERVED
from tests.oracle.shaping import Hit, Refused, answer, query_vector
from tests.oracle.strategies import examples

#: What a move may replace.
MOVABLE = ("filter", "min_score", "exclude")


@pytest.fixture(autouse=True)
def little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 2)
    monkeypatch.setattr(renewals, "DEEPEST", 8)
    monkeypatch.setattr(renewals, "_TRIED_AGAIN", 3)
    monkeypatch.setattr(live_lists, "REBASE_ABOVE", 200)
    monkeypatch.setattr(matching, "_PIECE_ELEMENTS", 1)
    monkeypatch.setattr(matching, "_LEAST_MATCHED", 3)
    monkeypatch.setattr(matching, "_PIECE_NS", 1.0)
    monkeypatch.setattr(orders, "_PIECE_NS", 1.0)
    monkeypatch.setattr(matcher, "_STEP_ENTRIES", 1)
    monkeypatch.setattr(matcher, "_STEP_LISTS", 1)
    monkeypatch.setattr(matching, "_MOST_ENTERING", 5)
    monkeypatch.setattr(matching, "_STEP_ENTERING", 2)


class Asked:
    """A live query: its target and what it leaves out as they were when it came, its fields."""

    def __init__(self, target: list[float], left_out: set[Any], fields: dict[str, Any]) -> None:
        self.target, self.left_out, self.fields = target, left_out, fields
        self.shown: list[Hit] = []


class LiveMachine(ShapedMachine):
    shaped_searches = NOT_HERE

    @initialize(in_numpy=st.booleans())
    def nobody_asks(self, in_numpy: bool) -> None:
        self.in_numpy = in_numpy
        self.asked: dict[int, Asked] = {}

    @property
    def standing(self) -> matcher.Matcher:
        return (self.replayed if self.in_numpy else self.window).standing

    def computing(self) -> AbstractContextManager[None]:
        return computing_with(NUMPY) if self.in_numpy else nullcontext()

    # -- queries come, move and go ---------------------------------------------------------------

    def sought(self, data: st.DataObject) -> tuple[list[float], set[Any]] | None:
        """A target, and the examples that it is made of."""
        known = sorted(self.keys_there(), key=str)
        either = st.one_of(vectors.map(lambda one: {"vector": one}), examples(vectors, known))
        try:
            return query_vector(self.oracle, data.draw(either))
        except Refused:  # the target is no vector
            return None

    @precondition(lambda self: len(self.asked) < 12)
    @rule(data=st.data(), count=st.integers(1, 4))
    def subscribe(self, data: st.DataObject, count: int) -> None:
        self.catch_up()
        coming = []
        for _ in range(count):
            sought = self.sought(data)
            if sought is not None:
                fields = draw_others(data, self.oracle, self.keys[-1], DECLARED, MAX_K, live=True)
                coming.append(Asked(*sought, fields))
        with self.computing():
            handles = self.standing.add(
                [self.query(one) for one in coming], self.targets(coming)
            ).tolist()
        for handle, one in zip(handles, coming, strict=True):
            assert handle not in self.asked
            self.asked[handle] = one
            self.compare(handle)

    def query(self, one: Asked) -> StandingQuery:
        fields = one.fields
        exclude = one.left_out | set(fields.get("exclude", ()))
        return StandingQuery(
            k=fields["k"],
            filter=filters.parse(fields["filter"], COLUMNS) if "filter" in fields else None,
            min_score=fields.get("min_score"),
            exclude=self.ids(sorted(exclude, key=str)) if exclude else None,
            shape=shape_of(fields, self.definition, fields["k"], MAX_K, live=True),
        )

    def targets(self, asked: list[Asked]) -> F32:
        found: F32 = np.array([one.target for one in asked], np.float32)
        return found.reshape(len(asked), self.definition.dim)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), with_vector=st.booleans())
    def move(self, data: st.DataObject, with_vector: bool) -> None:
        self.catch_up()
        handle = data.draw(st.sampled_from(sorted(self.asked)))
        one = self.asked[handle]
        new = draw_others(data, self.oracle, self.keys[-1], DECLARED, MAX_K, live=True)
        kept = {name: value for name, value in one.fields.items() if name not in MOVABLE}
        fields = kept | {name: new[name] for name in MOVABLE if name in new}
        target, left_out = (self.sought(data) if with_vector else None) or (
            one.target,
            one.left_out,
        )
        self.asked[handle] = moved = Asked(target, left_out, fields)
        with self.computing():
            self.standing.move(np.array([handle]), self.targets([moved]), [self.query(moved)])
        self.compare(handle)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        handle = data.draw(st.sampled_from(sorted(self.asked)))
        self.standing.remove([handle])
        del self.asked[handle]

    # -- the law ---------------------------------------------------------------------------------

    @rule()
    def catch_up(self) -> None:
        named: set[int] = set()
        with self.computing():
            for _ in range(1000):
                if not self.standing.behind:
                    break
                advance = self.standing.step()
                if advance is not None:
                    named.update(advance.changed.tolist())
            assert not self.standing.behind
            self.standing.check()
        for handle, one in self.asked.items():
            before = one.shown
            self.compare(handle)
            assert handle in named or one.shown == before, "nobody said that it has changed"

    def compare(self, handle: int) -> None:
        one = self.asked[handle]
        left_out = one.left_out | set(one.fields.get("exclude", ()))
        expected = answer(self.oracle, one.target, left_out, one.fields, 0.0, MAX_K, SERVED)
        found = self.standing.lists.answers(np.array([handle]))
        assert found.seqs.tolist() == [hit.seq for hit in expected], (one.fields, expected)
        assert found.scores.tolist() == [hit.score for hit in expected]
        if "decay" in one.fields or "rank" in one.fields:
            assert found.ranks is not None
            ranks = [None if math.isnan(rank) else rank for rank in found.ranks.tolist()]
            assert ranks == [hit.rank for hit in expected]
        one.shown = [replace(hit, weight=None) for hit in expected]

    def teardown(self) -> None:
        if hasattr(self, "asked") and hasattr(self, "window"):
            self.catch_up()
            self.standing.remove(sorted(self.asked))
            assert self.standing.nbytes == 0


TestLive = LiveMachine.TestCase
TestLive.settings = runs(80, 30)
