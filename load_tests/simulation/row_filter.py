"""Filters done naively, row by row, from PROTOCOL section 5 alone: what the oracle goes by.

Nothing here is shared with the engine: plain Python numbers, and None for null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]


def passes(document: Document, metadata: Mapping[str, Any]) -> bool:
    """Whether a row with ``metadata`` passes ``document``, a *valid* filter."""
    return all(_entry_passes(key, value, metadata) for key, value in document.items())


def _entry_passes(key: str, value: Any, metadata: Mapping[str, Any]) -> bool:
    if key == "$and":
        return all(passes(item, metadata) for item in value)
    if key == "$or":
        return any(passes(item, metadata) for item in value)
    if key == "$not":
        return not passes(value, metadata)
    conditions = value if isinstance(value, dict) else {"$eq": value}
    left = _number(metadata.get(key))
    return all(_holds(left, operator, right, metadata) for operator, right in conditions.items())


def _holds(left: Any, operator: str, operand: Any, metadata: Mapping[str, Any]) -> bool:
    if operator == "$exists":
        return (left is not None) is operand
    if operator in ("$in", "$nin"):
        among = left is not None and any(left == _number(value) for value in operand)
        return among == (operator == "$in")
    if operator == "$prefix":
        return left is not None and left[: len(operand)] == operand
    right = _arithmetic(operand, metadata) if isinstance(operand, dict) else _number(operand)
    if left is None or right is None:
        return operator == "$ne"
    if operator == "$eq":
        return bool(left == right)
    if operator == "$ne":
        return bool(left != right)
    if operator == "$lt":
        return bool(left < right)
    if operator == "$lte":
        return bool(left <= right)
    if operator == "$gt":
        return bool(left > right)
    if operator == "$gte":
        return bool(left >= right)
    raise AssertionError(f"no such operator: {operator}")


def _arithmetic(operand: Any, metadata: Mapping[str, Any]) -> float | None:
    """An operand's value; None is null, and so is what is not finite, at every step."""
    if isinstance(operand, str):
        value = metadata.get(operand)
        return None if value is None else float(value)
    if not isinstance(operand, dict):
        return float(operand)
    ((operator, sides),) = operand.items()
    left, right = (_arithmetic(side, metadata) for side in sides)
    if left is None or right is None or (operator == "$div" and right == 0):
        return None
    result = {
        "$add": lambda: left + right,
        "$sub": lambda: left - right,
        "$mul": lambda: left * right,
        "$div": lambda: left / right,
    }[operator]()
    return result if math.isfinite(result) else None


def _number(value: Any) -> Any:
    """``value``, as float64 if it is an integer that only an ``f64`` column can hold."""
    if isinstance(value, int) and abs(value) >= 2**53:
        return float(value)
    return value
