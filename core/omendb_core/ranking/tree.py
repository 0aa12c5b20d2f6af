"""Checked expressions of ``rank`` (PROTOCOL section 5), built by ``rank_parser``.

Knows nothing of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..filters.tree import Filter

Operator = Literal[
    "$add", "$mul", "$min", "$max", "$sub", "$div", "$pow", "$neg", "$abs", "$sqrt", "$exp", "$log"
]


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, finite."""

    value: float


@dataclass(frozen=True, slots=True)
class Score:
    """``$score``."""


@dataclass(frozen=True, slots=True)
class Age:
    """``$age``: seconds between the row's acceptance and ``at``."""


@dataclass(frozen=True, slots=True)
class ColumnValue:
    """A numeric or bool column's value; ``default`` in place of null, None: null stays null."""

    column: str
    default: float | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator and its operands, left to right."""

    operator: Operator
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class If:
    """``then`` for rows that pass ``condition``, else ``otherwise``; only that branch counts."""

    condition: Filter
    then: Node
    otherwise: Node


Node: TypeAlias = Number | Score | Age | ColumnValue | Operation | If


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. Equal ``canonical`` texts give equal values.

    ``columns`` are those that it or a condition in it reads; ``uses_age`` whether ``$age`` stands
    in it; ``rises_with_score`` whether it never falls where the score rises and all else stays
    (which lets bounds of a score bound the value).
    """

    root: Node
    canonical: str
    columns: frozenset[str]
    uses_age: bool
    rises_with_score: bool
