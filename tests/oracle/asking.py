"""Rows and requests for the state machines of shaped answers: what is asked of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.filter_oracle import VALUES, filters_for

from .numbers import f32, score
from .strategies import Columns, examples, shapes
from .window import Oracle

RARELY = st.sampled_from([False, False, False, True])
ELEMENTS = [0.0, 1.0, -1.0, 0.5, 3.0, f32(-0.1)]
vectors = st.lists(st.sampled_from(ELEMENTS), min_size=3, max_size=3).filter(any)


def any_vector(random: Random) -> list[float]:
    elements = [*ELEMENTS, f32(random.uniform(-2, 2))]
    return [random.choice(elements[1:]), random.choice(elements), random.choice(elements)]


def any_metadata(random: Random, columns: Mapping[str, str]) -> dict[str, Any]:
    made = {}
    for name, type_ in columns.items():
        values = [None, *VALUES[type_]]
        if type_ in ("f64", "i64"):  # times and prices that are none of the awkward ones
            values += [random.randint(0, 9)] * 6
        if random.random() < 0.8:
            made[name] = random.choice(values)
    return made


@cache
def filters(columns: Columns) -> st.SearchStrategy[Any]:
    return filters_for(dict(columns))


def draw_search(
    data: st.DataObject, there: Oracle, missing: Any, columns: Columns, max_k: int
) -> dict[str, Any]:
    """Fields of a search: ``vectors`` (one or two), ``like`` or ``positive``, and all others.

    ``missing`` is an id that may not be there.
    """
    known = sorted((row.id for row in there.rows.values()), key=str)
    several = st.fixed_dictionaries({"vectors": st.lists(vectors, min_size=1, max_size=2)})
    sought: st.SearchStrategy[dict[str, Any]] = st.one_of(
        several,
        several,
        st.fixed_dictionaries({"like": st.sampled_from([*known, missing])}),
        examples(vectors, known),
        examples(vectors, [*known, missing]),
    )
    return data.draw(sought) | draw_others(data, there, missing, columns, max_k)


def draw_others(
    data: st.DataObject,
    there: Oracle,
    missing: Any,
    columns: Columns,
    max_k: int,
    *,
    live: bool = False,
) -> dict[str, Any]:
    """All fields but those that make the query vector; with ``live`` those of a subscription."""
    k = data.draw(st.sampled_from([1, 2, 3, 10, max_k]))
    fields: dict[str, Any] = {"k": k}
    known = sorted((row.id for row in there.rows.values()), key=str)
    others = {
        "filter": filters(columns),
        "min_score": st.sampled_from([-4.0, 0.0, 0.5, 1.0, 0.3, 1e300]),
        "exclude": st.lists(st.sampled_from([*known, missing]), max_size=4),
    }
    if not live:
        others["last"] = st.integers(1, 40)
    for name, values in others.items():
        if data.draw(RARELY):
            fields[name] = data.draw(values)
    fields |= data.draw(shapes(columns, there.metric, k, max_k, live=live))
    if "spread" in fields and there.rows and data.draw(st.booleans()):
        fields["spread"] = {"max_similarity": some_similarity(data, there)}
    return fields


def some_similarity(data: st.DataObject, there: Oracle) -> float:
    """Of two rows that are there, or a float64 that is rounded to it."""
    rows = st.sampled_from(sorted(there.rows))
    one, other = (there.rows[data.draw(rows)].vector for _ in range(2))
    nearly_one = data.draw(st.sampled_from([1, 1 + 2**-30, 1 - 2**-30]))
    return score(there.metric, one, other) * nearly_one
