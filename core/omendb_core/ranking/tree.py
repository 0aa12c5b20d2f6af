"""Checked expressions of ``rank`` (PROTOCOL section 5), built by ``rank_parser``.

Knows nothing of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from sys import getsizeof
from typing import ClassVar, Final, Literal, TypeAlias

from ..filters.tree import Filter
from ..filters.tree import bytes_of as bytes_of_filter

Operator = Literal[
    "$add", "$mul", "$min", "$max", "$sub", "$div", "$pow", "$neg", "$abs", "$sqrt", "$exp", "$log"
]


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, finite."""

    value: float

    @property
    def canonical(self) -> str:
        """Text that is the same for the same node only; names are quoted, numbers are not."""
        return repr(self.value)


@dataclass(frozen=True, slots=True)
class Score:
    """``$score``."""

    canonical: ClassVar[str] = "$score"


@dataclass(frozen=True, slots=True)
class Age:
    """``$age``: seconds between the row's acceptance and ``at``."""

    canonical: ClassVar[str] = "$age"


@dataclass(frozen=True, slots=True)
class ColumnValue:
    """A numeric or bool column's value; ``default`` in place of null, None: null stays null."""

    column: str
    default: float | None = None

    @property
    def canonical(self) -> str:
        """As ``Number.canonical``."""
        return repr(self.column) if self.default is None else f"({self.column!r} {self.default!r})"


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator and its operands, left to right."""

    operator: Operator
    operands: tuple[Node, ...]

    @property
    def canonical(self) -> str:
        """As ``Number.canonical``."""
        return f"{self.operator}({', '.join(one.canonical for one in self.operands)})"


@dataclass(frozen=True, slots=True)
class If:
    """``then`` for rows that pass ``condition``, else ``otherwise``; only that branch counts."""

    condition: Filter
    then: Node
    otherwise: Node

    @property
    def canonical(self) -> str:
        """As ``Number.canonical``."""
        branches = f"{self.then.canonical}, {self.otherwise.canonical}"
        return f"$if({self.condition.canonical!r}, {branches})"


Node: TypeAlias = Number | Score | Age | ColumnValue | Operation | If


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression; one with the same ``canonical`` text is equal, and has the same values.

    ``columns`` are those that it or a condition in it reads; ``uses_age``: whether ``$age`` stands
    in it.
    """

    root: Node = field(compare=False, repr=False)
    canonical: str
    columns: frozenset[str] = field(compare=False)
    uses_age: bool = field(compare=False)


#: What a node takes besides its filter, about: the object, its operands, its number.
_NODE_BYTES: Final = 160


def bytes_of(expression: Expression) -> int:
    """Bytes that an expression takes, with its filters."""
    return getsizeof(expression.canonical) + _bytes_of(expression.root)


def _bytes_of(node: Node) -> int:
    if isinstance(node, Operation):
        return _NODE_BYTES + sum(map(_bytes_of, node.operands))
    if isinstance(node, If):
        branches = _bytes_of(node.then) + _bytes_of(node.otherwise)
        return _NODE_BYTES + bytes_of_filter(node.condition.root) + branches
    return _NODE_BYTES
