"""Filters done naively (``passes``, of the load simulation's oracle), and documents to try.

``filters_for(columns)`` is a hypothesis strategy of valid documents over declared columns, with
literals from small pools (``VALUES``), so that rows drawn from the same pools are often hit.
``metadata_for(columns)`` is one of metadata objects whose values are from those pools, or null, or
absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from load_tests.simulation.row_filter import passes

__all__ = ["FURTHER", "VALUES", "Document", "filters_for", "metadata_for", "passes"]

Document = dict[str, Any]

#: Literals for each type of column. -0.0, halves between integers and 1e308 (whose products
#: overflow) are there on purpose, and a text like code.
VALUES: dict[str, list[Any]] = {
    "f64": [0.0, -0.0, 1.5, 9, 9.0, -2.0, 0.1, 3, 1e308, -1e-308],
    "i64": [0, 1, 2, 3, -1, -3, 7, 2**53 - 1, -(2**53) + 1],
    "bool": [True, False],
    "str": ["a", "b", "ü", "", "zz", "__import__('os')", "𝄞"],
}
#: Further literals that a filter on such a column may hold.
FURTHER: dict[str, list[Any]] = {"i64": [2.5, -0.5, 3.0, -3.5, -0.0], "f64": [10**20, -3]}


# -- strategies -------------------------------------------------------------------------------


def metadata_for(columns: Mapping[str, str]) -> st.SearchStrategy[Document]:
    """Metadata objects for the declared ``columns`` (name → type)."""
    return st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(st.none(), st.sampled_from(VALUES[type_]))
            for name, type_ in columns.items()
        },
    )


def filters_for(columns: Mapping[str, str]) -> st.SearchStrategy[Document]:
    """Valid filter documents on ``columns`` (name → type), ``{}`` among them.

    Three of them together are still within every limit.
    """
    choices = {name: _condition_for(type_, columns) for name, type_ in columns.items()}
    conditions = st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: choices[name] for name in names})
    )

    def nested(children: st.SearchStrategy[Document]) -> st.SearchStrategy[Document]:
        several = st.lists(children, min_size=1, max_size=3)
        junctions = st.fixed_dictionaries(
            {}, optional={"$and": several, "$or": several, "$not": children}
        )
        return st.builds(lambda one, other: {**one, **other}, conditions, junctions)

    return st.recursive(conditions, nested, max_leaves=6).filter(
        lambda made: _operators(made) <= 21
    )


def _operators(document: Any) -> int:
    """How many conditions and arithmetic operators stand in a document."""
    if isinstance(document, list):
        return sum(_operators(item) for item in document)
    if not isinstance(document, dict):
        return 0
    return sum(
        _operators(value) + (key not in ("$and", "$or", "$not") and _is_operator(key, value))
        for key, value in document.items()
    )


def _is_operator(key: str, value: Any) -> bool:
    return key.startswith("$") or not isinstance(value, dict)


def _condition_for(type_: str, columns: Mapping[str, str]) -> st.SearchStrategy[Any]:
    """What may stand right of a column of ``type_``: a bare value, or operators."""
    literal = st.sampled_from(VALUES[type_] + FURTHER.get(type_, []))
    operand: st.SearchStrategy[Any] = literal
    several = st.lists(literal, max_size=12)
    operators: dict[str, st.SearchStrategy[Any]] = {
        "$in": several,
        "$nin": several,
        "$exists": st.booleans(),
    }
    if type_ in ("f64", "i64"):
        operand = st.one_of(literal, literal, arithmetic_for(columns))
        operators |= dict.fromkeys(("$lt", "$lte", "$gt", "$gte"), operand)
    if type_ == "str":
        operators["$prefix"] = st.sampled_from([*VALUES["str"], "z", "__", "aa"])
    operators |= {"$eq": operand, "$ne": operand}
    one_or_two = st.lists(
        st.sampled_from(sorted(operators)), min_size=1, max_size=2, unique=True
    ).flatmap(lambda names: st.fixed_dictionaries({name: operators[name] for name in names}))
    return st.one_of(literal, one_or_two)


def arithmetic_for(columns: Mapping[str, str]) -> st.SearchStrategy[Any]:
    """Arithmetic on the numeric ones of ``columns``, up to three levels."""
    numeric = [name for name, type_ in columns.items() if type_ in ("f64", "i64")]
    numbers = st.sampled_from([0, 1, -1, 0.5, 0.8, 2, 3, 1e308, -1e308, 1e-320])
    leaf: st.SearchStrategy[Any] = st.one_of(st.sampled_from(numeric), numbers)

    def operation(sides: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.builds(
            lambda operator, left, right: {operator: [left, right]},
            st.sampled_from(["$add", "$sub", "$mul", "$div"]),
            sides,
            sides,
        )

    once = operation(leaf)
    twice = operation(st.one_of(leaf, once))
    return st.one_of(once, twice, operation(st.one_of(leaf, twice)))
