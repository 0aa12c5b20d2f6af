"""What a change says of some of its rows: the rows of an add, or of an update, for one shard. Pure.

What is not looked into stays as it came: each shard admits its rows as a whole window would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from omendb_core.model.change import RowBatch, UpdateRequest
from omendb_core.model.types import I64, NULL_CODE, Column, Ids, StrColumn

from .routing import picked_ids

_Value = TypeVar("_Value")


def rows_at(rows: RowBatch, places: I64) -> RowBatch:
    """The rows at ``places`` int64 (m,), ascending."""
    if len(places) == len(rows.vectors):
        return rows
    return RowBatch(
        vectors=rows.vectors[places],
        ids=None if rows.ids is None else picked_ids(rows.ids, places),
        columns=_columns_at(rows.columns, places),
        metadata=None if rows.metadata is None else _at(rows.metadata, places),
        payloads=None if rows.payloads is None else _at(rows.payloads, places),
        typed=None if rows.typed is None else _columns_at(rows.typed, places),
    )


def updates_at(updates: UpdateRequest, places: I64, ids: Ids) -> UpdateRequest:
    """The same of an update; ``ids``: what its shard knows those rows by."""
    return UpdateRequest(
        ids=ids,
        metadata=_at(updates.metadata, places),
        payloads=_at(updates.payloads, places),
        typed=None if updates.typed is None else _columns_at(updates.typed, places),
    )


def _at(values: Sequence[_Value], places: I64) -> list[_Value]:
    return [values[place] for place in places.tolist()]


def _columns_at(columns: Mapping[str, Column], places: I64) -> dict[str, Column]:
    return {name: _column_at(column, places) for name, column in columns.items()}


def _column_at(column: Column, places: I64) -> Column:
    """Of texts only those that are used: a shard keeps what it is given."""
    if isinstance(column, np.ndarray):
        return column[places]
    codes = column.codes[places]
    used = np.unique(codes[codes != NULL_CODE])
    own = np.full(len(codes), NULL_CODE, np.uint32)
    is_text = codes != NULL_CODE
    own[is_text] = np.searchsorted(used, codes[is_text])
    return StrColumn(own, tuple(column.dictionary[code] for code in used.tolist()))
