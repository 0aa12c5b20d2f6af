"""Vectors in JSON: lists of numbers to float32 arrays, nothing else let through.

numpy would take booleans, texts and nulls for numbers, so types are looked at first (in C, by
``set(map(type, …))``). A value beyond float32 becomes an infinity here, which the engine refuses
as ``non_finite`` with its row. Knows no definition and no message.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from omendb_core.model.errors import BadVector, DimMismatch
from omendb_core.model.types import F32

_NUMBERS: Final = frozenset((int, float))


def from_list(value: Any, name: str, row: int | None = None) -> F32:
    """One vector, float32 (1, dim). Raises BadVector naming ``name``, with ``row``."""
    if type(value) is not list or not _NUMBERS.issuperset(map(type, value)):
        raise BadVector(f"{name}: must be a list of numbers", row=row)
    return _array(value).reshape(1, len(value))


def from_lists(values: Sequence[Any], name: str, dim: int | None = None) -> F32:
    """At least one vector, float32 (n, dim), all of ``dim`` or else of one length.

    Raises BadVector or DimMismatch naming ``name``, with the ``row`` of the first at fault.
    """
    lists_only = set(map(type, values)) == {list}
    if lists_only:
        expected = len(values[0]) if dim is None else dim
        if set(map(len, values)) == {expected}:
            flat = list(chain.from_iterable(values))
            if _NUMBERS.issuperset(map(type, flat)):
                return _array(flat).reshape(len(values), expected)
    raise _fault(values, name, dim)


def _array(numbers: list[Any]) -> F32:
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32)


def _fault(values: Sequence[Any], name: str, dim: int | None) -> BadVector | DimMismatch:
    """Why ``from_lists`` refused: the first row at fault."""
    for row, value in enumerate(values):
        if type(value) is not list or not _NUMBERS.issuperset(map(type, value)):
            return BadVector(f"{name}: must be a list of numbers", row=row)
        if dim is None:
            dim = len(value)
        elif len(value) != dim:
            return DimMismatch(f"{name}: has {len(value)} dimensions, not {dim}", row=row)
    return BadVector(f"{name}: must hold at least one list of numbers")
