"""The checked tree of a filter: few kinds of nodes, each with one canonical text.

Knows types of columns, and what memory a tree takes. A null fails every test, and ``Not`` alone
lets it pass. The canonical text of a node is the same for nodes that differ in order or repetition
only, and never for nodes that may differ in what they pass: names and texts are quoted in it,
numbers are not.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from sys import getsizeof
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from ..model.budget import Share
from ..model.types import ColumnType
from .arithmetic import Operation
from .value_sets import BYTES_A_VALUE, ValueSet

Order = Literal["==", "<", "<=", ">", ">="]
#: A literal as its column holds it; true and false are 1 and 0.
Scalar: TypeAlias = float | int | str


@dataclass(frozen=True, slots=True)
class Compare:
    """Rows whose value stands in ``order`` to ``operand``: int for ``i64``, else float."""

    column: str
    type: ColumnType
    order: Order
    operand: float | int | Operation
    canonical: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        operand = self.operand
        text = operand.canonical if isinstance(operand, Operation) else repr(operand)
        object.__setattr__(self, "canonical", f"{self.column!r} {self.order} {text}")


@dataclass(frozen=True, slots=True)
class OneOf:
    """Rows whose value is one of ``values``: distinct, sorted, of the column's type."""

    column: str
    type: ColumnType
    values: tuple[Scalar, ...]
    canonical: str = field(init=False, compare=False, repr=False)
    _numbers: ValueSet | None = field(init=False, default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "canonical", f"{self.column!r} in {json.dumps(self.values)}")

    def numbers(self, dtype: np.dtype[Any]) -> ValueSet:
        """The values, of a column of numbers, to be looked up; laid out once."""
        if self._numbers is None:
            numbers = [value for value in self.values if not isinstance(value, str)]
            object.__setattr__(self, "_numbers", ValueSet(numbers, dtype))
            assert self._numbers is not None
        return self._numbers


@dataclass(frozen=True, slots=True)
class Prefix:
    """Rows whose text, of a ``str`` column, begins with ``text``."""

    column: str
    text: str
    canonical: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "canonical", f"{self.column!r} begins {json.dumps(self.text)}")


@dataclass(frozen=True, slots=True)
class Exists:
    """Rows whose value is not null."""

    column: str
    canonical: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "canonical", f"{self.column!r} exists")


@dataclass(frozen=True, slots=True)
class Not:
    """Rows that ``child`` does not pass."""

    child: Node
    canonical: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "canonical", f"not ({self.child.canonical})")


@dataclass(frozen=True, slots=True)
class Every:
    """Rows that all ``children`` pass; without any, every row."""

    children: tuple[Node, ...]
    canonical: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = " and ".join(child.canonical for child in self.children)
        object.__setattr__(self, "canonical", f"({text})")


@dataclass(frozen=True, slots=True)
class Some:
    """Rows that one of ``children`` passes."""

    children: tuple[Node, ...]
    canonical: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = " or ".join(child.canonical for child in self.children)
        object.__setattr__(self, "canonical", f"({text})")


Node: TypeAlias = Compare | OneOf | Prefix | Exists | Not | Every | Some


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Filter:
    """A checked filter; one with the same ``canonical`` text is equal, and passes the same rows.

    ``share``: its part of a budget, if it is kept for long; it goes with its last reference.
    """

    root: Node = field(compare=False, repr=False)
    canonical: str
    share: Share | None = field(default=None, compare=False, repr=False)


#: What a node takes besides its text and its values, about.
_NODE_BYTES: Final = 160


def bytes_of(node: Node) -> int:
    """Bytes that a node takes, with all below it."""
    own = _NODE_BYTES + getsizeof(node.canonical)
    if isinstance(node, OneOf):
        laid_out = BYTES_A_VALUE * len(node.values) if node.type != "str" else 0
        return own + laid_out + getsizeof(node.values) + sum(map(getsizeof, node.values))
    if isinstance(node, Prefix):
        return own + getsizeof(node.text)
    if isinstance(node, Not):
        return own + bytes_of(node.child)
    if isinstance(node, Every | Some):
        return own + sum(map(bytes_of, node.children))
    return own


def columns_of(node: Node) -> set[str]:
    """The columns that a node reads, arithmetic and all below it included."""
    if isinstance(node, Not):
        return columns_of(node.child)
    if isinstance(node, Every | Some):
        return set().union(*map(columns_of, node.children))
    read = {node.column}
    if isinstance(node, Compare) and isinstance(node.operand, Operation):
        read |= node.operand.columns
    return read


def one_of(column: str, type_: ColumnType, values: Sequence[Scalar]) -> OneOf:
    """Rows whose value is among ``values``, in any order; an ``i64`` is never a fraction."""
    if type_ == "i64":
        values = [value for value in values if isinstance(value, int)]
    return OneOf(column, type_, tuple(sorted(set(values))))


def compare(column: str, type_: ColumnType, order: Order, value: float | int) -> Compare:
    """Rows whose value stands in ``order`` (not ``==``) to ``value``; exact for ``i64`` too."""
    if type_ == "i64":
        # An integer is below 2.5 iff it is below 3, and at most 2.5 iff it is at most 2.
        value = ceil(value) if order in ("<", ">=") else floor(value)
    return Compare(column, type_, order, value)


def every(children: Sequence[Node]) -> Node:
    """Rows that all ``children`` pass."""
    distinct = _distinct(children)
    return distinct[0] if len(distinct) == 1 else Every(distinct)


def some(children: Sequence[Node]) -> Node:
    """Rows that one of ``children`` passes; there is at least one."""
    distinct = _distinct(children)
    return distinct[0] if len(distinct) == 1 else Some(distinct)


def _distinct(children: Sequence[Node]) -> tuple[Node, ...]:
    """The children once each, in an order that does not come from the document."""
    by_text = {child.canonical: child for child in children}
    return tuple(by_text[text] for text in sorted(by_text))
