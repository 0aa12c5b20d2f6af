"""What a request's rows must be like, by the definition alone: pure functions, typed errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..model.change import RowBatch
from ..model.errors import BadId, DimMismatch, DuplicateId, TooLarge
from ..model.packed import NO_PAYLOAD, PackedPayloads, packed
from ..model.types import Column, ColumnType, Definition, Ids, WindowLimits
from ..rows import ids as row_ids
from ..rows.columns import TEXT_OVERHEAD_BYTES
from ..rows.metadata import check_columns, from_metadata, merge


def check_shape(rows: RowBatch, definition: Definition, limits: WindowLimits) -> None:
    """DimMismatch for vectors of another dimension; TooLarge for more rows than are taken."""
    count, dim = rows.vectors.shape
    if dim != definition.dim:
        raise DimMismatch(f"vector: {dim} dimensions, the collection has {definition.dim}", row=0)
    most = min(limits.max_rows, definition.capacity)
    if count > most:
        raise TooLarge(f"{count} rows in one add; at most {most} here")


def typed_columns(rows: RowBatch, declared: Mapping[str, ColumnType]) -> Mapping[str, Column]:
    """The columns of a batch: its own, and what its metadata says. Raises BadMetadata."""
    check_columns(rows.columns, declared, len(rows.vectors))
    if rows.metadata is None:
        return rows.columns
    typed = from_metadata(rows.metadata, declared) if rows.typed is None else rows.typed
    return merge(typed, rows.columns)


def check_ids(ids: Ids | None, definition: Definition, count: int) -> None:
    """Refuse ids of another kind than the definition's, and the same id twice.

    Raises BadId, or DuplicateId with the row of the second one.
    """
    if definition.ids == "auto":
        if ids is not None:
            raise BadId("ids: this collection numbers its rows itself (ids: auto)", row=0)
        return
    if ids is None:
        raise BadId(f"ids: required, of kind {definition.ids}", row=0)
    if isinstance(ids, list) != (definition.ids == "str"):
        raise BadId(f"ids: of another kind than the collection's ({definition.ids})", row=0)
    if len(ids) != count:
        raise BadId(f"ids: {len(ids)} of them for {count} rows")
    twice = row_ids.first_duplicate(ids)
    if twice is not None:
        raise DuplicateId(f"ids: {ids[twice]!s} stands twice in this request", row=twice)


def checked_payloads(payloads: Sequence[bytes | None], max_metadata_bytes: int) -> PackedPayloads:
    """``payloads`` as one; TooLarge, with its row, for one over ``max_metadata_bytes``."""
    together = packed(payloads)
    if len(together.data) <= max_metadata_bytes:
        return together
    too_long = (together.lengths > max_metadata_bytes) & (together.lengths != NO_PAYLOAD)
    if too_long.any():
        row = int(too_long.argmax())
        raise TooLarge(
            f"metadata: {together.lengths[row]} bytes as compact JSON; at most"
            f" {max_metadata_bytes}",
            row=row,
        )
    return together


def str_id_bytes(ids: Ids | None) -> int:
    """UTF-8 bytes of string ids; 0 for other kinds."""
    return sum(len(text.encode()) for text in ids) if isinstance(ids, list) else 0


def dictionary_bytes(columns: Mapping[str, Column]) -> int:
    """Bytes that the distinct texts of a batch add to the dictionaries, at most."""
    if not columns:
        return 0
    return sum(
        len(text.encode()) + TEXT_OVERHEAD_BYTES
        for column in columns.values()
        if not isinstance(column, np.ndarray)
        for text in column.dictionary
    )
