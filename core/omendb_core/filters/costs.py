"""What it takes to tell whether rows pass a filter, about, so that the work can be cut into pieces.

In nanoseconds a row, as measured on rows in no order of a window that fits the cache, and half as
much again. Knows the tree of a filter; nothing of columns or rows.
"""

from __future__ import annotations

from typing import Final

from .masks import FEW_VALUES
from .tree import Compare, Every, Node, Not, OneOf, Prefix, Some

_TEST_NS: Final = 2.0
_VALUE_NS: Final = 0.6
#: Values of a longer list are looked up in tables: 3 ns, or 50, where many of them fill the cache.
_LOOKUP_NS: Final = 30.0
#: Where each row has a text of its own; a tenth of it where few differ.
_PREFIX_NS: Final = 220.0
_OPERATION_NS: Final = 2.5
_JOINED_NS: Final = 0.2


def ns_a_row(node: Node) -> float:
    """Nanoseconds a row, all below the node included."""
    if isinstance(node, Not):
        return _JOINED_NS + ns_a_row(node.child)
    if isinstance(node, Every | Some):
        return _JOINED_NS + sum(_JOINED_NS + ns_a_row(child) for child in node.children)
    if isinstance(node, OneOf):
        return _TEST_NS + _listed_ns(node)
    if isinstance(node, Prefix):
        return _TEST_NS + _PREFIX_NS
    if isinstance(node, Compare) and not isinstance(node.operand, float | int):
        return _TEST_NS + _OPERATION_NS * node.operand.operands
    return _TEST_NS


def _listed_ns(node: OneOf) -> float:
    count = len(node.values)
    return _VALUE_NS * count if count <= FEW_VALUES else _LOOKUP_NS
