"""Expressions of ``rank`` (PROTOCOL section 5): from the document of a client to a checked tree.

``OPERATORS`` is the grammar. Knows the declared columns; nothing of rows. No document makes the
walk deep or long: it is refused at the first thing over a limit. Messages begin with the path of
what is wrong. Text of a client is only ever looked up among names: none of it is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..filters.parser import Filter, Parser, declared, shown
from ..filters.tree import columns_of
from ..model.errors import BadFilter, BadRank
from ..model.types import ColumnType
from ..rows.metadata import is_finite_number
from .tree import Age, ColumnValue, Expression, If, Node, Number, Operation, Operator, Score

#: Operators of an expression, with the conditions and arithmetic operators of filters in it.
MAX_OPERATORS: Final = 64
#: Each operator is one level, and within the filter of an ``$if`` what is one in filters.
MAX_LEVELS: Final = 8


class Operands(NamedTuple):
    """How many operands an operator takes; ``bare``: its only one stands without a list."""

    least: int
    most: int
    bare: bool = False


_SEVERAL: Final = Operands(2, 16)
_TWO: Final = Operands(2, 2)
_ONE: Final = Operands(1, 1, bare=True)

#: Beside these there are ``$if`` and ``$default``, whose operands are of a kind each.
OPERATORS: Final[Mapping[Operator, Operands]] = {
    "$add": _SEVERAL,
    "$mul": _SEVERAL,
    "$min": _SEVERAL,
    "$max": _SEVERAL,
    "$sub": _TWO,
    "$div": _TWO,
    "$pow": _TWO,
    "$neg": _ONE,
    "$abs": _ONE,
    "$sqrt": _ONE,
    "$exp": _ONE,
    "$log": _ONE,
}
_BY_NAME: Final[Mapping[str, tuple[Operator, Operands]]] = {
    name: (name, operands) for name, operands in OPERATORS.items()
}
#: Types of columns that are numbers; a bool is 1 or 0.
_NUMERIC: Final = ("f64", "i64", "bool")


def expression_of(
    document: Any, columns: Mapping[str, ColumnType], *, live: bool = False
) -> Expression:
    """Check an expression against the declared ``columns``; ``live``: without ``$age``.

    Raises BadRank, whose message begins with the path of what is wrong.
    """
    parser = _Parser(columns, live)
    root = parser.node(document, "rank", 0)
    return Expression(root, root.canonical, frozenset(parser.read), parser.uses_age)


class _Parser:
    """One document's walk, and what it has come across so far."""

    def __init__(self, columns: Mapping[str, ColumnType], live: bool) -> None:
        self._columns = columns
        self._live = live
        self._operators = 0
        self._filters = Parser(columns)
        self.read: set[str] = set()
        self.uses_age = False

    def node(self, document: Any, path: str, level: int) -> Node:
        if isinstance(document, dict):
            return self._operation(document, path, level)
        if isinstance(document, str):
            return self._named(document, path)
        return Number(_number(document, path, "must be a number, a name or an operator"))

    def _named(self, name: str, path: str) -> Node:
        if name == "$score":
            return Score()
        if name == "$age":
            if self._live:
                raise BadRank(f"{path}: $age changes as time passes; not in a live query")
            self.uses_age = True
            return Age()
        return self._column(name, None, path)

    def _column(self, name: Any, default: float | None, path: str) -> ColumnValue:
        if not isinstance(name, str):
            raise BadRank(f"{path}: must be the name of a column")
        if name not in self._columns:
            raise BadRank(
                f"{path}: {shown(name)} is neither $score nor $age nor a declared column "
                f"({declared(self._columns)})"
            )
        if self._columns[name] not in _NUMERIC:
            raise BadRank(f"{path}: {name} is {self._columns[name]}, so it is not numeric")
        self.read.add(name)
        return ColumnValue(name, default)

    def _operation(self, document: dict[Any, Any], path: str, level: int) -> Node:
        if len(document) != 1:
            raise BadRank(f"{path}: must have one operator as its only key, not {len(document)}")
        [(key, value)] = document.items()
        path = f"{path}.{shown(key)}"
        known = _BY_NAME.get(key)
        if known is None and key not in ("$if", "$default"):
            names = ", ".join([*OPERATORS, "$if", "$default"])
            raise BadRank(f"{path}: not an operator of rank ({names})")
        if level == MAX_LEVELS:
            raise BadRank(f"{path}: nested deeper than {MAX_LEVELS} levels")
        self._operators += 1
        self._refuse_many(path)
        if known is None:
            make = self._if if key == "$if" else self._default
            return make(value, path, level + 1)
        operator, operands = known
        if operands.bare:
            if isinstance(value, list):
                raise BadRank(f"{path}: takes one operand, without a list around it")
            return Operation(operator, (self.node(value, path, level + 1),))
        if not isinstance(value, list) or not operands.least <= len(value) <= operands.most:
            count = "two" if operands == _TWO else f"{operands.least} to {operands.most}"
            raise BadRank(f"{path}: must be a list of {count} operands")
        return Operation(
            operator,
            tuple(self.node(one, f"{path}[{i}]", level + 1) for i, one in enumerate(value)),
        )

    def _if(self, value: Any, path: str, level: int) -> If:
        if not isinstance(value, list) or len(value) != 3:
            raise BadRank(f"{path}: must be a list of three: a filter, then, else")
        try:
            root = self._filters.filter(value[0], f"{path}[0]", level)
        except BadFilter as error:
            raise BadRank(error.message) from None
        self._refuse_many(f"{path}[0]")
        self.read |= columns_of(root)
        then, otherwise = (self.node(value[i], f"{path}[{i}]", level) for i in (1, 2))
        return If(Filter(root, root.canonical), then, otherwise)

    def _default(self, value: Any, path: str, _level: int) -> ColumnValue:
        if not isinstance(value, list) or len(value) != 2:
            raise BadRank(f"{path}: must be a list of two: a column, a number")
        default = _number(value[1], f"{path}[1]", "must be a number")
        return self._column(value[0], default, f"{path}[0]")

    def _refuse_many(self, path: str) -> None:
        if self._operators + self._filters.operators > MAX_OPERATORS:
            raise BadRank(f"{path}: more than {MAX_OPERATORS} operators, those of filters counted")


def _number(value: Any, path: str, otherwise: str) -> float:
    if is_finite_number(value):
        return float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    raise BadRank(f"{path}: {'must be finite' if is_number else otherwise}")
