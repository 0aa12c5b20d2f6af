"""Vectors as callers have them, made into float32 arrays: numpy, lists, tensors, data frames.

What holds real numbers in one or two dimensions goes in; booleans, texts, complex numbers, times,
nulls, raw bytes and what a mask hides are refused, never read as numbers. Nothing given is ever
written to. Pure; knows no collection.
"""

from __future__ import annotations

import array as array_module
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.errors import BadVector, DimMismatch, NonFinite, OmenError
from omendb_core.model.types import F32

from .arguments import is_masked, kind, real
from .given import Vectors

#: Of vectors of so many values the squares are summed first: 0.6 µs for 128, as ``vdot`` needs
#: no ``errstate`` (the extremes take 5 with it).
SUMMED_VALUES = 4096
#: Rows looked at together for a value that is not finite: 1 MiB of float32 stays in the cache.
CHECKED_VALUES = 1 << 18

_PLAIN_KINDS: Final = frozenset((int, float, list, np.ndarray, np.float32, np.float64))


def as_vectors(given: Vectors, name: str = "vectors") -> F32:
    """Return ``given`` as float32, C-contiguous, (dim,) or (n, dim); a copy only where it must be.

    Raises BadVector for what is not numbers in that shape, DimMismatch for vectors of different
    lengths, NonFinite (as float32); with ``row`` where there are several.
    """
    array = given if type(given) is np.ndarray else _array(given, name)
    if array.dtype.kind == "O" and array.ndim:
        array = _of_list(array.tolist(), name)
    if array.dtype.kind not in "fiu":
        raise BadVector(f"{name}: must be numbers, not {array.dtype}")
    if array.ndim not in (1, 2):
        raise BadVector(f"{name}: must have one or two dimensions, not {array.ndim}")
    vectors: F32
    if array.dtype == np.float32:
        vectors = np.ascontiguousarray(array, np.float32)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            vectors = np.ascontiguousarray(array, np.float32)
    _check_finite(vectors, name)
    return vectors


def check_dim(vectors: F32, dim: int) -> None:
    """Raise DimMismatch unless every vector has ``dim`` elements."""
    if vectors.shape[-1] != dim:
        row = 0 if vectors.ndim == 2 else None
        raise DimMismatch(f"vectors: have {vectors.shape[-1]} dimensions, not {dim}", row=row)


def _array(given: Any, name: str) -> NDArray[Any]:
    """An array of what is no plain one; its type of numbers is the caller's to look at."""
    if is_masked(given):
        hidden = np.ma.getmaskarray(given)
        row = int(hidden.any(axis=1).argmax()) if hidden.ndim == 2 else None
        raise BadVector(f"{name}: a value is masked", row=row)
    if isinstance(given, np.ndarray):
        return np.asarray(given)
    if isinstance(given, str | bytes | bytearray):
        raise BadVector(f"{name}: must be numbers, not {kind(given)}")
    if isinstance(given, list | tuple | range):
        return _of_list(list(given), name)
    try:
        found = _exchanged(given)
    except Exception as error:  # of another library: on another device, with a gradient, …
        why = (str(error).splitlines() or [kind(error)])[0]
        raise BadVector(f"{name}: cannot be read, {kind(given)} says: {why}") from None
    if found is not None:
        return found
    if isinstance(given, Sequence) and not isinstance(given, memoryview):
        return _of_list(list(given), name)
    raise BadVector(f"{name}: must be a list of numbers or of vectors, not {kind(given)}")


def of_another_library(given: Any) -> NDArray[Any] | None:
    """An array of a tensor, a data frame, a column, a buffer of numbers; None for anything else."""
    try:
        return _exchanged(given)
    except Exception:  # what another library raises is not ours to know
        return None


def _exchanged(given: Any) -> NDArray[Any] | None:
    """As ``of_another_library``, raising whatever that library does."""
    if isinstance(given, memoryview):
        return None if given.format in ("B", "b", "c") else np.asarray(given)
    if isinstance(given, array_module.array) or hasattr(given, "__array__"):
        return np.asarray(given)
    return np.from_dlpack(given) if hasattr(given, "__dlpack__") else None


def _of_list(listed: list[Any], name: str) -> NDArray[Any]:
    """An array of a list: of numbers, or of rows of them. The common kinds at the speed of C."""
    if not listed:
        return np.empty(0, np.float32)
    kinds = set(map(type, listed))
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= _PLAIN_KINDS):
        array = _together(listed)
        if array is not None:
            return array
    return _row_by_row(listed, name)


def _together(listed: list[Any]) -> NDArray[Any] | None:
    """What numpy makes of a list; None where it might have read as numbers what is none.

    Of all that is none, it takes booleans alone for numbers, which are 0 and 1 then.
    """
    if isinstance(listed[0], np.ndarray):
        is_one_kind = {one.dtype.kind for one in listed} <= set("fiu")
        if not is_one_kind or listed[0].ndim != 1 or len({one.shape for one in listed}) > 1:
            return None
        return np.concatenate(listed).reshape(len(listed), -1 if listed[0].size else 0)
    try:
        array = np.asarray(listed)
    except Exception:  # ragged, too large, or what an element raised
        return None
    if array.dtype.kind not in "fiu":
        return None
    if not ((array == 0) | (array == 1)).any():
        return array
    flat = chain.from_iterable(listed) if array.ndim == 2 else listed
    return None if {bool, np.bool_} & set(map(type, flat)) else array


def _row_by_row(listed: list[Any], name: str) -> NDArray[Any]:
    if real(listed[0]) is not None:
        numbers = [real(one) for one in listed]
        if None in numbers:
            strange = listed[numbers.index(None)]
            raise BadVector(f"{name}: must be numbers, not {kind(strange)}")
        return _numbers(numbers, name)
    rows: list[F32] = []
    for row, one in enumerate(listed):
        try:
            made = as_vectors(one, name)
        except OmenError as error:
            if isinstance(error, BadVector):
                error = BadVector(f"{name}: must be lists of numbers")
            error.row = row
            raise error from None
        rows.append(made)
        first = rows[0].shape
        if made.shape != first:
            raise DimMismatch(f"{name}: of shape {made.shape}, the first is {first}", row=row)
    if rows[0].ndim != 1:
        raise BadVector(f"{name}: must have one or two dimensions, not {rows[0].ndim + 1}")
    return np.stack(rows)


def _numbers(listed: list[Any], name: str) -> F32:
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.array(listed, np.float32)
    except OverflowError:  # an integer beyond every float
        raise NonFinite(f"{name}: a value is not finite as float32") from None


def _check_finite(vectors: F32, name: str) -> None:
    """Raise NonFinite. The largest and least value say it all: both are NaN if any value is.

    Of few values the sum of their squares says it sooner, where it is finite.
    """
    flat = vectors.reshape(-1)
    if len(flat) <= SUMMED_VALUES and math.isfinite(np.vdot(flat, flat)):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(flat), CHECKED_VALUES):
            block = flat[start : start + CHECKED_VALUES]
            if not (np.isfinite(block.max()) and np.isfinite(block.min())):
                place = start + int(np.argmin(np.isfinite(block)))
                row = place // vectors.shape[1] if vectors.ndim == 2 else None
                raise NonFinite(f"{name}: a value is not finite as float32", row=row)
