"""What shapes an answer, from a request's fields to checked values (PROTOCOL section 5).

Reads ``decay``, ``rank``, ``group``, ``spread`` and ``mmr`` as JSON has them, and looks at nothing
else of a request. Every refusal names the field, and the member of it where one is at fault: of
``rank`` BadRank (``rank_parser``), of the rest, and of what does not go together, BadRequest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ..filters.parser import declared, shown
from ..model.errors import BadRequest
from ..model.types import ColumnType, Definition, Metric
from ..rows.metadata import is_finite_number
from .rank_parser import expression_of
from .shape import PLAIN, Decay, Group, Mmr, Order, Rank, Shape, Spread

FIELDS: Final = ("decay", "rank", "group", "spread", "mmr")

LEAST_HALF_LIFE_SECONDS: Final = 1e-3
MOST_HALF_LIFE_SECONDS: Final = 1e12
#: ``mmr`` looks at this many times ``k`` rows where it does not say.
CANDIDATES_FOR_EACH: Final = 10

#: Types of columns that hold times.
_TIMES: Final = ("f64", "i64")


def shape_of(
    fields: Mapping[str, Any], definition: Definition, k: int, max_k: int, *, live: bool
) -> Shape:
    """The shape that a request's ``fields`` ask for, of a search for ``k`` rows or a ``live`` one.

    Raises BadRequest or BadRank.
    """
    if fields.keys().isdisjoint(FIELDS):
        return PLAIN
    _refuse_pair(fields, "decay", "rank")
    _refuse_pair(fields, "spread", "mmr")
    if live and "mmr" in fields:
        raise BadRequest("mmr: not in a live query")
    order: Order | None = None
    if "decay" in fields:
        order = _decay(fields["decay"], definition.columns)
    elif "rank" in fields:
        order = Rank(expression_of(fields["rank"], definition.columns, live=live))
    return Shape(
        order,
        _group(fields["group"], definition) if "group" in fields else None,
        _spread(fields["spread"], definition.metric) if "spread" in fields else None,
        _mmr(fields["mmr"], k, max_k) if "mmr" in fields else None,
    )


def _refuse_pair(fields: Mapping[str, Any], one: str, other: str) -> None:
    if one in fields and other in fields:
        raise BadRequest(f"{one}: does not go together with {other}")


def _decay(value: Any, columns: Mapping[str, ColumnType]) -> Decay:
    members = _members(value, "decay", ("half_life",), ("column",))
    half_life = members["half_life"]
    if not (
        is_finite_number(half_life)
        and LEAST_HALF_LIFE_SECONDS <= half_life <= MOST_HALF_LIFE_SECONDS
    ):
        raise BadRequest(
            "decay.half_life: must be a number of seconds from "
            f"{LEAST_HALF_LIFE_SECONDS:g} to {MOST_HALF_LIFE_SECONDS:g}"
        )
    if "column" not in members:
        return Decay(float(half_life))
    column = _column(members["column"], columns, "decay.column")
    if columns[column] not in _TIMES:
        raise BadRequest(
            f"decay.column: {column} is {columns[column]}; only f64 and i64 columns hold times"
        )
    return Decay(float(half_life), column)


def _group(value: Any, definition: Definition) -> Group:
    members = _members(value, "group", ("by",), ("size",))
    column = _column(members["by"], definition.columns, "group.by")
    size = members.get("size", 1)
    if type(size) is not int or size < 1:
        raise BadRequest("group.size: must be an integer of at least 1")
    # A window has no more rows than this of any value, and every array can hold it.
    return Group(column, min(size, definition.capacity))


def _spread(value: Any, metric: Metric) -> Spread:
    similarity = _members(value, "spread", ("max_similarity",))["max_similarity"]
    if not is_finite_number(similarity):
        raise BadRequest("spread.max_similarity: must be a finite number")
    if metric == "l2" and similarity > 0:
        raise BadRequest("spread.max_similarity: at most 0 under l2, where no score is above")
    with np.errstate(over="ignore"):  # beyond float32 it is an infinity, as min_score is
        return Spread(float(np.float32(float(similarity))))


def _mmr(value: Any, k: int, max_k: int) -> Mmr:
    members = _members(value, "mmr", ("lambda",), ("candidates",))
    relevance = members["lambda"]
    if not (is_finite_number(relevance) and 0 <= relevance <= 1):
        raise BadRequest("mmr.lambda: must be a number from 0 to 1")
    candidates = members.get("candidates", min(CANDIDATES_FOR_EACH * k, max_k))
    if type(candidates) is not int or not k <= candidates <= max_k:
        raise BadRequest(f"mmr.candidates: must be an integer from k ({k}) to {max_k} (max_k)")
    return Mmr(float(relevance), candidates)


def _members(
    value: Any, field: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The members of an object that may have these only, and must have the required ones."""
    if not isinstance(value, dict):
        raise BadRequest(f"{field}: must be an object")
    for name in value:
        if name not in required and name not in optional:
            known = ", ".join(required + optional)
            raise BadRequest(f"{field}.{shown(name)}: unknown; {field} has {known}")
    for name in required:
        if name not in value:
            raise BadRequest(f"{field}.{name}: missing")
    return value


def _column(name: Any, columns: Mapping[str, ColumnType], where: str) -> str:
    if not isinstance(name, str):
        raise BadRequest(f"{where}: must be the name of a column")
    if name not in columns:
        raise BadRequest(f"{where}: {shown(name)} is not a declared column ({declared(columns)})")
    return name
