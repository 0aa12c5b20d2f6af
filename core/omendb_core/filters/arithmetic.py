"""Arithmetic operands of filters: checked trees, computed by numexpr in float64.

Knows no columns: it is handed their values. Null is NaN, and so is every result that is not finite
(PROTOCOL section 5), the inner ones included: in 1/(x/0) the inf is a null before it can become 0.

numexpr compiles its text as Python, and its sanitiser can be bypassed: the only text it sees is
made here of ``v0``, ``v1`` …, the four operators and parentheses. Names of columns and numbers are
arguments of the compiled expression, never text, and no namespace is looked into.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, Final, TypeAlias

import numexpr
import numpy as np

from ..model.types import F64

#: The arithmetic operators of PROTOCOL section 5, and what they are to numexpr.
SYMBOLS: Final = {"$add": "+", "$sub": "-", "$mul": "*", "$div": "/"}

#: numexpr takes at most 63 inputs: a side with more operands than this is computed on its own.
_MAX_INLINE_OPERANDS: Final = 16

# A filter is evaluated in blocks that fit the cache; waking a second thread for one costs more
# (measured at 32,768 values: 63 us with two, 15 us with one) and takes the core of another room.
numexpr.set_num_threads(1)
# numexpr keeps state of a running evaluation outside of the compiled expression.
_numexpr_lock = Lock()


@dataclass(frozen=True, slots=True)
class Operation:
    """``left symbol right``; an operand is a number, a column by its name, or an operation."""

    symbol: str
    left: Operand
    right: Operand

    @property
    def operands(self) -> int:
        """How many numbers and columns stand in it."""
        sides = (self.left, self.right)
        return sum(side.operands if isinstance(side, Operation) else 1 for side in sides)

    @property
    def columns(self) -> set[str]:
        """The columns that stand in it."""
        read: set[str] = set()
        for side in (self.left, self.right):
            if isinstance(side, str):
                read.add(side)
            elif isinstance(side, Operation):
                read |= side.columns
        return read

    @property
    def canonical(self) -> str:
        """Text that is the same for the same operation only; names are quoted, numbers are not."""
        left, right = (
            side.canonical if isinstance(side, Operation) else repr(side)
            for side in (self.left, self.right)
        )
        return f"({left} {self.symbol} {right})"


Operand: TypeAlias = float | str | Operation


def compute(operation: Operation, values: Callable[[str], F64]) -> F64:
    """Values float64 (n,) of ``operation``, or () if it names no column; NaN is null.

    ``values`` gives a column as float64 (n,), NaN for null.
    """
    inputs = _Inputs(values)
    text = inputs.expression(operation)
    compiled = _compiled(text, len(inputs.arguments))
    with _numexpr_lock:
        result: F64 = compiled(*inputs.arguments, casting="safe", order="K", ex_uses_vml=False)
    result[~np.isfinite(result)] = np.nan
    return result


class _Inputs:
    """The distinct operands of an expression, each by its name, and their values.

    (Functions inside of each other that call each other are a cycle, which kept the columns.)
    """

    def __init__(self, values: Callable[[str], F64]) -> None:
        self.arguments: list[Any] = []
        self._values = values
        self._names: dict[Operand, str] = {}

    def expression(self, operation: Operation) -> str:
        """``operation`` as text."""
        left = self._text(operation.left, alone=False)
        # A divisor's inf must be a null before it is divided by.
        right = self._text(operation.right, alone=operation.symbol == "/")
        return f"({left}{operation.symbol}{right})"

    def _text(self, operand: Operand, *, alone: bool) -> str:
        if isinstance(operand, Operation) and not (
            alone or operand.operands > _MAX_INLINE_OPERANDS
        ):
            return self.expression(operand)
        if operand not in self._names:
            self._names[operand] = f"v{len(self._names)}"
            self.arguments.append(self._argument(operand))
        return self._names[operand]

    def _argument(self, operand: Operand) -> Any:
        if isinstance(operand, str):
            return self._values(operand)
        if isinstance(operand, float):
            return np.float64(operand)
        return compute(operand, self._values)


@lru_cache(maxsize=256)
def _compiled(text: str, inputs: int) -> Any:
    signature = [(f"v{number}", np.float64) for number in range(inputs)]
    return numexpr.NumExpr(text, signature, sanitize=True)
