"""Typed messages as plain JSON, and whether two of them are the same to the bit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from omendb_core.model.errors import OmenError
from omendb_core.model.types import MAX_SAFE_INTEGER, Include


def plain(value: Any) -> Any:
    """A typed message as JSON: fields by name, arrays as lists, NaN as null.

    Integers above 2**53 - 1 are strings, bytes the JSON that they are, views lists of numbers.
    """
    if isinstance(value, np.ndarray | memoryview):
        return plain(value.tolist())
    if isinstance(value, Include):
        return [name for name, wanted in value._asdict().items() if wanted]
    if isinstance(value, OmenError):
        return {"code": value.code, "row": value.row, **value.details}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            one.name: getattr(value, one.name)
            for one in dataclasses.fields(value)
            if one.name != "typed"  # what the engine makes of metadata; no message says it
        }
        return {"type": type(value).__name__, **plain(fields)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE_INTEGER:
        return str(value)
    return value


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, arrays in dtype, shape and every bit."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        alike = left.dtype == right.dtype and left.shape == right.shape
        return alike and left.tobytes() == right.tobytes()
    if type(left) is not type(right):
        return False
    if isinstance(left, OmenError):
        return plain(left) == plain(right)
    if dataclasses.is_dataclass(left):
        return all(
            same(getattr(left, one.name), getattr(right, one.name))
            for one in dataclasses.fields(left)
        )
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
