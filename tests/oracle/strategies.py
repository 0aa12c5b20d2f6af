"""Hypothesis strategies of the fields that shape an answer, all of them valid.

Literals are from small pools with awkward ones among them, so that ties, nulls, infinities and
values beyond a range come up again and again. Each strategy is made once: hypothesis takes
longer to look at a new one than to draw from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.filter_oracle import VALUES

#: (name, type) of each.
Columns = tuple[tuple[str, str], ...]
NUMBERS = [0, 1, -1, 2, 3, 0.5, -0.25, 10, 1e-3, 1e308, -1e308, 5e-324, 709.5, 1e16]
#: Of at most 64 operators and 8 levels, conditions of filters included.
MOST_OPERATORS, MOST_LEVELS = 64, 8

half_lives = st.sampled_from([1e-3, 0.7, 1, 3, 60, 1e5, 1e12])
times = st.sampled_from([0.0, 1.0, 2.5, 7, -4.0, 1.7e9, 1e300, -1e300])


@cache
def decays(columns: Columns) -> st.SearchStrategy[Any]:
    names = [name for name, type_ in columns if type_ in ("f64", "i64")]
    return st.fixed_dictionaries(
        {"half_life": half_lives}, optional={"column": st.sampled_from(names)}
    )


@cache
def groups(columns: Columns) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"by": st.sampled_from(sorted(dict(columns)))},
        optional={"size": st.sampled_from([1, 1, 2, 3, 10**18])},
    )


@cache
def spreads(metric: str) -> st.SearchStrategy[Any]:
    similarities = {
        "cosine": [0.999999, 0.9, 0.5, 0.0, -1.0, 1, 2, 1e300],
        "dot": [1e300, 10, 3.01, 1, 0.5, 0.0, -1, -1e300],
        "l2": [0, -0.01, -1, -2.21, -6, -1e300],
    }
    return st.fixed_dictionaries({"max_similarity": st.sampled_from(similarities[metric])})


@cache
def mmrs(k: int, max_k: int) -> st.SearchStrategy[Any]:
    candidates = sorted({k, min(k + 1, max_k), min(2 * k, max_k), max_k})
    return st.fixed_dictionaries(
        {"lambda": st.sampled_from([0, 0.0, 0.1, 0.5, 0.7, 1, 1.0])},
        optional={"candidates": st.sampled_from(candidates)},
    )


@cache
def expressions(columns: Columns, *, live: bool = False) -> st.SearchStrategy[Any]:
    """Of ``rank``; with ``live`` without ``$age``."""
    numeric = [name for name, type_ in columns if type_ in ("f64", "i64", "bool")]
    named = ["$score", "$score", "$score", *numeric, *([] if live else ["$age"])]
    defaults = st.tuples(st.sampled_from(numeric), st.sampled_from(NUMBERS)).map(list)
    leaves: st.SearchStrategy[Any] = st.one_of(
        st.sampled_from(named),
        st.sampled_from(named),
        st.sampled_from(NUMBERS),
        defaults.map(lambda pair: {"$default": pair}),
    )

    def operations(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        several = st.lists(inner, min_size=2, max_size=4)
        return st.one_of(
            st.builds(_operation, st.sampled_from(["$add", "$mul", "$min", "$max"]), several),
            st.builds(
                _operation,
                st.sampled_from(["$sub", "$div", "$pow"]),
                st.lists(inner, min_size=2, max_size=2),
            ),
            st.builds(
                _operation, st.sampled_from(["$neg", "$abs", "$sqrt", "$exp", "$log"]), inner
            ),
            st.builds(
                lambda condition, then, otherwise: {"$if": [condition, then, otherwise]},
                conditions(columns),
                inner,
                inner,
            ),
        )

    return st.recursive(leaves, operations, max_leaves=8).filter(
        lambda made: operators(made) <= MOST_OPERATORS and levels(made) <= MOST_LEVELS
    )


def _operation(operator: str, operands: Any) -> dict[str, Any]:
    return {operator: operands}


@cache
def conditions(columns: Columns) -> st.SearchStrategy[Any]:
    """Short filters; ``tests.filter_oracle`` makes the long ones."""
    one = st.sampled_from(sorted(dict(columns))).flatmap(
        lambda name: st.builds(
            lambda operator, value: {name: {operator: value}},
            st.sampled_from(["$eq", "$ne"]),
            st.sampled_from(VALUES[dict(columns)[name]]),
        )
    )
    there = st.builds(
        lambda name, is_there: {name: {"$exists": is_there}},
        st.sampled_from(sorted(dict(columns))),
        st.booleans(),
    )
    either = st.one_of(one, there)
    return st.one_of(
        st.just({}), either, either.map(lambda inner: {"$not": inner}),
        st.lists(either, min_size=2, max_size=2).map(lambda both: {"$or": both}),
    )  # fmt: skip


def operators(document: Any) -> int:
    """How many keys with a ``$`` there are: no fewer than operators."""
    if isinstance(document, list):
        return sum(map(operators, document))
    if not isinstance(document, dict):
        return 0
    return sum(key.startswith("$") + operators(value) for key, value in document.items())


def levels(document: Any) -> int:
    """How deep objects lie in objects: no fewer than levels."""
    if isinstance(document, list):
        return max(map(levels, document), default=0)
    if not isinstance(document, dict):
        return 0
    return 1 + max(map(levels, document.values()), default=0)


@cache
def shapes(
    columns: Columns, metric: str, k: int, max_k: int, *, live: bool = False
) -> st.SearchStrategy[dict[str, Any]]:
    """``decay`` or ``rank``, with ``group``, ``spread`` or ``mmr``; nothing at all, too."""
    orders: st.SearchStrategy[dict[str, Any]] = st.one_of(
        st.just({}),
        decays(columns).map(lambda decay: {"decay": decay}),
        expressions(columns, live=live).map(lambda rank: {"rank": rank}),
    )
    selections = [
        st.fixed_dictionaries({}, optional={"group": groups(columns), "spread": spreads(metric)})
    ]
    if not live:
        selections.append(
            st.fixed_dictionaries({"mmr": mmrs(k, max_k)}, optional={"group": groups(columns)})
        )
    return st.builds(lambda order, selection: {**order, **selection}, orders, st.one_of(selections))


def examples(
    vectors: st.SearchStrategy[list[float]], ids: Sequence[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """``positive`` and ``negative``, of ``vectors`` and ``ids``, not all of them there maybe."""
    one = st.one_of(vectors, st.sampled_from(ids)) if ids else vectors
    return st.fixed_dictionaries(
        {"positive": st.lists(one, min_size=1, max_size=4)},
        optional={"negative": st.lists(one, max_size=3)},
    )
