"""What an expression of ``rank`` is at most for rows of whose scores bounds are known.

So most rows are left out of an answer by bounds of their scores, which cost a tenth of the scores.
Of each row of a block by itself: what it has in its columns, and its age, are known. Reads them as
``evaluation`` does, and bounds values by ``intervals``; knows nothing of order.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..model.types import F32
from .evaluation import Rows, Value
from .intervals import OPERATIONS, Ends, Fixed
from .tree import If, Node, Operation, Score

_NO_SCORES: Final = np.empty(0)


class Scored:
    """An expression, and which of its nodes have a score in them."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self._nodes: set[int] = set()
        self._note(root)

    def __contains__(self, node: Node) -> bool:
        return id(node) in self._nodes

    def _note(self, node: Node) -> bool:
        match node:
            case Score():
                has_score = True
            case If(_, then, otherwise):
                has_score = self._note(then) | self._note(otherwise)
            case Operation(_, operands):
                noted = [self._note(one) for one in operands]  # all of them
                has_score = True in noted
            case _:
                has_score = False
        if has_score:
            self._nodes.add(id(node))
        return has_score


class Limits:
    """Ends of an expression for one block of rows, and any number of queries."""

    def __init__(self, rows: Rows, scored: Scored) -> None:
        self._rows = rows
        self._scored = scored
        self._fixed: dict[int, Fixed] = {}

    def most(self, lower: F32, upper: F32) -> Value:
        """What the values are at most for scores float32 (n,) within ``lower`` and ``upper``."""
        scores = Ends(lambda: lower.astype(np.float64), lambda: upper.astype(np.float64))
        with np.errstate(all="ignore"):
            return self._ends(self._scored.root, scores).most

    def _ends(self, node: Node, scores: Ends) -> Ends:
        if node not in self._scored:
            return self._value(node)
        match node:
            case If(_, then, otherwise):
                one, other = self._ends(then, scores), self._ends(otherwise, scores)
                return Ends(
                    lambda: np.where(self._rows.passed(node), one.least, other.least),
                    lambda: np.where(self._rows.passed(node), one.most, other.most),
                )
            case Operation(operator, operands):
                return OPERATIONS[operator]([self._ends(one, scores) for one in operands])
            case _:
                return scores

    def _value(self, node: Node) -> Fixed:
        """Of a node without a score; computed once for all queries."""
        known = self._fixed.get(id(node))
        if known is None:
            known = self._fixed[id(node)] = Fixed(self._rows.value(node, _NO_SCORES))
        return known
