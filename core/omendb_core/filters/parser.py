"""Filters (PROTOCOL section 5): from the document of a client to a checked tree.

``OPERATORS`` is the grammar of conditions, ``parse`` the walk that holds a document to it, and
``evaluate`` (``filter_masks``) the mask of rows that pass. Knows the declared columns; nothing of
ids, scores or liveness: whoever asks puts the mask over the live rows.

No document makes the walk deep or long: it is refused at the first thing over a limit. Messages
begin with the path of what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from ..model.budget import Budget, Share
from ..model.errors import BadFilter
from ..model.types import MAX_SAFE_INTEGER, ColumnType
from ..rows.metadata import is_boolean, is_finite_number, is_text
from .arithmetic import SYMBOLS, Operand, Operation
from .masks import evaluate
from .tree import (
    Compare,
    Exists,
    Filter,
    Node,
    Not,
    Order,
    Prefix,
    Scalar,
    bytes_of,
    compare,
    every,
    one_of,
    some,
)

__all__ = [
    "OPERATORS",
    "Filter",
    "Parser",
    "declared",
    "evaluate",
    "kept",
    "optional",
    "parse",
    "shown",
]

MAX_CONDITIONS: Final = 64
#: Arithmetic has a budget of the same size of its own: what a filter costs is bounded.
MAX_OPERATIONS: Final = 64
MAX_LIST_VALUES: Final = 1024
#: Filter objects in a document. Empty ones hold no condition; without this, nested lists of them
#: were bounded by the size of a message only.
MAX_FILTERS: Final = 1024
#: Each ``$and``, ``$or``, ``$not`` and each arithmetic operator is one level, counted from the top:
#: ``{"price": {"$lt": {"$mul": ["msrp", 0.8]}}}`` has one, inside of ``$not`` it has two.
MAX_LEVELS: Final = 8
#: Columns that a message lists where a filter names one that is not there.
MOST_NAMED: Final = 4


class Operator(NamedTuple):
    """A row of the grammar: what stands right of it; ``negated``: it is ``Not`` of the test."""

    operand: Literal["value", "list", "boolean", "number", "text"]
    order: Order = "=="
    negated: bool = False


#: ``number`` operators are for ``f64`` and ``i64`` only, ``text`` ones for ``str``; ``value`` and
#: ``number`` ones take arithmetic in place of a number.
OPERATORS: Final[dict[str, Operator]] = {
    "$eq": Operator("value"),
    "$ne": Operator("value", negated=True),
    "$in": Operator("list"),
    "$nin": Operator("list", negated=True),
    "$exists": Operator("boolean"),
    "$prefix": Operator("text"),
    "$lt": Operator("number", "<"),
    "$lte": Operator("number", "<="),
    "$gt": Operator("number", ">"),
    "$gte": Operator("number", ">="),
}
_NUMERIC: Final = ("f64", "i64")


def parse(document: Any, columns: Mapping[str, ColumnType]) -> Filter:
    """Check a filter against the declared ``columns``.

    Raises BadFilter, whose message begins with the path of what is wrong.
    """
    root = Parser(columns).filter(document, "filter", 0)
    return Filter(root, root.canonical)


def optional(document: Any, columns: Mapping[str, ColumnType]) -> Filter | None:
    """As ``parse``; None for no document and for one that passes every row at once, ``{}``."""
    return parse(document, columns) if document else None


def kept(document: Any, columns: Mapping[str, ColumnType], budget: Budget) -> Filter | None:
    """As ``optional``, of a filter that stays: its bytes are of ``budget``. Quota."""
    return charged(optional(document, columns), budget)


def charged(filter_: Filter | None, budget: Budget) -> Filter | None:
    """The same filter, whose bytes are of ``budget`` for as long as it is there. Quota."""
    if filter_ is None:
        return None
    share = Share(budget, "this filter takes")
    share.resize(bytes_of(filter_.root))
    return Filter(filter_.root, filter_.canonical, share)


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """Rows that pass both; None: every row."""
    if one is None or other is None:
        return other if one is None else one
    root = every([one.root, other.root])
    return Filter(root, root.canonical)


def declared(columns: Mapping[str, ColumnType]) -> str:
    """Which columns are declared, as a message says it: a few of them."""
    names = sorted(columns)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"declared: {', '.join(names[:MOST_NAMED])}{more}" if names else "none is declared"


def shown(key: Any) -> str:
    """A client's text as messages show it: short, printable."""
    text = str(key)
    if len(text) <= 64 and text.isascii() and text.isprintable():
        return text
    return ascii(text[:64])


class Parser:
    """One document's walk, and what it has counted so far.

    Filters within a document of another grammar are parsed by one, so that limits are of all of
    them together.
    """

    def __init__(self, columns: Mapping[str, ColumnType]) -> None:
        self._columns = columns
        self._conditions = 0
        self._operations = 0
        self._filters = 0

    @property
    def operators(self) -> int:
        """Conditions and arithmetic operators so far."""
        return self._conditions + self._operations

    def filter(self, document: Any, path: str, level: int) -> Node:
        """The filter that stands at ``path``, so many levels deep."""
        if not isinstance(document, dict):
            raise BadFilter(f"{path}: must be an object")
        self._filters = _counted(self._filters, MAX_FILTERS, "filters", path)
        children: list[Node] = []
        for key, value in document.items():
            here = f"{path}.{shown(key)}"
            if key in ("$and", "$or"):
                children.append(self._junction(key, value, here, _deeper(level, here)))
            elif key == "$not":
                children.append(Not(self.filter(value, here, _deeper(level, here))))
            elif key in self._columns:
                children += self._conditions_of(key, value, here, level)
            elif isinstance(key, str) and key.startswith("$"):
                raise BadFilter(f"{here}: not an operator of filters ($and, $or, $not)")
            else:
                raise BadFilter(f"{here}: not a declared column ({declared(self._columns)})")
        return every(children)

    def _junction(self, key: str, items: Any, path: str, level: int) -> Node:
        if not isinstance(items, list) or not items:
            raise BadFilter(f"{path}: must be a non-empty list of filters")
        _refuse_long(items, path)
        children = [self.filter(item, f"{path}[{i}]", level) for i, item in enumerate(items)]
        return every(children) if key == "$and" else some(children)

    def _conditions_of(self, column: str, value: Any, path: str, level: int) -> list[Node]:
        if not isinstance(value, dict):
            return [self._condition(column, "$eq", value, path, level)]
        if not value:
            raise BadFilter(f"{path}: an empty condition")
        return [
            self._condition(column, key, operand, f"{path}.{shown(key)}", level)
            for key, operand in value.items()
        ]

    def _condition(self, column: str, key: str, operand: Any, path: str, level: int) -> Node:
        operator = OPERATORS.get(key)
        if operator is None:
            hint = " (arithmetic stands right of an operator)" if key in SYMBOLS else ""
            raise BadFilter(f"{path}: not an operator of conditions{hint}")
        self._conditions = _counted(self._conditions, MAX_CONDITIONS, "conditions", path)
        node = self._test(column, operator, operand, path, level)
        return Not(node) if operator.negated else node

    def _test(self, column: str, operator: Operator, operand: Any, path: str, level: int) -> Node:
        type_ = self._columns[column]
        if operator.operand == "boolean":
            if not is_boolean(operand):
                raise BadFilter(f"{path}: must be true or false")
            return Exists(column) if operand else Not(Exists(column))
        if operator.operand == "list":
            if not isinstance(operand, list):
                raise BadFilter(f"{path}: must be a list")
            _refuse_long(operand, path)
            values = [_value(type_, item, f"{path}[{i}]") for i, item in enumerate(operand)]
            return one_of(column, type_, values)
        if operator.operand == "number" and type_ not in _NUMERIC:
            raise BadFilter(f"{path}: {column} is {type_}; only f64 and i64 columns are ordered")
        if operator.operand == "text":
            if type_ != "str":
                raise BadFilter(f"{path}: {column} is {type_}; only str columns have a prefix")
            return Prefix(column, str(_value(type_, operand, path)))
        if isinstance(operand, dict) and type_ in _NUMERIC:
            return Compare(column, type_, operator.order, self._operation(operand, path, level))
        value = _value(type_, operand, path)
        if operator.order == "==":
            return one_of(column, type_, [value])
        assert not isinstance(value, str)
        return compare(column, type_, operator.order, value)

    def _operation(self, document: dict[Any, Any], path: str, level: int) -> Operation:
        key = next(iter(document), "")
        if len(document) != 1 or key not in SYMBOLS:
            raise BadFilter(f"{path}: must be a number, or one of {', '.join(SYMBOLS)}")
        path = f"{path}.{key}"
        level = _deeper(level, path)
        self._operations = _counted(self._operations, MAX_OPERATIONS, "arithmetic operators", path)
        sides = document[key]
        if not isinstance(sides, list) or len(sides) != 2:
            raise BadFilter(f"{path}: must be a list of two operands")
        left, right = (self._operand(side, f"{path}[{i}]", level) for i, side in enumerate(sides))
        return Operation(SYMBOLS[key], left, right)

    def _operand(self, operand: Any, path: str, level: int) -> Operand:
        if isinstance(operand, dict):
            return self._operation(operand, path, level)
        if isinstance(operand, str):
            if self._columns.get(operand) not in _NUMERIC:
                raise BadFilter(f"{path}: {shown(operand)} is not a declared numeric column")
            return operand
        if not is_finite_number(operand):
            raise BadFilter(f"{path}: must be a column name, a finite number or arithmetic")
        return float(operand) + 0.0


def _counted(count: int, limit: int, what: str, path: str) -> int:
    if count == limit:
        raise BadFilter(f"{path}: more than {limit} {what}")
    return count + 1


def _deeper(level: int, path: str) -> int:
    if level == MAX_LEVELS:
        raise BadFilter(f"{path}: nested deeper than {MAX_LEVELS} levels")
    return level + 1


def _refuse_long(items: list[Any], path: str) -> None:
    if len(items) > MAX_LIST_VALUES:
        raise BadFilter(f"{path}: more than {MAX_LIST_VALUES} values in a list")


def _value(type_: ColumnType, value: Any, path: str) -> Scalar:
    """A literal as its column holds it; for ``i64`` a fraction stays a float."""
    if value is None:
        raise BadFilter(f"{path}: null compares with nothing; $exists asks for it")
    if type_ == "str":
        if not isinstance(value, str) or not is_text(value):
            raise BadFilter(f"{path}: must be a string of Unicode text")
        return value
    if type_ == "bool":
        if not is_boolean(value):
            raise BadFilter(f"{path}: must be true or false")
        return int(value)
    if not is_finite_number(value):
        raise BadFilter(f"{path}: must be a finite number")
    if type_ == "f64":
        return float(value) + 0.0  # -0.0 is 0.0
    if abs(value) > MAX_SAFE_INTEGER:
        raise BadFilter(f"{path}: must be within ±(2**53 - 1)")
    return int(value) if value == int(value) else float(value)
