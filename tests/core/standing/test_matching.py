"""Rows and queries that have an order: how many are matched in one call, and enter lists in one."""

from __future__ import annotations

from typing import Any

import pytest
from omendb_core.ranking.costs import ns_a_row
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Rank, Shape
from omendb_core.standing import matching, orders
from omendb_core.standing.table import StandingQuery

from tests.core.standing.streams import Stream

QUERIES = 4
ROWS = 30


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each call, as they are made."""
    match, found = matching.Matching._match, []

    def noted(self: Any, slots: Any, *more: Any) -> Any:
        found.append(len(slots))
        return match(self, slots, *more)

    monkeypatch.setattr(matching.Matching, "_match", noted)
    return found


def asked(document: Any) -> tuple[Stream, float]:
    """A full window with live queries by an expression, and what ten rows take with all of them."""
    expression = expression_of(document, {"n": "i64"}, live=True)
    stream = Stream(100, [], columns={"n": "i64"})
    stream.add(stream.rows(100), metadata=[{"n": n} for n in range(100)])
    query = StandingQuery(3, shape=Shape(Rank(expression)))
    stream.ask_many(stream.rows(QUERIES), [query] * QUERIES)
    stream.catch_up()
    return stream, 10 * QUERIES * (matching._PAIR_NS + ns_a_row(expression))


@pytest.mark.parametrize("document", ["n", {"$add": ["n", {"$pow": ["n", 2]}]}])
def test_few_rows_are_matched_at_once_where_none_is_left_out_by_its_score(
    document: Any, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, ns = asked(document)
    monkeypatch.setattr(matching, "_MATCH_NS", ns)
    calls.clear()
    stream.add(stream.rows(ROWS), metadata=[{"n": 1000}] * ROWS)
    stream.catch_up()
    assert calls == [10, 10, 10]


def test_rows_that_scores_leave_out_are_matched_together(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, ns = asked({"$add": ["$score", {"$mul": ["n", 0.01]}]})
    monkeypatch.setattr(matching, "_MATCH_NS", ns)
    monkeypatch.setattr(orders, "_LEAST_PAIRS", 1)
    calls.clear()
    stream.add(stream.rows(ROWS), metadata=[{"n": 10}] * ROWS)
    stream.catch_up()
    assert calls == [ROWS]


def test_rows_of_one_call_that_are_more_than_a_step_puts_in_enter_list_by_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They come row by row, each for every list."""
    stream, _ = asked("n")
    monkeypatch.setattr(matching, "_STEP_ENTERING", 2)
    stream.add(stream.rows(ROWS), metadata=[{"n": 1000 - n} for n in range(ROWS)])
    stream.catch_up()
