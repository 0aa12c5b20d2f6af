"""The law of live queries: whatever happens to the window, an answer is what search returns.

The window's own state machine goes on underneath; standing queries come, move and go between its
changes, several changes may lie between two steps, queries end while one is under way, its parts
are of two rows or a list, and few lists are made anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from omendb_core.filters import parser as filters
from omendb_core.scoring import score
from omendb_core.standing import matcher as live
from omendb_core.standing import matching, renewals
from omendb_core.standing.table import StandingQuery

from tests.core.test_window_state_machine import COLUMNS, WindowMachine, f32_matrix
from tests.core.test_window_state_machine import vector as any_vector
from tests.examples import examples
from tests.filter_oracle import filters_for

#: float32 values, as the oracle takes them
vector = any_vector.map(lambda one: np.array(one, np.float32).tolist())


@pytest.fixture(autouse=True)
def few_lists_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 2)
    monkeypatch.setattr(matching, "_PIECE_ELEMENTS", 1)
    monkeypatch.setattr(matching, "_LEAST_MATCHED", 2)
    monkeypatch.setattr(live, "_STEP_ENTRIES", 1)
    monkeypatch.setattr(live, "_STEP_LISTS", 1)


class LiveMachine(WindowMachine):
    """``asked``: what each handle asks; ``shown``: (id, seq, score) of its last answer."""

    @initialize()
    def nobody_asks(self) -> None:
        self.asked: dict[int, dict[str, Any]] = {}
        self.shown: dict[int, list[tuple[Any, int, float]]] = {}
        self.matched_from = 1

    def expected(self, handle: int) -> list[tuple[Any, int, float]]:
        one = self.asked[handle]
        k = one["k"] or 10_000
        return self.oracle.search(
            one["vector"], k, document=one["filter"], min_score=one["min_score"]
        )

    def answer(self, handle: int) -> list[tuple[Any, int, float]]:
        seqs, scores = self.window.standing.lists.answer(handle)
        rows = [self.oracle.rows[seq] for seq in seqs.tolist()]
        return [(row.id, row.seq, s) for row, s in zip(rows, scores.tolist(), strict=True)]

    @rule(data=st.data(), count=st.integers(1, 4))
    def subscribe(self, data: st.DataObject, count: int) -> None:
        self.step()
        coming = data.draw(st.lists(st.fixed_dictionaries(self.fields()), max_size=count))
        if not coming:
            return
        queries = [self.standing_query(one) for one in coming]
        prepared = score.prepare(
            f32_matrix([one["vector"] for one in coming]), self.definition.metric
        )
        handles = self.window.standing.add(queries, prepared).tolist()
        for handle, one in zip(handles, coming, strict=True):
            assert handle not in self.asked
            self.asked[handle] = one
            if one["k"]:
                self.shown[handle] = self.answer(handle)
                assert self.shown[handle] == self.expected(handle)

    def fields(self) -> dict[str, Any]:
        return {
            "vector": vector,
            "k": st.sampled_from([None, 1, 1, 2, 3, 8]),
            "filter": st.one_of(st.none(), st.none(), filters_for(COLUMNS)),
            "min_score": st.sampled_from([-4.0, 0.0, 0.5, 1.0]),
            "wants_metadata": st.booleans(),
        }

    def standing_query(self, one: dict[str, Any]) -> StandingQuery:
        return StandingQuery(
            k=one["k"],
            filter=None if one["filter"] is None else filters.parse(one["filter"], COLUMNS),
            min_score=one["min_score"],
            wants_metadata=one["wants_metadata"],
        )

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        handles = st.sampled_from(sorted(self.asked))
        for handle in data.draw(st.lists(handles, min_size=1, max_size=3, unique=True)):
            self.window.standing.remove([handle])
            del self.asked[handle]
            self.shown.pop(handle, None)

    @precondition(lambda self: self.shown)
    @rule(data=st.data(), to=vector)
    def move(self, data: st.DataObject, to: list[float]) -> None:
        self.step()
        handle = data.draw(st.sampled_from(sorted(self.shown)))
        prepared = score.prepare(f32_matrix([to]), self.definition.metric)
        self.window.standing.move(np.array([handle]), prepared)
        self.asked[handle]["vector"] = to
        self.shown[handle] = self.answer(handle)
        assert self.shown[handle] == self.expected(handle)

    @rule()
    def step(self) -> None:
        self.catch_up(lambda: None)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def unsubscribe_while_rows_are_matched(self, data: st.DataObject) -> None:
        self.catch_up(lambda: self.unsubscribe(data))

    def catch_up(self, between: Callable[[], None]) -> None:
        """Catch up completely; every answer is right, and every changed one was named.

        What is done ``between`` two parts of it, is once.
        """
        standing = self.window.standing
        before = dict(self.shown)
        named: set[int] = set()
        matched: list[tuple[int, int, float]] = []
        for _ in range(100):
            if not standing.behind:
                break
            advance = standing.step()
            if advance is None:
                assert standing.is_outdated
                between()
                between = lambda: None  # noqa: E731
                continue
            named.update(advance.changed.tolist())
            matched += [
                hit
                for hit in zip(
                    advance.matched.tolist(), advance.seqs.tolist(), advance.scores.tolist(),
                    strict=True,
                )
                if hit[0] in self.asked
            ]  # fmt: skip
        assert not standing.behind
        standing.check()
        for handle in self.shown:
            self.shown[handle] = self.answer(handle)
            assert self.shown[handle] == self.expected(handle)
            assert handle in named or self.shown[handle] == before[handle]
        assert sorted(matched) == sorted(
            (handle, seq, found)
            for handle, one in self.asked.items()
            if one["k"] is None
            for _, seq, found in self.expected(handle)
            if seq >= self.matched_from
        )
        self.matched_from = self.window.last_seq + 1

    @invariant()
    def the_count_is_right(self) -> None:
        assert len(self.window.standing) == len(self.asked)


TestLive = LiveMachine.TestCase
TestLive.settings = settings(
    max_examples=examples(120), stateful_step_count=40, deadline=None, derandomize=True
)
