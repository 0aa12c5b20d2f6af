"""What expressions and filters are expected to take: by what stands in them, all of it."""

from __future__ import annotations

from typing import Any

import pytest
from omendb_core.filters.costs import ns_a_row as ns_of_filter
from omendb_core.filters.parser import parse
from omendb_core.ranking.costs import ns_a_row
from omendb_core.ranking.rank_parser import OPERATORS, expression_of

from tests.core.ranking.expressions import COLUMNS


def ns(document: Any) -> float:
    return ns_a_row(expression_of(document, COLUMNS))


@pytest.mark.parametrize("operator", OPERATORS)
def test_each_operator_takes_something_each_time_that_it_is_done(operator: Any) -> None:
    least, most, bare = OPERATORS[operator]
    if bare:
        assert ns({operator: "$score"}) > ns("$score")
        return
    assert ns({operator: ["$score"] * least}) > 2 * ns("$score") - ns(1)
    if most > least:
        twice = ns({operator: [1] * 3}) - ns({operator: [1] * 2})
        assert twice == pytest.approx(ns({operator: [1] * 2}) - ns(1))


def test_both_branches_and_the_filter_are_counted() -> None:
    heavy: Any = {"$pow": ["$score", "price"]}
    light = {"$if": [{}, 1, 2]}
    for place, more in ((1, heavy), (2, heavy), (0, {"price": {"$lt": 3}})):
        documents = list(light["$if"])
        documents[place] = more
        assert ns({"$if": documents}) > ns(light)


def test_a_filter_takes_what_its_conditions_take_together() -> None:
    conditions: list[dict[str, Any]] = [
        {"price": {"$lt": 3}},
        {"stock": {"$in": list(range(9))}},
        {"kind": {"$in": [*"abcdefghij"]}},
        {"new": True},
        {"1.5": {"$exists": True}},
        {"price": {"$gt": {"$mul": [{"$add": ["stock", 1]}, 2]}}},
    ]
    alone = [ns_of_filter(parse(one, COLUMNS).root) for one in conditions]
    together = ns_of_filter(parse({"$or": conditions}, COLUMNS).root)
    assert min(alone) > 0
    assert together > sum(alone)
    assert ns_of_filter(parse({"$not": {"$or": conditions}}, COLUMNS).root) > together
    assert ns_of_filter(parse({}, COLUMNS).root) > 0
