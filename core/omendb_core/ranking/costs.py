"""What the value of an expression takes, about, so that ranking can be cut into pieces.

In nanoseconds a row, as measured on rows in no order of a window that fits the cache, and half as
much again (``filters.costs`` likewise). Knows the tree; nothing of columns or rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..filters.costs import ns_a_row as ns_of_filter
from .tree import Expression, If, Node, Number, Operation, Operator

_READ_NS: Final = 3.0
_BRANCHES_NS: Final = 5.0
#: Each time that it is done, one less than there are operands.
_OPERATION_NS: Final[Mapping[Operator, float]] = {
    "$add": 1.5,
    "$sub": 1.5,
    "$mul": 1.5,
    "$div": 2.0,
    "$min": 5.0,
    "$max": 5.0,
    "$neg": 1.5,
    "$abs": 1.5,
    "$sqrt": 6.0,
    "$exp": 6.0,
    "$log": 7.0,
    "$pow": 18.0,
}


def ns_a_row(expression: Expression) -> float:
    """Nanoseconds for the value of a row."""
    return _READ_NS + _of(expression.root)


def _of(node: Node) -> float:
    if isinstance(node, Number):
        return 0.0
    if isinstance(node, Operation):
        times = max(1, len(node.operands) - 1)
        return times * _OPERATION_NS[node.operator] + sum(map(_of, node.operands))
    if isinstance(node, If):
        branches = _of(node.then) + _of(node.otherwise)
        return _BRANCHES_NS + ns_of_filter(node.condition.root) + branches
    return _READ_NS
