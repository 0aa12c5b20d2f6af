"""Filters against the naive oracle; the grammar's edges; documents that mean harm."""

from __future__ import annotations

import threading
from typing import Any

import numexpr
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omendb_core.filters import arithmetic
from omendb_core.filters import masks as filter_masks
from omendb_core.filters.parser import OPERATORS, evaluate, kept, parse
from omendb_core.model.budget import Budget
from omendb_core.model.errors import BadFilter, Quota
from omendb_core.model.types import ColumnType
from omendb_core.rows.columns import Columns
from omendb_core.rows.metadata import from_metadata

from tests.examples import examples
from tests.filter_oracle import arithmetic_for, filters_for, metadata_for, passes

COLUMNS: dict[str, ColumnType] = {
    "price": "f64",
    "msrp": "f64",
    "stock": "i64",
    "new": "bool",
    "kind": "str",
    "1.5": "f64",  # a legal name, and the text of a number
}
ROWS: list[dict[str, Any]] = [
    {"price": 1.0, "msrp": 2.0, "stock": 3, "new": True, "kind": "a", "1.5": 7.0},
    {"price": 9.0, "msrp": 0.0, "stock": -4, "new": False, "kind": "b"},
    {"price": -0.0, "stock": 2**53 - 1, "kind": ""},
    {},
    {"price": 5.0, "msrp": 5.0, "stock": 0, "kind": "a"},
]


def columns_of(rows: list[dict[str, Any]], capacity: int | None = None) -> Columns:
    columns = Columns(COLUMNS, capacity or len(rows))
    columns.write(np.arange(len(rows)), from_metadata(rows, COLUMNS))
    return columns


def hits(document: dict[str, Any], rows: list[dict[str, Any]] = ROWS) -> list[int]:
    mask = evaluate(parse(document, COLUMNS), columns_of(rows), None)
    return np.flatnonzero(mask).tolist()


def refusal(document: Any) -> str:
    with pytest.raises(BadFilter) as caught:
        parse(document, COLUMNS)
    assert caught.value.row is None
    assert len(caught.value.message) < 400
    caught.value.message.encode()
    return caught.value.message


def test_a_column_that_is_not_declared_is_answered_with_those_that_are() -> None:
    assert refusal({"prise": 1}).startswith("filter.prise: not a declared column (declared: ")
    for columns, said in (
        ({}, "(none is declared)"),
        ({"b": "f64", "a": "str"}, "(declared: a, b)"),
        ({f"c{n}": "f64" for n in range(6)}, "(declared: c0, c1, c2, c3 and 2 more)"),
    ):
        with pytest.raises(BadFilter) as caught:
            parse({"x": 1}, columns)
        assert caught.value.message == f"filter.x: not a declared column {said}"


# -- against the oracle -----------------------------------------------------------------------


@settings(max_examples=examples(400), deadline=None, derandomize=True)
@given(filters_for(COLUMNS), st.lists(metadata_for(COLUMNS), min_size=1, max_size=40))
@example({"stock": {"$lt": 0}}, [{"stock": None}])
@example({"stock": {"$lte": -3.5}}, [{"stock": -4}, {"stock": -3}])
@example({"price": {"$gt": {"$div": [1, {"$div": [1, "msrp"]}]}}}, [{"price": 1, "msrp": 0}])
@example({"price": {"$in": list(range(20))}}, [{"price": 3}, {"price": 3.5}, {"price": 99}, {}])
@example({"kind": {"$nin": [chr(97 + i) for i in range(12)]}}, [{"kind": "a"}, {"kind": "ü"}, {}])
def test_masks_equal_the_oracle_for_all_rows_and_for_some(
    document: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    columns = columns_of(rows, capacity=len(rows) + 3)
    wanted = [passes(document, row) for row in rows]
    filter_ = parse(document, COLUMNS)
    everywhere = evaluate(filter_, columns, None)
    assert everywhere.dtype == np.bool_
    assert everywhere.tolist() == [*wanted, False, False, False]
    backwards = np.arange(len(rows))[::-1].copy()
    assert evaluate(filter_, columns, backwards).tolist() == wanted[::-1]
    assert evaluate(filter_, columns, backwards[:0]).tolist() == []


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(
    arithmetic_for({"price": "f64", "msrp": "f64", "stock": "i64"}),
    st.lists(metadata_for(COLUMNS), min_size=1, max_size=20),
    st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]),
)
def test_arithmetic_equals_the_oracle_on_integers_and_floats(
    operand: dict[str, Any], rows: list[dict[str, Any]], operator: str
) -> None:
    for column in ("price", "stock"):
        document = {column: {operator: operand}}
        wanted = [place for place, row in enumerate(rows) if passes(document, row)]
        assert hits(document, rows) == wanted


@pytest.mark.parametrize("block", [1, 3, 7])
def test_the_mask_does_not_depend_on_where_blocks_end(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"price": i % 7, "stock": i % 5, "kind": "ab"[i % 2]} for i in range(29)]
    document = {
        "price": {"$gte": {"$mul": ["stock", 1.5]}},
        "$or": [{"kind": "a"}, {"stock": {"$in": list(range(3, 20))}}],
        "kind": {"$in": [*"abcdefghijklm"]},
    }
    whole = hits(document, rows)
    assert whole == [place for place, row in enumerate(rows) if passes(document, row)]
    monkeypatch.setattr(filter_masks, "BLOCK_ROWS", block)
    assert hits(document, rows) == whole


@settings(max_examples=examples(200), deadline=None, derandomize=True)
@given(filters_for(COLUMNS), filters_for(COLUMNS))
def test_equal_canonical_texts_pass_the_same_rows_and_order_does_not_matter(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    forwards = parse({"$and": [one, other, one]}, COLUMNS)
    backwards = parse({"$and": [other, one]}, COLUMNS)
    assert forwards == backwards
    assert hash(forwards) == hash(backwards)
    assert (forwards.canonical == parse({"$or": [one, other]}, COLUMNS).canonical) == (
        parse(one, COLUMNS) == parse(other, COLUMNS)
    )
    if parse(one, COLUMNS) == parse(other, COLUMNS):
        assert hits(one) == hits(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"price": {"$lt": {"$mul": ["1.5", 2]}}}, {"price": {"$lt": {"$mul": [1.5, 2]}}}),
        ({"kind": "1"}, {"kind": '1", "2'}),
        ({"kind": {"$in": ["1", "2"]}}, {"kind": {"$in": ['1", "2']}}),
        ({"kind": "a' or 'kind' in [\"b\"]"}, {"$or": [{"kind": "a"}, {"kind": "b"}]}),
        ({"stock": {"$in": []}}, {"price": {"$in": []}}),
        ({}, {"$not": {}}),
    ],
)
def test_different_filters_have_different_canonical_texts(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert parse(one, COLUMNS).canonical != parse(other, COLUMNS).canonical


# -- what the protocol says -------------------------------------------------------------------


def test_the_empty_filter_passes_every_row_and_the_empty_list_none() -> None:
    assert hits({}) == [0, 1, 2, 3, 4]
    assert hits({"$not": {}}) == []
    assert hits({"kind": {"$in": []}}) == []
    assert hits({"price": {"$in": []}}) == []
    assert hits({"kind": {"$nin": []}}) == [0, 1, 2, 3, 4]


def test_a_null_fails_every_comparison_except_ne_nin_and_exists_false() -> None:
    for column, value in {"price": 1.0, "stock": 1, "new": True, "kind": "a"}.items():
        operands: dict[str, Any] = dict.fromkeys(OPERATORS, value)
        operands |= {"$in": [value], "$nin": [value], "$exists": False}
        for operator, row in OPERATORS.items():
            if row.operand == "number" and column in ("new", "kind"):
                continue
            if row.operand == "text" and column != "kind":
                continue
            passed = 3 in hits({column: {operator: operands[operator]}})
            assert passed == (operator in ("$ne", "$nin", "$exists"))
            assert (3 in hits({"$not": {column: {operator: operands[operator]}}})) != passed
    assert 3 not in hits({"kind": {"$exists": True}})
    # The least 64-bit integer stands for null; no literal, not the least one, reaches it.
    assert 3 not in hits({"stock": {"$lte": -(2**53) + 1}})
    assert 3 not in hits({"stock": {"$lt": 2**53 - 1}})


def test_a_bare_value_means_eq_and_operators_of_one_condition_all_hold() -> None:
    assert hits({"kind": "a"}) == hits({"kind": {"$eq": "a"}}) == [0, 4]
    assert hits({"price": {"$gte": 1, "$lt": 9}}) == [0, 4]
    assert hits({"new": False}) == [1]
    assert hits({"price": 0}) == [2]


def test_integers_are_compared_exactly_with_fractions_and_at_the_bound() -> None:
    assert hits({"stock": {"$lt": 0.5}}) == [1, 4]
    assert hits({"stock": {"$lte": -3.5}}) == [1]
    assert hits({"stock": {"$gt": 2.5}}) == [0, 2]
    assert hits({"stock": {"$gte": 3.0}}) == [0, 2]
    assert hits({"stock": 2.5}) == []
    assert hits({"stock": {"$ne": 2.5}}) == [0, 1, 2, 3, 4]
    assert hits({"stock": {"$in": [2.5, 3.0]}}) == [0]
    assert hits({"stock": {"$gt": 2**53 - 2}}) == hits({"stock": 2**53 - 1}) == [2]


def test_arithmetic_that_is_not_finite_is_null_the_inner_one_too() -> None:
    row = [{"price": 1.0, "msrp": 0.0, "stock": 0}]
    for infinite in (
        {"$div": [1, "msrp"]},
        {"$div": [0, "stock"]},
        {"$mul": [1e308, 10]},
        {"$div": [1, {"$div": [1, "msrp"]}]},
        {"$div": [1, {"$mul": [1e308, {"$add": ["price", 9]}]}]},
        {"$mul": [0, {"$div": ["price", "msrp"]}]},
        {"$add": [1, "1.5"]},
    ):
        for operator in ("$eq", "$lt", "$lte", "$gt", "$gte"):
            assert hits({"price": {operator: infinite}}, row) == []
        assert hits({"price": {"$ne": infinite}}, row) == [0]


def test_arithmetic_without_a_column_is_a_number() -> None:
    assert hits({"price": {"$lt": {"$mul": [2, {"$add": [1, 2]}]}}}) == [0, 2, 4]


def test_a_list_of_many_texts_never_holds_a_null() -> None:
    kinds = [f"k{i}" for i in range(30)]
    rows: list[dict[str, Any]] = [{"kind": kind} for kind in kinds] + [{}]
    assert hits({"kind": {"$in": kinds}}, rows) == list(range(30))
    assert hits({"kind": {"$nin": kinds}}, rows) == [30]
    assert hits({"kind": {"$in": kinds[9:]}}, rows) == list(range(9, 30))


# -- limits -----------------------------------------------------------------------------------


def nots(count: int, inner: Any) -> Any:
    for _ in range(count):
        inner = {"$not": inner}
    return inner


def sums(count: int) -> Any:
    operand: Any = "price"
    for _ in range(count):
        operand = {"$add": [operand, 1]}
    return operand


def test_sixty_four_conditions_are_taken_and_one_more_is_not() -> None:
    one = {"price": {"$gte": 1, "$lt": 3}, "kind": "a", "stock": {"$in": [1, 2, 3]}}
    parse({"$and": [one] * 16}, COLUMNS)
    assert "64 conditions" in refusal({"$and": [one] * 16 + [{"kind": "a"}]})
    assert "64 conditions" in refusal({"$or": [{"$and": [one] * 8}] * 2, "kind": "a"})


def test_sixty_four_arithmetic_operators_are_taken_and_computed_right() -> None:
    leaves: list[Any] = [i / 7 + 0.01 for i in range(60)] + ["price", "msrp", "stock", "1.5"]
    while len(leaves) > 1:
        leaves = [{"$add": list(pair)} for pair in zip(leaves[::2], leaves[1::2], strict=True)]
    wide = {"price": {"$lt": leaves[0]}}  # 63 operators, six levels, 64 different operands
    assert hits(wide) == [place for place, row in enumerate(ROWS) if passes(wide, row)] == [0]
    parse({"$and": [wide, {"price": {"$lt": sums(1)}}]}, COLUMNS)
    assert "64 arithmetic" in refusal({"$and": [wide, {"price": {"$lt": sums(2)}}]})


def test_eight_levels_are_taken_and_one_more_is_not() -> None:
    assert hits(nots(8, {"kind": "a"})) == hits({"kind": "a"})
    assert "8 levels" in refusal(nots(9, {"kind": "a"}))
    parse({"price": {"$lt": sums(8)}}, COLUMNS)
    assert "8 levels" in refusal({"price": {"$lt": sums(9)}})
    parse(nots(5, {"price": {"$lt": sums(3)}}), COLUMNS)
    assert "8 levels" in refusal(nots(5, {"price": {"$lt": sums(4)}}))
    assert "8 levels" in refusal(nots(5, {"$and": [{"$or": [nots(2, {})]}]}))


def test_a_list_takes_1024_values() -> None:
    assert hits({"stock": {"$in": list(range(1024))}}) == [0, 4]
    assert hits({"kind": {"$in": [f"k{i}" for i in range(1023)] + ["a"]}}) == [0, 4]
    for operator in ("$in", "$nin"):
        assert "1024 values" in refusal({"stock": {operator: list(range(1025))}})
    assert "1024 values" in refusal({"$or": [{}] * 1025})


# -- what is refused, and where the message points --------------------------------------------

REFUSED: list[tuple[Any, str]] = [
    (None, "filter"),
    ([], "filter"),
    ("price < 10", "filter"),
    ({"nope": 1}, "filter.nope"),
    ({"": 1}, "filter."),
    ({"$where": "1"}, "filter.$where"),
    ({"$nor": [{}]}, "filter.$nor"),
    ({"$and": []}, "filter.$and"),
    ({"$or": {}}, "filter.$or"),
    ({"$or": None}, "filter.$or"),
    ({"$and": [1]}, "filter.$and[0]"),
    ({"$not": []}, "filter.$not"),
    ({"$not": None}, "filter.$not"),
    ({"$or": [{}, {"price": {"$lt": "x"}}]}, "filter.$or[1].price.$lt"),
    ({"price": None}, "filter.price.$eq"),
    ({"price": {}}, "filter.price"),
    ({"price": []}, "filter.price.$eq"),
    ({"price": {"$lt": None}}, "filter.price.$lt"),
    ({"price": {"$ne": None}}, "filter.price.$ne"),
    ({"price": {"$like": 1}}, "filter.price.$like"),
    ({"price": {"lt": 1}}, "filter.price.lt"),
    ({"price": {"$not": {"$lt": 1}}}, "filter.price.$not"),
    ({"price": True}, "filter.price.$eq"),
    ({"price": {"$in": [1, True]}}, "filter.price.$in[1]"),
    ({"price": {"$in": [1, None]}}, "filter.price.$in[1]"),
    ({"price": {"$in": [1, "1"]}}, "filter.price.$in[1]"),
    ({"price": {"$in": 1}}, "filter.price.$in"),
    ({"price": {"$in": [[1]]}}, "filter.price.$in[0]"),
    ({"price": {"$in": [{"$mul": [1, 2]}]}}, "filter.price.$in[0]"),
    ({"price": float("nan")}, "filter.price.$eq"),
    ({"price": {"$lt": float("inf")}}, "filter.price.$lt"),
    ({"price": {"$lt": 10**400}}, "filter.price.$lt"),
    ({"price": {"$lt": "msrp"}}, "filter.price.$lt"),
    ({"price": {"$mul": ["msrp", 2]}}, "filter.price.$mul"),
    ({"price": {"$exists": 1}}, "filter.price.$exists"),
    ({"price": {"$exists": None}}, "filter.price.$exists"),
    ({"stock": 2**53}, "filter.stock.$eq"),
    ({"stock": {"$gt": -(2**53)}}, "filter.stock.$gt"),
    ({"stock": {"$lt": 1e300}}, "filter.stock.$lt"),
    ({"stock": {"$in": [2**64]}}, "filter.stock.$in[0]"),
    ({"stock": "1"}, "filter.stock.$eq"),
    ({"new": 1}, "filter.new.$eq"),
    ({"new": "true"}, "filter.new.$eq"),
    ({"new": {"$lt": True}}, "filter.new.$lt"),
    ({"new": {"$in": [0]}}, "filter.new.$in[0]"),
    ({"kind": 1}, "filter.kind.$eq"),
    ({"kind": {"$gte": "a"}}, "filter.kind.$gte"),
    ({"kind": {"$eq": {"$add": [1, 2]}}}, "filter.kind.$eq"),
    ({"kind": "\ud800"}, "filter.kind.$eq"),
    ({"price": {"$lt": {}}}, "filter.price.$lt"),
    ({"price": {"$lt": {"$pow": ["msrp", 2]}}}, "filter.price.$lt"),
    ({"price": {"$lt": {"$mul": ["msrp", 2], "$add": [1, 2]}}}, "filter.price.$lt"),
    ({"price": {"$lt": {"$mul": 2}}}, "filter.price.$lt.$mul"),
    ({"price": {"$lt": {"$mul": ["msrp"]}}}, "filter.price.$lt.$mul"),
    ({"price": {"$lt": {"$mul": ["msrp", 1, 2]}}}, "filter.price.$lt.$mul"),
    ({"price": {"$lt": {"$mul": "ab"}}}, "filter.price.$lt.$mul"),
    ({"price": {"$lt": {"$mul": ["kind", 1]}}}, "filter.price.$lt.$mul[0]"),
    ({"price": {"$lt": {"$mul": ["new", 1]}}}, "filter.price.$lt.$mul[0]"),
    ({"price": {"$lt": {"$mul": [1, True]}}}, "filter.price.$lt.$mul[1]"),
    ({"price": {"$lt": {"$mul": [1, None]}}}, "filter.price.$lt.$mul[1]"),
    ({"price": {"$lt": {"$mul": [1, [2]]}}}, "filter.price.$lt.$mul[1]"),
    ({"price": {"$lt": {"$mul": [1, float("inf")]}}}, "filter.price.$lt.$mul[1]"),
    ({"price": {"$lt": {"$add": [1, {"$sub": ["nope", 1]}]}}}, "filter.price.$lt.$add[1].$sub[0]"),
]


@pytest.mark.parametrize(("document", "path"), REFUSED)
def test_what_is_outside_the_grammar_is_refused_with_its_path(document: Any, path: str) -> None:
    message = refusal(document)
    assert message.startswith((f"{path}: ", f"{path.removesuffix('.$eq')}: "))


CODE = [
    "__import__('os').system('true')",
    "price) or (1",
    "v0",
    "price.real",
    "().__class__.__bases__[0]",
    "lambda: 0",
    "price; import os",
    "\x00",
    "\uff50rice",
    "$price",
    "price ",
]


@pytest.mark.parametrize("text", CODE)
def test_text_like_code_is_an_unknown_name_or_just_a_text(text: str) -> None:
    for document in (
        {text: 1},
        {"price": {text: 1}},
        {"price": text},
        {"price": {"$lt": text}},
        {"price": {"$lt": {text: ["msrp", 1]}}},
        {"price": {"$lt": {"$mul": [text, 1]}}},
        {"price": {"$lt": {"$mul": [1, {"$add": [text, 1]}]}}},
    ):
        refusal(document)
    assert hits({"kind": text}) == []
    assert hits({"kind": text}, [{"kind": "a"}, {"kind": text}]) == [1]


def test_names_and_values_of_a_client_never_reach_numexpr(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    genuine = numexpr.NumExpr

    def spy(text: str, signature: Any, **options: Any) -> Any:
        seen.append(text)
        assert options == {"sanitize": True}
        return genuine(text, signature, **options)

    arithmetic._compiled.cache_clear()
    monkeypatch.setattr(numexpr, "NumExpr", spy)
    hits({"price": {"$lt": {"$div": [{"$mul": ["1.5", 1234.5]}, {"$sub": ["stock", 1]}]}}})
    assert seen == ["(v0-v1)", "((v0*v1)/v2)"]


def deep(depth: int, kind: str) -> Any:
    document: Any = {"price": 1}
    for _ in range(depth):
        document = [document] if kind == "list" else {kind: document}
        if kind in ("$and", "$or", "$add"):
            document = {kind: [document[kind], document[kind]]}
    return document


@pytest.mark.parametrize("kind", ["$not", "$and", "$or", "price", "list", "$lt"])
def test_a_document_a_hundred_thousand_deep_is_refused_without_recursion(kind: str) -> None:
    refusal(deep(100_000, kind))
    refusal({"price": {"$lt": deep(100_000, "$add")}})
    refusal({"price": {"$in": deep(100_000, "list")}})


def test_a_document_that_is_wide_is_refused_after_a_bounded_walk() -> None:
    seen = 0

    class Counting(dict[str, Any]):
        def items(self) -> Any:
            nonlocal seen
            seen += 1
            return super().items()

    level: Any = Counting()
    for _ in range(8):
        level = Counting({"$and": [level] * 1000})
    assert "1024 filters" in refusal(level)
    assert seen <= 1024
    refusal({f"x{i}": 1 for i in range(100_000)})
    refusal({"price": {f"${i}": 1 for i in range(100_000)}})
    refusal({"price": {"$in": [0] * 1_000_000}})
    refusal({"x" * 1_000_000: 1})
    refusal({"kind": {"$lt": "x" * 1_000_000}})
    refusal({"price": {"$lt": {"$add": ["x" * 1_000_000, 1]}}})


def test_a_long_text_is_a_fine_value() -> None:
    text = "ü" * 100_000
    assert hits({"kind": text}, [{"kind": text}, {"kind": "ü"}]) == [0]


def test_two_threads_may_compute_at_once() -> None:
    rows = [{"price": float(i), "msrp": float(i % 13)} for i in range(3000)]
    columns = columns_of(rows)
    filters = [parse({"price": {"$lt": {"$mul": ["msrp", n]}}}, COLUMNS) for n in (2, 20, 50, 200)]
    wanted = [evaluate(f, columns, None).tolist() for f in filters]
    wrong: list[int] = []

    def work(number: int) -> None:
        masks = (evaluate(filters[number], columns, None).tolist() for _ in range(50))
        wrong.extend(number for mask in masks if mask != wanted[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_filter_that_stays_has_its_bytes_of_the_budget_until_its_last_reference() -> None:
    budget = Budget("max_memory_bytes", 2 << 20)
    columns: dict[str, ColumnType] = {"tag": "str", "price": "f64"}
    few = kept({"tag": "a"}, columns, budget)
    least = budget.taken_bytes
    assert few is not None
    assert 100 < least < 1000
    texts = [f"{number:01000d}" for number in range(300)]
    many = kept({"$or": [{"price": 1}, {"$not": {"tag": {"$in": texts}}}]}, columns, budget)
    assert many is not None
    # The texts themselves, and three times in the texts of nodes.
    assert budget.taken_bytes > least + 4 * 300 * 1000
    assert many == parse({"$or": [{"price": 1}, {"$not": {"tag": {"$in": texts}}}]}, columns)
    del many
    assert budget.taken_bytes == least
    budget.take((2 << 20) - least - 100, "this test takes")
    with pytest.raises(Quota, match="this filter takes"):
        kept({"tag": "b"}, columns, budget)
    assert kept({}, columns, budget) is None
    del few
    assert budget.taken_bytes == (2 << 20) - least - 100
