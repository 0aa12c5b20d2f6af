"""The grammar of ``rank``: what is taken, and the path of what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.errors import BadRank
from omendb_core.model.types import ColumnType
from omendb_core.ranking.rank_parser import (
    MAX_LEVELS,
    MAX_OPERATORS,
    OPERATORS,
    expression_of,
)
from omendb_core.ranking.tree import (
    Age,
    ColumnValue,
    Expression,
    If,
    Number,
    Operation,
    Score,
)

from tests.examples import examples

COLUMNS: dict[str, ColumnType] = {
    "price": "f64",
    "stock": "i64",
    "new": "bool",
    "kind": "str",
    "1.5": "f64",  # a legal name, and the text of a number
}


def expression(document: Any, *, live: bool = False) -> Expression:
    return expression_of(document, COLUMNS, live=live)


def refusal(document: Any, *, live: bool = False) -> str:
    with pytest.raises(BadRank) as caught:
        expression(document, live=live)
    assert caught.value.row is None
    assert len(caught.value.message) < 600
    caught.value.message.encode()
    return caught.value.message


def deep(levels: int, operand: Any = "$score") -> Any:
    for _ in range(levels):
        operand = {"$neg": operand}
    return operand


def test_operands_are_numbers_the_score_the_age_and_columns() -> None:
    for document, node in (
        (3, Number(3.0)),
        (-0.0, Number(-0.0)),
        (2**64, Number(2.0**64)),
        ("$score", Score()),
        ("$age", Age()),
        ("price", ColumnValue("price")),
        ("stock", ColumnValue("stock")),
        ("new", ColumnValue("new")),
        ("1.5", ColumnValue("1.5")),
        ({"$default": ["new", 1]}, ColumnValue("new", 1.0)),
    ):
        assert expression(document).root == node


def test_operators_hold_their_operands_in_the_order_written() -> None:
    found = expression({"$sub": [{"$exp": "$score"}, {"$mul": [2, "price", {"$sqrt": "stock"}]}]})
    assert found.root == Operation(
        "$sub",
        (
            Operation("$exp", (Score(),)),
            Operation(
                "$mul",
                (Number(2.0), ColumnValue("price"), Operation("$sqrt", (ColumnValue("stock"),))),
            ),
        ),
    )


def test_an_if_holds_a_filter_and_two_branches() -> None:
    root = expression({"$if": [{"kind": "a"}, "$score", {"$neg": "$score"}]}).root
    assert isinstance(root, If)
    assert root.condition.canonical == "'kind' in [\"a\"]"
    assert root.then == Score()
    assert root.otherwise == Operation("$neg", (Score(),))
    assert expression({"$if": [{}, 1, 2]}).root


def test_an_expression_says_which_columns_it_reads_and_whether_the_age() -> None:
    found = expression(
        {
            "$if": [
                {"$or": [{"kind": "a"}, {"$not": {"new": {"$exists": True}}}],
                 "price": {"$lt": {"$mul": [{"$add": ["stock", 1]}, 2]}}},
                {"$default": ["1.5", 0]},
                1,
            ]
        }
    )  # fmt: skip
    assert found.columns == {"kind", "new", "price", "stock", "1.5"}
    assert not found.uses_age
    assert expression({"$add": ["$age", "price"]}).uses_age
    assert expression("$score").columns == frozenset()


@pytest.mark.parametrize("operator", OPERATORS)
def test_each_operator_takes_as_many_operands_as_it_says(operator: Any) -> None:
    least, most, bare = OPERATORS[operator]
    if bare:
        assert expression({operator: "$score"}).root == Operation(operator, (Score(),))
        for wrong in (["$score"], [], ["$score", 1]):
            said = refusal({operator: wrong})
            assert said == f"rank.{operator}: takes one operand, without a list around it"
        return
    for count in (least, most):
        root = expression({operator: ["$score"] * count}).root
        assert root == Operation(operator, (Score(),) * count)
    for wrong in (["$score"] * (least - 1), ["$score"] * (most + 1), "$score", 1, None, {}):
        assert refusal({operator: wrong}).startswith(f"rank.{operator}: must be a list of ")


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (None, "rank"),
        (True, "rank"),
        ([], "rank"),
        ({}, "rank"),
        ({"$add": [1, 2], "$mul": [1, 2]}, "rank"),
        ({"add": [1, 2]}, "rank.add"),
        ({"$lt": ["price", 2]}, "rank.$lt"),
        ({"$score": 1}, "rank.$score"),
        ({"$add": [1, {"$log": "kind"}]}, "rank.$add[1].$log"),
        ({"$add": [1, {"$log": {"$neg": {"$pow": ["$score", False]}}}]},
         "rank.$add[1].$log.$neg.$pow[1]"),
        ({"$min": [1, 2, "$scores"]}, "rank.$min[2]"),
        ({"$min": [1, 2, ["$score"]]}, "rank.$min[2]"),
        ({"$default": "price"}, "rank.$default"),
        ({"$default": ["price"]}, "rank.$default"),
        ({"$default": ["price", 1, 2]}, "rank.$default"),
        ({"$default": ["price", "stock"]}, "rank.$default[1]"),
        ({"$default": ["price", None]}, "rank.$default[1]"),
        ({"$default": ["price", True]}, "rank.$default[1]"),
        ({"$default": ["price", {"$neg": 1}]}, "rank.$default[1]"),
        ({"$default": ["$score", 1]}, "rank.$default[0]"),
        ({"$default": [1, 1]}, "rank.$default[0]"),
        ({"$default": ["kind", 1]}, "rank.$default[0]"),
        ({"$default": [{"$neg": "price"}, 1]}, "rank.$default[0]"),
        ({"$if": [{}, 1]}, "rank.$if"),
        ({"$if": {"kind": "a"}}, "rank.$if"),
        ({"$if": [{}, 1, 2, 3]}, "rank.$if"),
        ({"$if": [None, 1, 2]}, "rank.$if[0]"),
        ({"$if": [True, 1, 2]}, "rank.$if[0]"),
        ({"$if": [{"size": 1}, 1, 2]}, "rank.$if[0].size"),
        ({"$if": [{"$and": [{}, {"price": {"$lt": "x"}}]}, 1, 2]},
         "rank.$if[0].$and[1].price.$lt"),
        ({"$if": [{"$score": {"$lt": 1}}, 1, 2]}, "rank.$if[0].$score"),
        ({"$if": [{}, None, 2]}, "rank.$if[1]"),
        ({"$if": [{}, 1, {"$neg": None}]}, "rank.$if[2].$neg"),
    ],
)  # fmt: skip
def test_the_path_of_a_fault_is_told(document: Any, path: str) -> None:
    assert refusal(document).startswith(f"{path}: ")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 10**400, -(10**400)])
def test_numbers_are_finite(number: Any) -> None:
    assert refusal({"$add": ["$score", number]}) == "rank.$add[1]: must be finite"
    assert refusal({"$default": ["price", number]}) == "rank.$default[1]: must be finite"


@pytest.mark.parametrize("code", ["__import__('os')", "price+1", "v0", "", "price ", "\ud800", "𝄞"])
def test_text_that_looks_like_code_is_a_column_that_is_not_there(code: str) -> None:
    said = refusal({"$add": ["$score", code]})
    assert said.startswith("rank.$add[1]: ")
    assert "is neither $score nor $age nor a declared column (declared: 1.5, kind, " in said


def test_a_column_of_texts_is_not_numeric() -> None:
    assert refusal("kind") == "rank: kind is str, so it is not numeric"


def test_the_age_is_not_in_a_live_query_wherever_it_stands() -> None:
    assert refusal({"$if": [{}, 1, {"$log": "$age"}]}, live=True).startswith("rank.$if[2].$log: ")
    assert expression({"$log": "price"}, live=True)


# -- limits -----------------------------------------------------------------------------------


def test_as_many_levels_as_allowed_and_not_one_more() -> None:
    assert expression(deep(MAX_LEVELS))
    path = "rank" + ".$neg" * (MAX_LEVELS + 1)
    assert refusal(deep(MAX_LEVELS + 1)) == f"{path}: nested deeper than 8 levels"
    assert refusal(deep(100_000)) == f"{path}: nested deeper than 8 levels"
    assert refusal(deep(MAX_LEVELS, {"$default": ["price", 1]})).startswith("rank.$neg")
    assert expression(deep(MAX_LEVELS - 1, {"$default": ["price", 1]}))


def test_levels_of_a_filter_count_from_where_it_stands() -> None:
    def standing(levels: int, condition: Any) -> Any:
        return deep(levels, {"$if": [condition, 1, 2]})

    arithmetic = {"price": {"$lt": {"$mul": ["stock", 2]}}}
    assert expression(standing(7, {"kind": "a"}))
    assert expression(standing(6, {"$not": {"kind": "a"}}))
    assert expression(standing(6, arithmetic))
    assert expression(standing(5, {"$not": arithmetic}))
    for wrong in (standing(7, {"$not": {"kind": "a"}}), standing(7, arithmetic)):
        assert refusal(wrong).endswith(": nested deeper than 8 levels")
    assert refusal(standing(6, {"$not": arithmetic})).endswith(": nested deeper than 8 levels")
    assert refusal(standing(8, {})).endswith(": nested deeper than 8 levels")


def many(operators: int) -> Any:
    """An addition of ``operators - 1`` operators: 16 operands at most, two levels of additions."""
    inner = [{"$neg": "$score"}] * (operators - 1)
    while len(inner) > 16:
        inner = [{"$add": inner[:16]}, *inner[17:]]  # one operator in place of sixteen and itself
    return {"$add": inner}


def count(document: Any) -> int:
    if isinstance(document, dict):
        return len(document) + sum(map(count, document.values()))
    return sum(map(count, document)) if isinstance(document, list) else 0


def test_as_many_operators_as_allowed_and_not_one_more() -> None:
    assert count(many(64)) == MAX_OPERATORS
    assert expression(many(64))
    assert refusal(many(65)).endswith(": more than 64 operators, those of filters counted")


def test_conditions_and_arithmetic_of_filters_are_counted_with_the_operators() -> None:
    def conditions(number: int) -> Any:
        return {"$and": [{"price": {"$lt": n}} for n in range(number)]}

    assert expression({"$if": [conditions(63), 1, 2]})
    said = refusal({"$if": [conditions(64), 1, 2]})
    assert said == "rank.$if[0]: more than 64 operators, those of filters counted"
    twice = [{"$if": [conditions(n), 1, 2]} for n in (30, 31)]
    assert expression({"$add": twice})
    assert refusal({"$add": [*twice, {"$neg": 1}]}).startswith("rank.$add[2].$neg: more than 64")
    product = {"price": {"$lt": {"$mul": [{"$mul": [1, 2]}, {"$mul": [1, 2]}]}}}
    assert expression({"$if": [{"$and": [product] * 15 + [{}]}, 1, {"$neg": {"$neg": 1}}]})
    assert refusal({"$if": [{"$and": [product] * 15 + [{}]}, 1, deep(4)]}).endswith("counted")


def test_a_filter_keeps_its_own_limits() -> None:
    said = refusal({"$if": [{"price": {"$in": list(range(1025))}}, 1, 2]})
    assert said == "rank.$if[0].price.$in: more than 1024 values in a list"
    assert "more than 1024 filters" in refusal({"$if": [{"$and": [{"$or": [{}] * 1024}]}, 1, 2]})


def test_filters_of_one_expression_are_limited_together() -> None:
    half = {"$if": [{"$and": [{}] * 511}, 1, 2]}
    assert expression({"$add": [half, half]})
    said = refusal({"$add": [half, half, {"$if": [{}, 1, 2]}]})
    assert said == "rank.$add[2].$if[0]: more than 1024 filters"


# -- canonical texts --------------------------------------------------------------------------


def test_the_same_expression_has_the_same_text() -> None:
    for one, other in (
        ({"$add": [1, "$score"]}, {"$add": [1.0, "$score"]}),
        ({"$if": [{"price": 1, "new": True}, 1, 2]}, {"$if": [{"new": True, "price": 1}, 1, 2]}),
    ):
        assert expression(one) == expression(other)
        assert hash(expression(one)) == hash(expression(other))


def test_expressions_that_may_differ_have_texts_that_differ() -> None:
    documents: list[Any] = [
        1, 0.0, -0.0, 1.5, "1.5", "$score", "$age", "price",
        {"$add": [1, 2]}, {"$add": [2, 1]}, {"$add": [1, 2, 3]}, {"$add": [{"$add": [1, 2]}, 3]},
        {"$add": [1, {"$add": [2, 3]}]}, {"$mul": [1, 2]}, {"$neg": 1}, -1, {"$neg": {"$neg": 1}},
        {"$default": ["price", 1]}, {"$default": ["price", 2]}, {"$default": ["1.5", 1]},
        {"$if": [{}, 1, 2]}, {"$if": [{}, 2, 1]}, {"$if": [{"kind": "a"}, 1, 2]},
        {"$if": [{"kind": "a', 1, 2) $if('"}, 1, 2]}, {"$if": [{"kind": 'a", 1, 2)'}, 1, 2]},
        {"$if": [{"$not": {"kind": "a"}}, 1, 2]},
    ]  # fmt: skip
    assert len({expression(one).canonical for one in documents}) == len(documents)


# -- documents that mean harm -----------------------------------------------------------------

keys = st.sampled_from(
    [*OPERATORS, "$if", "$default", "$and", "$or", "$not", "$lt", "$in", "$eq", *COLUMNS, "$x", ""]
)
anything: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.sampled_from(
            ["$score", "$age", *COLUMNS, 1, -0.0, 2**70, None, True, "\ud800", "x" * 999]
        ),
        st.floats(),
        st.text(max_size=3),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=2),
        st.builds(lambda key, one: {key: one}, keys, inner),
        st.builds(lambda key, several: {key: several}, keys, st.lists(inner, max_size=3)),
    ),
    max_leaves=20,
)


@settings(max_examples=examples(1500), deadline=None, derandomize=True)
@given(anything, st.booleans())
def test_any_document_is_an_expression_or_refused_with_its_path(document: Any, live: bool) -> None:
    said, found = "", None
    try:
        found = expression(document, live=live)
    except BadRank as error:
        said = error.message
    assert (found is None) == bool(said)
    if found is None:
        assert said.startswith(("rank: ", "rank."))
        assert len(said.encode()) < 1500
    else:
        assert not (live and found.uses_age)
        assert found == expression(document, live=live)


def test_a_long_document_is_refused_before_it_is_walked() -> None:
    """Each would take seconds, or end the process, if all of it was looked at."""
    column_names = {f"c{n}": n for n in range(300_000)}
    for document, path in (
        ({"$add": [deep(5)] * 1_000_000}, "rank.$add"),
        (column_names, "rank"),
        ({"$if": [column_names, 1, 2]}, "rank.$if[0].c0"),
        ({"$if": [{"price": {"$in": [1] * 1_000_000}}, 1, 2]}, "rank.$if[0].price.$in"),
        ({"$neg": "x" * 4_000_000}, "rank.$neg"),
        ({"x" * 4_000_000: 1}, "rank.'x"),
        (deep(1_000_000), "rank.$neg"),
    ):
        assert refusal(document).startswith(path)
