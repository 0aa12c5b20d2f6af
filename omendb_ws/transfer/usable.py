"""Which rows a window takes: the conditions of PROTOCOL sections 3 and 4, said row by row.

The server refuses the first row at fault of a batch; whoever skips bad rows wants them all at once.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.model.errors import BadMetadata
from omendb_core.model.types import F32, MAX_METADATA_LEVELS, ColumnType, Ids, Metric
from omendb_core.rows.metadata import from_metadata, is_text
from omendb_core.scoring.score import MAX_NORM, MIN_COSINE_NORM, norms

from ..wire.opcodes import MAX_STR_ID_BYTES

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


def unusable_ids(ids: Ids | None) -> dict[int, str]:
    """Return why, for each index of ``ids`` that no window takes."""
    if not isinstance(ids, list):
        return {}
    return {
        at: f"id: must be text of 1 to {MAX_STR_ID_BYTES} bytes, without NUL"
        for at, one in enumerate(ids)
        if not _is_id(one)
    }


def _is_id(text: str) -> bool:
    return is_text(text) and 0 < len(text.encode()) <= MAX_STR_ID_BYTES and "\0" not in text


def unusable_metadata(metadata: Sequence[dict[str, Any]] | None, wanted: Wanted) -> dict[int, str]:
    """Return why, for each index of ``metadata`` that the collection refuses."""
    found: dict[int, str] = {}
    for at, one in enumerate(metadata or ()):
        try:
            text = orjson.dumps(one)
        except TypeError as error:
            found[at] = f"metadata: no JSON: {error}"
            continue
        if len(text) > wanted.max_metadata_bytes:
            found[at] = f"metadata: {len(text):,} bytes; at most {wanted.max_metadata_bytes:,}"
        elif text.count(b"[") + text.count(b"{") > MAX_METADATA_LEVELS or b"null" in text:
            # Few brackets are not deep, and what is not finite is null there.
            why = _too_deep_or_infinite(one)
            if why is not None:
                found[at] = why
    if wanted.columns and metadata is not None:
        found |= _mistyped(metadata, wanted.columns)
    return found


def _too_deep_or_infinite(metadata: dict[str, Any]) -> str | None:
    left: list[tuple[str, Any, int]] = [("", metadata, 1)]
    while left:
        name, value, level = left.pop()
        if isinstance(value, float) and not isfinite(value):
            return f"metadata.{name}: {value} is no number of JSON"
        if not isinstance(value, dict | list):
            continue
        if level > MAX_METADATA_LEVELS:
            return f"metadata.{name}: nested deeper than {MAX_METADATA_LEVELS} levels"
        parts = value.items() if isinstance(value, dict) else ((name, one) for one in value)
        left += [(name or str(key), one, level + 1) for key, one in parts]
    return None


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
