"""The rows of one add: what callers pass, checked against the collection and made into arrays.

Knows a description, no socket, no bytes. Everything that can be seen here is refused before a row
is sent, with the class and ``row`` that the server would answer; the rest the server refuses frame
by frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from omendb_core.change import RowBatch
from omendb_core.errors import (
    BadId,
    BadMetadata,
    BadRequest,
    BadVector,
    DimMismatch,
    DuplicateId,
    NonFinite,
)
from omendb_core.metadata import check_columns, from_metadata, is_text
from omendb_core.types import (
    F32,
    NULL_BOOLEAN,
    NULL_CODE,
    NULL_INTEGER,
    Column,
    ColumnType,
    IdKind,
    Ids,
    StrColumn,
)

from ..wire.batches import check_str_ids
from .answers import Description

Vectors: TypeAlias = ArrayLike
IdsGiven: TypeAlias = Sequence[int] | Sequence[str] | NDArray[Any]
ColumnGiven: TypeAlias = Sequence[Any] | NDArray[Any] | StrColumn
Metadata: TypeAlias = Sequence[Mapping[str, Any] | None]

#: Vectors of so many values are summed first (0.7 µs for 64; the extremes take 2.9).
SUMMED_VALUES = 4096
#: Rows looked at together for a value that is not finite: 1 MiB of float32 stays in the cache.
CHECKED_VALUES = 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class CheckedRows:
    """Checked rows: ``vectors`` float32 (n, dim), often the caller's own array."""

    vectors: F32
    ids: Ids | None
    columns: Mapping[str, Column]
    metadata: Metadata | None

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, start: int, stop: int) -> RowBatch:
        """Return rows ``start`` to ``stop`` as views; dictionaries hold only what they use."""
        metadata = None if self.metadata is None else self.metadata[start:stop]
        return RowBatch(
            vectors=self.vectors[start:stop],
            ids=None if self.ids is None else self.ids[start:stop],
            columns={name: _part(column, start, stop) for name, column in self.columns.items()},
            metadata=metadata if metadata and any(metadata) else None,
        )

    def row_bytes(self) -> int:
        """Return the bytes that a row takes in a frame, its metadata and texts left out."""
        widths = [
            column.codes.itemsize if isinstance(column, StrColumn) else column.itemsize
            for column in self.columns.values()
        ]
        return int(self.vectors.itemsize * self.vectors.shape[1] + 8 + sum(widths))


def checked_rows(
    description: Description,
    vectors: Vectors,
    ids: IdsGiven | None,
    metadata: Metadata | None,
    columns: Mapping[str, ColumnGiven] | None,
) -> CheckedRows:
    """Return the rows of one add, all of them checked as far as this side can.

    Raises BadVector, DimMismatch, NonFinite, BadId, DuplicateId, BadMetadata, BadRequest.
    """
    matrix = as_vectors(vectors)
    count = len(matrix)
    if count == 0:
        raise BadRequest("vectors: at least one row")
    if matrix.ndim != 2:
        raise BadVector("vectors: must be a list of vectors, or an array (n, dim)")
    check_dim(matrix, description.dim)
    _check_metadata(metadata, count)
    typed, metadata = _columns(columns or {}, description.columns, count, metadata)
    return CheckedRows(matrix, checked_ids(ids, description.ids, count), typed, metadata)


# -- vectors ----------------------------------------------------------------------------------


def as_vectors(given: Vectors) -> F32:
    """Return ``given`` as float32, C-contiguous, (dim,) or (n, dim); a copy only where it must be.

    Raises BadVector for what is not numbers in that shape, DimMismatch for vectors of different
    lengths, NonFinite (as float32); with ``row`` where there are several.
    """
    array = given if isinstance(given, np.ndarray) else _array(given)
    if array.dtype.kind not in "fiu":
        raise BadVector(f"vectors: must be numbers, not {array.dtype}")
    if array.ndim not in (1, 2):
        raise BadVector(f"vectors: must have one or two dimensions, not {array.ndim}")
    with np.errstate(over="ignore"):
        vectors: F32 = np.ascontiguousarray(array, np.float32)
    _check_finite(vectors)
    return vectors


def check_dim(vectors: F32, dim: int) -> None:
    """Raise DimMismatch unless every vector has ``dim`` elements."""
    if vectors.shape[-1] != dim:
        row = 0 if vectors.ndim == 2 else None
        raise DimMismatch(f"vectors: have {vectors.shape[-1]} dimensions, not {dim}", row=row)


def _array(given: Any) -> NDArray[Any]:
    """Return an array of ``given``; what numpy cannot make one of is looked at row by row."""
    try:
        return np.asarray(given)
    except (ValueError, TypeError, OverflowError):
        pass
    first: tuple[int, ...] | None = None
    for row, one in enumerate(given):
        try:
            shape = np.asarray(one).shape
        except (ValueError, TypeError, OverflowError):
            raise BadVector("vectors: must be lists of numbers", row=row) from None
        first = first or shape
        if shape != first:
            raise DimMismatch(f"vectors: of shape {shape}, the first is {first}", row=row)
    raise BadVector("vectors: must be lists of numbers")


def _check_finite(vectors: F32) -> None:
    """Raise NonFinite. The largest and least value say it all: both are NaN if any value is.

    Of few values the sum says it sooner, where it is finite.
    """
    flat = vectors.reshape(-1)
    if len(flat) <= SUMMED_VALUES:
        with np.errstate(over="ignore"):
            if math.isfinite(np.add.reduce(flat)):
                return
    for start in range(0, len(flat), CHECKED_VALUES):
        block = flat[start : start + CHECKED_VALUES]
        if not (np.isfinite(block.max()) and np.isfinite(block.min())):
            place = start + int(np.argmin(np.isfinite(block)))
            row = place // vectors.shape[1] if vectors.ndim == 2 else None
            raise NonFinite("vectors: a value is not finite as float32", row=row)


# -- ids --------------------------------------------------------------------------------------


def checked_ids(ids: IdsGiven | None, kind: IdKind, count: int) -> Ids | None:
    """Return ids for ``count`` rows: uint64 (n,), n strings, or None for ``auto``.

    Raises BadId, and DuplicateId with the row of the first that came before.
    """
    if kind == "auto":
        if ids is not None:
            raise BadId("ids: this collection gives its own (ids: auto)")
        return None
    if ids is None:
        raise BadId(f"ids: this collection needs them (ids: {kind})")
    if len(ids) != count:
        raise BadId(f"ids: {len(ids)} for {count} rows")
    made = u64_ids(ids) if kind == "u64" else str_ids(ids)
    if not are_distinct(made):
        raise DuplicateId("ids: this id came before", row=_first_repeated(list(made)))
    return made


def are_distinct(ids: Ids) -> bool:
    """Whether no id comes twice. (numpy's ``unique`` hashes: 90 ns an id and more, sorting 3.)"""
    if isinstance(ids, list):
        return len(set(ids)) == len(ids)
    if (ids[1:] > ids[:-1]).all():
        return True
    in_order = np.sort(ids)
    return bool((in_order[1:] != in_order[:-1]).all())


def u64_ids(ids: IdsGiven) -> NDArray[np.uint64]:
    """Return ids as uint64 (n,). Raises BadId with ``row``."""
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and ids.ndim == 1:
        if ids.dtype.kind == "i" and len(ids) and ids.min() < 0:
            raise BadId("ids: must not be negative", row=int(np.argmax(ids < 0)))
        return ids.astype(np.uint64, copy=False)
    for row, one in enumerate(ids):
        whole = isinstance(one, int | np.integer) and not isinstance(one, bool)
        if not whole or not 0 <= int(one) < 2**64:
            raise BadId("ids: must be integers from 0 to 2**64 - 1", row=row)
    return np.array([int(one) for one in ids], np.uint64)


def str_ids(ids: IdsGiven) -> list[str]:
    """Return ids as strings that the protocol allows. Raises BadId with ``row``."""
    made = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
    for row, one in enumerate(made):
        if isinstance(one, str) and not is_text(one):
            raise BadId("ids: must be Unicode text", row=row)
    return check_str_ids(made)


def _first_repeated(ids: list[Any]) -> int:
    seen: set[Any] = set()
    for row, one in enumerate(ids):
        if one in seen:
            return row
        seen.add(one)
    raise AssertionError("no id is repeated")


# -- columns ----------------------------------------------------------------------------------


def _columns(
    given: Mapping[str, ColumnGiven],
    declared: Mapping[str, ColumnType],
    count: int,
    metadata: Metadata | None,
) -> tuple[dict[str, Column], Metadata | None]:
    """Return typed columns, and the metadata with those that a binary column cannot hold.

    (An ``i64`` or ``bool`` with nulls goes in metadata: PROTOCOL section 7.)
    """
    made: dict[str, Column] = {}
    for name, values in given.items():
        if name not in declared:
            raise BadMetadata(f"columns.{name}: not a declared column")
        if not isinstance(values, StrColumn) and len(values) != count:
            raise BadMetadata(f"columns.{name}: {len(values)} values for {count} rows")
        column = _column(name, values, declared[name])
        if _has_unsendable_null(column):
            metadata = _folded(name, values, metadata, count)
        else:
            made[name] = column
    check_columns(made, declared, count)
    return made, metadata


def _check_metadata(metadata: Metadata | None, count: int) -> None:
    if metadata is None:
        return
    if len(metadata) != count:
        raise BadMetadata(f"metadata: {len(metadata)} objects for {count} rows")
    for row, entry in enumerate(metadata):
        if entry is not None and not isinstance(entry, Mapping):
            raise BadMetadata("metadata: must be an object or null", row=row)


_TAKEN: Mapping[ColumnType, tuple[str, type[np.generic]]] = {
    "f64": ("fiu", np.float64),
    "i64": ("iu", np.int64),
    "bool": ("b", np.uint8),
}


def _column(name: str, values: ColumnGiven, kind: ColumnType) -> Column:
    if isinstance(values, StrColumn):
        return values
    if isinstance(values, np.ndarray) and kind in _TAKEN and values.dtype.kind != "O":
        kinds, dtype = _TAKEN[kind]
        if values.dtype.kind in kinds and values.dtype != np.uint64:
            return np.ascontiguousarray(values, dtype)
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    found = from_metadata([{name: value} for value in listed], {name: kind})
    return found.get(name, _all_null(kind, len(listed)))


def _all_null(kind: ColumnType, count: int) -> Column:
    if kind == "str":
        return StrColumn(np.full(count, NULL_CODE, np.uint32), ())
    nulls: dict[ColumnType, Column] = {
        "f64": np.full(count, np.nan),
        "i64": np.full(count, NULL_INTEGER, np.int64),
        "bool": np.full(count, NULL_BOOLEAN, np.uint8),
    }
    return nulls[kind]


def _has_unsendable_null(column: Column) -> bool:
    if isinstance(column, StrColumn) or column.dtype == np.float64:
        return False
    null = NULL_INTEGER if column.dtype == np.int64 else NULL_BOOLEAN
    return bool((column == null).any())


def _folded(
    name: str, values: ColumnGiven, metadata: Metadata | None, count: int
) -> list[Mapping[str, Any] | None]:
    """Return ``metadata`` with the non-null ``values`` under ``name``; the objects are copies."""
    assert not isinstance(values, StrColumn)
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    rows: list[Mapping[str, Any] | None] = []
    for row, value in enumerate(listed):
        there = metadata[row] if metadata is not None else None
        if there is not None and name in there:
            raise BadMetadata(f"metadata.{name}: stands both in metadata and in columns", row=row)
        rows.append(there if value is None else {**(there or {}), name: value})
    assert len(rows) == count
    return rows


def _part(column: Column, start: int, stop: int) -> Column:
    if not isinstance(column, StrColumn):
        return column[start:stop]
    codes = column.codes[start:stop]
    used, places = np.unique(codes, return_inverse=True)
    if len(used) and used[-1] == NULL_CODE:
        used = used[:-1]
        places = np.where(codes == NULL_CODE, NULL_CODE, places)
    dictionary = tuple(column.dictionary[code] for code in used.tolist())
    return StrColumn(places.astype(np.uint32), dictionary)
