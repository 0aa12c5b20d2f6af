"""Typed columns of much metadata, some rows at a time: a generator that yields between.

What ``metadata.from_metadata`` does at once. Of several faults the first row's among the pieces is
told, where that tells the first column's. Pure.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from ..model.errors import BadMetadata
from ..model.types import NULL_CODE, U32, Column, ColumnType, StrColumn
from .metadata import from_metadata, null_column


def columns_in_pieces(
    metadata: Sequence[Mapping[str, Any] | None],
    columns: Mapping[str, ColumnType],
    rows_at_once: int,
) -> Generator[None, None, dict[str, Column]]:
    """As ``from_metadata``. BadMetadata with ``row``."""
    pieces: list[tuple[int, dict[str, Column]]] = []
    for start in range(0, len(metadata), rows_at_once):
        some = metadata[start : start + rows_at_once]
        try:
            pieces.append((len(some), from_metadata(some, columns)))
        except BadMetadata as error:
            if error.row is not None:
                error.row += start
            raise
        yield
    made: dict[str, Column] = {}
    for name, type_ in columns.items():
        if any(name in one for _, one in pieces):
            parts = [one.get(name, null_column(type_, count)) for count, one in pieces]
            made[name] = _joined(parts)
    return made


def _joined(parts: Sequence[Any]) -> Column:
    if not isinstance(parts[0], StrColumn):
        joined: Column = np.concatenate(parts)
        return joined
    codes: dict[str, int] = {}
    made = []
    for part in parts:
        own = [codes.setdefault(text, len(codes)) for text in part.dictionary]
        new: U32 = np.append(np.array(own, np.uint32), np.uint32(NULL_CODE))
        made.append(new[np.minimum(part.codes, len(own))])  # null is beyond them all
    return StrColumn(np.concatenate(made), tuple(codes))
