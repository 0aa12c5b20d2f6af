"""Which rows a window takes: the conditions of PROTOCOL sections 3 and 4, said row by row.

The server refuses the first row at fault of a batch; whoever skips bad rows wants them all at once.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.errors import BadMetadata
from omendb_core.metadata import from_metadata
from omendb_core.score import MAX_NORM, MIN_COSINE_NORM, norms
from omendb_core.types import F32, ColumnType, Metric

#: Squared norms between these, summed in float32 however badly, are within the limits.
_SURELY_ABOVE: Final = 1e-30
_SURELY_BELOW: Final = 1e30


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a collection takes."""

    metric: Metric
    columns: Mapping[str, ColumnType]
    max_metadata_bytes: int


def as_rows(vectors: NDArray[Any]) -> F32:
    """Return ``vectors`` (n, dim) as float32, C-contiguous; beyond its range they are infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(vectors, np.float32)


def unusable(vectors: F32, metric: Metric) -> dict[int, str]:
    """Return why, for each index of ``vectors`` (n, dim) that a window of ``metric`` refuses."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    fine = squares < _SURELY_BELOW  # NaN is not
    if metric == "cosine":
        fine &= squares > _SURELY_ABOVE
    found: dict[int, str] = {}
    for at in np.flatnonzero(~fine).tolist():
        why = _why(vectors[at : at + 1], metric)
        if why is not None:
            found[at] = why
    return found


def _why(vector: F32, metric: Metric) -> str | None:
    if not np.isfinite(vector).all():
        return "a value is NaN or infinite as float32"
    length = float(norms(vector)[0])
    if length > MAX_NORM:
        return f"its norm {length:.3g} is above 2**62"
    if metric == "cosine" and length < MIN_COSINE_NORM:
        return f"its norm {length:.3g} is below 2**-62, which has no direction (metric: cosine)"
    return None


def unusable_metadata(metadata: Sequence[dict[str, Any]] | None, wanted: Wanted) -> dict[int, str]:
    """Return why, for each index of ``metadata`` that the collection refuses."""
    found: dict[int, str] = {}
    for at, one in enumerate(metadata or ()):
        try:
            size_bytes = len(orjson.dumps(one))
        except TypeError as error:
            found[at] = f"metadata: no JSON: {error}"
            continue
        if size_bytes > wanted.max_metadata_bytes:
            found[at] = f"metadata: {size_bytes:,} bytes; at most {wanted.max_metadata_bytes:,}"
    if wanted.columns and metadata is not None:
        found |= _mistyped(metadata, wanted.columns)
    return found


def _mistyped(
    metadata: Sequence[dict[str, Any]], columns: Mapping[str, ColumnType]
) -> dict[int, str]:
    """Why, for each index whose declared keys have other types than declared."""
    try:
        from_metadata(metadata, columns)
    except BadMetadata:
        pass
    else:
        return {}
    found = {}
    for at, one in enumerate(metadata):
        try:
            from_metadata([one], columns)
        except BadMetadata as error:
            found[at] = error.message
    return found
