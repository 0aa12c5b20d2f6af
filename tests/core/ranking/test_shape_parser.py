"""What shapes an answer, out of a request's fields: every part, and every part wrong in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import BadRank, BadRequest
from omendb_core.model.types import Definition, Metric
from omendb_core.ranking.shape import PLAIN, Decay, Group, Mmr, Rank, Shape, Spread
from omendb_core.ranking.shape_parser import FIELDS, shape_of

COLUMNS: dict[str, Any] = {"price": "f64", "stock": "i64", "new": "bool", "kind": "str"}
CAPACITY = 1000


def shape(
    fields: dict[str, Any],
    *,
    k: int = 10,
    max_k: int = 1000,
    live: bool = False,
    metric: Metric = "cosine",
) -> Shape:
    definition = Definition(dim=4, capacity=CAPACITY, metric=metric, columns=COLUMNS)
    return shape_of(fields, definition, k, max_k, live=live)


def refusal(fields: dict[str, Any], **asked: Any) -> str:
    with pytest.raises(BadRequest) as caught:
        shape(fields, **asked)
    assert type(caught.value) is BadRequest
    assert caught.value.row is None
    assert len(caught.value.message) < 400
    caught.value.message.encode()
    return caught.value.message


def test_a_request_without_any_of_it_is_plain() -> None:
    assert shape({}) is PLAIN
    assert shape({"k": 3, "filter": {"no": "column"}, "vector": None}) is PLAIN


def test_each_part_is_read_with_its_defaults() -> None:
    assert shape({"decay": {"half_life": 60}}) == Shape(Decay(60.0))
    assert shape({"decay": {"half_life": 0.5, "column": "price"}}) == Shape(Decay(0.5, "price"))
    assert shape({"decay": {"half_life": 1, "column": "stock"}}) == Shape(Decay(1.0, "stock"))
    for column in COLUMNS:
        assert shape({"group": {"by": column}}) == Shape(group=Group(column, 1))
    assert shape({"group": {"by": "kind", "size": 3}}) == Shape(group=Group("kind", 3))
    assert shape({"spread": {"max_similarity": 1}}) == Shape(spread=Spread(1.0))
    assert shape({"mmr": {"lambda": 0.5}}, k=7) == Shape(mmr=Mmr(0.5, 70))
    assert shape({"mmr": {"lambda": 0, "candidates": 10}}) == Shape(mmr=Mmr(0.0, 10))
    ranked = shape({"rank": {"$mul": ["$score", "price"]}})
    assert isinstance(ranked.order, Rank)
    assert ranked.order.expression.columns == {"price"}


def test_parts_that_go_together_are_read_together() -> None:
    found = shape(
        {
            "decay": {"half_life": 60},
            "group": {"by": "kind"},
            "spread": {"max_similarity": 0.9},
        }
    )
    assert found.order == Decay(60.0)
    assert found.group == Group("kind", 1)
    assert found.selects
    assert shape({"rank": "$score", "mmr": {"lambda": 1}, "group": {"by": "kind"}}).mmr


def test_numbers_at_their_limits_are_taken_and_beyond_them_refused() -> None:
    assert shape({"decay": {"half_life": 1e-3}}).order == Decay(1e-3)
    assert shape({"decay": {"half_life": 10**12}}).order == Decay(1e12)
    below, above = np.nextafter(1e-3, 0), np.nextafter(1e12, np.inf)
    for wrong in (below, above, 10**12 + 1, 0, -1, -0.0, 1e308, 10**400, np.nan, np.inf):
        assert refusal({"decay": {"half_life": wrong}}).startswith("decay.half_life: must be")
    for relevance in (0, 1, 0.0, 1.0, 5e-324):
        assert shape({"mmr": {"lambda": relevance}}).mmr == Mmr(float(relevance), 100)
    for wrong in (-5e-324, np.nextafter(1.0, 2), 2, -1, np.nan, 10**400):
        assert refusal({"mmr": {"lambda": wrong}}).startswith("mmr.lambda: must be")


def test_candidates_lie_between_k_and_max_k() -> None:
    assert shape({"mmr": {"lambda": 1, "candidates": 5}}, k=5, max_k=20).mmr == Mmr(1.0, 5)
    assert shape({"mmr": {"lambda": 1, "candidates": 20}}, k=5, max_k=20).mmr == Mmr(1.0, 20)
    assert shape({"mmr": {"lambda": 1}}, k=5, max_k=20).mmr == Mmr(1.0, 20)
    assert shape({"mmr": {"lambda": 1}}, k=20, max_k=20).mmr == Mmr(1.0, 20)
    assert shape({"mmr": {"lambda": 1}}, k=1, max_k=20).mmr == Mmr(1.0, 10)
    for wrong in (4, 21, 0, -5, 10.0, "10", True, None, [10], 10**30):
        fields = {"mmr": {"lambda": 1, "candidates": wrong}}
        assert refusal(fields, k=5, max_k=20).startswith("mmr.candidates: must be an integer from")


def test_a_group_is_never_larger_than_the_window() -> None:
    assert shape({"group": {"by": "kind", "size": 2**80}}).group == Group("kind", CAPACITY)


def test_a_similarity_is_rounded_to_float32_as_scores_are() -> None:
    found = shape({"spread": {"max_similarity": 0.1}}).spread
    assert found == Spread(float(np.float32(0.1)))
    assert shape({"spread": {"max_similarity": 1e39}}).spread == Spread(np.inf)
    assert shape({"spread": {"max_similarity": -1e39}}).spread == Spread(-np.inf)


def test_under_l2_no_similarity_is_above_0() -> None:
    for fine in (0, -0.0, -1e-50, -3, -1e39):
        assert shape({"spread": {"max_similarity": fine}}, metric="l2").spread
    for wrong in (1e-50, 5e-324, 1, 1e39):
        said = refusal({"spread": {"max_similarity": wrong}}, metric="l2")
        assert said.startswith("spread.max_similarity: at most 0 under l2")
        assert shape({"spread": {"max_similarity": wrong}}, metric="dot").spread


WRONG_NUMBERS: list[Any] = [None, True, False, "1", "", [1], {"$add": [1, 2]}, {}]


@pytest.mark.parametrize("wrong", WRONG_NUMBERS)
@pytest.mark.parametrize(
    ("field", "member", "others"),
    [
        ("decay", "half_life", {"column": "price"}),
        ("group", "size", {"by": "kind"}),
        ("spread", "max_similarity", {}),
        ("mmr", "lambda", {"candidates": 20}),
        ("mmr", "candidates", {"lambda": 0.5}),
    ],
)
def test_what_is_no_number_is_refused(field: str, member: str, others: Any, wrong: Any) -> None:
    assert refusal({field: {**others, member: wrong}}).startswith(f"{field}.{member}: must be ")


@pytest.mark.parametrize("size", [0, -1, 1.0, 1.5, 1e3, 2.0**70, np.nan])
def test_a_size_is_an_integer_of_at_least_1(size: Any) -> None:
    said = refusal({"group": {"by": "kind", "size": size}})
    assert said == "group.size: must be an integer of at least 1"


@pytest.mark.parametrize("wrong", [None, 1, True, ["price"], {"price": 1}])
@pytest.mark.parametrize(
    ("field", "member", "others"), [("decay", "column", {"half_life": 1}), ("group", "by", {})]
)
def test_a_column_is_named_by_a_string(field: str, member: str, others: Any, wrong: Any) -> None:
    said = refusal({field: {**others, member: wrong}})
    assert said == f"{field}.{member}: must be the name of a column"


@pytest.mark.parametrize("name", ["", "Price", "price ", "$score", "𝄞" * 30, "__import__('os')"])
def test_a_column_that_is_not_declared_is_answered_with_those_that_are(name: str) -> None:
    declared = "is not a declared column (declared: kind, new, price, stock)"
    for fields in ({"decay": {"half_life": 1, "column": name}}, {"group": {"by": name}}):
        assert declared in refusal(fields)


def test_times_are_not_in_columns_of_bools_or_texts() -> None:
    for column in ("new", "kind"):
        said = refusal({"decay": {"half_life": 1, "column": column}})
        assert said.startswith(f"decay.column: {column} is {COLUMNS[column]}; only")


@pytest.mark.parametrize("wrong", [None, True, 3, "half_life", [], [{"half_life": 1}]])
@pytest.mark.parametrize("field", ["decay", "group", "spread", "mmr"])
def test_what_is_no_object_is_refused(field: str, wrong: Any) -> None:
    assert refusal({field: wrong}) == f"{field}: must be an object"


@pytest.mark.parametrize(
    ("field", "members"),
    [
        ("decay", {"half_life": 1}),
        ("group", {"by": "kind"}),
        ("spread", {"max_similarity": 1}),
        ("mmr", {"lambda": 1}),
    ],
)
def test_members_that_are_missing_or_unknown_are_named(field: str, members: Any) -> None:
    (required,) = members
    assert refusal({field: {}}) == f"{field}.{required}: missing"
    said = refusal({field: {**members, "more": 1}})
    assert said.startswith(f"{field}.more: unknown; {field} has {required}")
    long = refusal({field: {"x" * 10_000: 1, **members}})
    assert long.startswith(f"{field}.'xxx")


def test_what_excludes_each_other_is_refused_whatever_it_holds() -> None:
    for one in ({"half_life": 1}, None):
        said = refusal({"decay": one, "rank": "$score"})
        assert said == "decay: does not go together with rank"
    said = refusal({"spread": {"max_similarity": 1}, "mmr": {"lambda": 1}})
    assert said == "spread: does not go together with mmr"


def test_a_live_query_takes_all_but_mmr_and_age() -> None:
    assert shape({"decay": {"half_life": 1}, "group": {"by": "kind"}}, live=True).selects
    assert shape({"rank": "price", "spread": {"max_similarity": 1}}, live=True).order
    assert refusal({"mmr": {"lambda": 1}}, live=True) == "mmr: not in a live query"
    with pytest.raises(BadRank, match=r"^rank\.\$neg: \$age changes as time passes"):
        shape({"rank": {"$neg": "$age"}}, live=True)
    assert shape({"rank": {"$neg": "$age"}}).order


def test_a_fault_of_rank_is_bad_rank() -> None:
    for wrong in (None, [], {}, "kind", True, {"half_life": 1}):
        with pytest.raises(BadRank, match=r"^rank[.:]"):
            shape({"rank": wrong})


def test_fields_are_those_that_are_read() -> None:
    for field in FIELDS:
        with pytest.raises((BadRequest, BadRank), match=f"^{field}: "):
            shape({field: None})
