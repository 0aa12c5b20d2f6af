"""Rows and queries that have an order: how many pairs are found, and ranked, in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.ranking import bounds
from omendb_core.ranking.costs import ns_a_row
from omendb_core.ranking.rank_parser import expression_of
from omendb_core.ranking.shape import Rank, Shape
from omendb_core.standing import matching, orders
from omendb_core.standing.table import StandingQuery

from tests.core.standing.streams import Stream

QUERIES = 4
ROWS = 96


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The rows of each call of the scan, and the pairs that it found."""
    match, filtered = matching.Matching._match, matching.Matching._filtered
    calls: list[tuple[int, int]] = []

    def noted(self: Any, slots: Any, *more: Any) -> Any:
        calls.append((len(slots), 0))
        return match(self, slots, *more)

    def counted(self: Any, pairs: Any, slots: Any) -> Any:
        calls[-1] = (len(slots), len(pairs.rows))
        return filtered(self, pairs, slots)

    monkeypatch.setattr(matching.Matching, "_match", noted)
    monkeypatch.setattr(matching.Matching, "_filtered", counted)
    return calls


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pairs that are ranked in each piece."""
    take, pieces = matching.Matching._take_ranked, []

    def noted(self: Any, pairs: Any, touched: Any) -> None:
        pieces.append(len(pairs.handles))
        take(self, pairs, touched)

    monkeypatch.setattr(matching.Matching, "_take_ranked", noted)
    return pieces


def asked(*documents: Any, queries: int = QUERIES, k: int = 3) -> Stream:
    """A full window of rows with n = 0 … 99, and live queries by each of some expressions."""
    stream = Stream(200, [], columns={"n": "i64"})
    stream.add(stream.rows(100), metadata=[{"n": n} for n in range(100)])
    for document in documents:
        expression = expression_of(document, {"n": "i64"}, live=True)
        query = StandingQuery(k, shape=Shape(Rank(expression)))
        stream.ask_many(stream.rows(queries), [query] * queries)
    stream.catch_up()
    return stream


def add(stream: Stream, n: int, count: int = ROWS) -> None:
    stream.add(stream.rows(count), metadata=[{"n": n}] * count)
    stream.catch_up()


def test_few_rows_are_matched_at_once_where_none_is_left_out_by_its_score(
    found: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = asked("n")
    monkeypatch.setattr(matching, "PIECE_PAIRS", 10 * QUERIES)
    found.clear()
    add(stream, 1000)
    assert found == [(10, 10 * QUERIES)] * 9 + [(6, 6 * QUERIES)]


def test_few_rows_are_matched_at_once_where_bounds_left_few_out_last(
    found: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds are of all rows of a call together, so one good row lets the others through."""
    stream = asked({"$add": ["$score", {"$mul": ["n", 0.05]}]})
    monkeypatch.setattr(orders, "_BOUNDS_NS", 1.0)
    monkeypatch.setattr(matching, "PIECE_PAIRS", 10 * QUERIES)
    monkeypatch.setattr(matching, "_LEAST_MATCHED", 16)
    found.clear()
    rows = [{"n": 112 if place % 16 == 0 else 10} for place in range(ROWS)]
    stream.add(stream.rows(ROWS), metadata=rows)
    stream.catch_up()
    assert found[0][0] == 16
    assert found[0][1] > 10 * QUERIES
    assert max(pairs for _, pairs in found[1:]) <= 10 * QUERIES


def test_after_a_call_that_found_nothing_the_next_ones_are_of_more_rows_but_not_of_all(
    found: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = asked({"$add": ["$score", {"$mul": ["n", 0.05]}]})
    monkeypatch.setattr(orders, "_BOUNDS_NS", 1.0)
    monkeypatch.setattr(matching, "_LEAST_MATCHED", 3)
    monkeypatch.setattr(matching, "_PIECE_ELEMENTS", 1 << 10)
    monkeypatch.setattr(matching, "_LESS_IN_NUMPY", 1)
    add(stream, 0, 1)
    found.clear()
    add(stream, 0)
    assert [rows for rows, _ in found] == [4, 16, 42, 34]
    assert not any(pairs for _, pairs in found)


def test_rows_that_scores_leave_out_are_matched_together(
    found: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = asked({"$add": ["$score", {"$mul": ["n", 0.01]}]})
    monkeypatch.setattr(matching, "PIECE_PAIRS", ROWS)
    monkeypatch.setattr(matching, "_LEAST_MATCHED", ROWS)
    monkeypatch.setattr(orders, "_BOUNDS_NS", 1.0)
    found.clear()
    add(stream, 10)
    assert [rows for rows, _ in found] == [ROWS]


@pytest.mark.parametrize("document", ["n", {"$add": ["n", {"$pow": ["n", 2]}]}])
def test_pairs_are_ranked_in_pieces_by_what_the_expression_takes(
    document: Any, ranked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = asked(document)
    [order] = stream.window.standing.table.shapes.distinct.values()
    assert isinstance(order, Rank)
    pair_ns = orders.PAIR_NS + ns_a_row(order.expression)
    monkeypatch.setattr(matching, "EXPRESSION_NS", 0.0)
    monkeypatch.setattr(matching, "_PIECE_NS", 50 * pair_ns)
    ranked.clear()
    add(stream, 1000)
    assert sum(ranked) == ROWS * QUERIES
    assert max(ranked) <= 51


def test_an_expression_for_each_query_is_bounded_and_each_counts_in_the_pieces(
    found: list[tuple[int, int]], ranked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"$add": ["$score", {"$mul": ["n", 0.05 + 0.001 * one]}]} for one in range(20)]
    stream = asked(*documents, queries=1)
    bounded, reach = [], bounds.reach

    def noted(expression: Any, *more: Any) -> Any:
        bounded.append(expression.canonical)
        return reach(expression, *more)

    monkeypatch.setattr(bounds, "reach", noted)
    # Beside what it takes to rank all rows for one expression bounds are cheap.
    monkeypatch.setattr(orders, "_BOUNDS_NS", ROWS * orders.PAIR_NS + orders.EXPRESSION_NS)
    found.clear()
    ranked.clear()
    add(stream, 30)
    assert len(set(bounded)) == len(bounded) == 20
    assert sum(pairs for _, pairs in found) < 20 * ROWS / 10
    # Now each of them is above every floor: two expressions are ranked together, not more.
    monkeypatch.setattr(matching, "EXPRESSION_NS", 1.0)
    monkeypatch.setattr(matching, "PAIR_NS", 0.0)
    monkeypatch.setattr(type(stream.window.standing.table.shapes), "ns_of", lambda *_: 0.0)
    monkeypatch.setattr(matching, "_PIECE_NS", 2.0)
    ranked.clear()
    add(stream, 1000)
    assert sum(ranked) == 20 * ROWS
    assert max(ranked) <= 3 * ROWS


def test_bounds_of_many_expressions_are_found_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [{"$add": ["$score", {"$mul": ["n", 0.05 + 0.001 * one]}]} for one in range(20)]
    stream = asked(*documents, queries=1)
    monkeypatch.setattr(orders, "_BOUNDS_NS", 1.0)
    monkeypatch.setattr(orders, "_PIECE_NS", 4.0)
    standing = stream.window.standing
    finding = standing.lists.orders.bounded_reach(standing.table, np.arange(100))
    assert list(finding) == [1.0] * 5


def test_queries_may_end_while_pairs_are_found_and_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """After any number of steps: one of them, all of an expression, all with one, and all."""
    monkeypatch.setattr(orders, "_BOUNDS_NS", 1.0)
    for module in (orders, matching):
        monkeypatch.setattr(module, "_PIECE_NS", 1.0)
    for steps in (1, 2, 3, 5, 8, 13, 21, 34):
        for ended in (slice(1), slice(2), slice(4, 6), slice(6), slice(None)):
            stream = asked({"$add": ["$score", "n"]}, "n", {"$neg": "n"}, queries=2)
            stream.ask(stream.rows(1), StandingQuery(3))
            stream.add(stream.rows(8), metadata=[{"n": 1000}] * 8)
            for _ in range(steps):
                stream.window.standing.step()
            for handle in stream.handles[ended]:
                stream.remove(handle)
            stream.catch_up()


def test_rows_of_one_call_that_are_more_than_a_step_puts_in_enter_list_by_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They come row by row, each for every list."""
    stream = asked("n")
    monkeypatch.setattr(matching, "_STEP_ENTERING", 2)
    stream.add(stream.rows(30), metadata=[{"n": 1000 - n} for n in range(30)])
    stream.catch_up()
