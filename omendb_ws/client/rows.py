"""The rows of one add: what callers pass, checked against the collection and made into arrays.

Knows a description, no socket, no frames. Everything that can be seen here is refused before a row
is sent, with the class and ``row`` that the server would answer; the rest the server refuses frame
by frame. What the caller keeps of metadata, columns and ids may change afterwards; of vectors (and
ids) that are arrays already, once the call has returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadMetadata, BadRequest, BadVector, OmenError
from omendb_core.model.types import F32, Column, Ids, StrColumn

from .arguments import kind
from .arrays import as_vectors, check_dim
from .columns import part_of, typed_columns
from .descriptions import Description
from .given import ColumnGiven, IdsGiven, Metadata, Vectors
from .given_frames import frame_rows, is_frame, refuse_twice
from .ids import distinct_ids, ids_of_kind
from .plain import Objects, metadata_objects


@dataclass(frozen=True, slots=True, eq=False)
class CheckedRows:
    """Checked rows: ``vectors`` float32 (n, dim), often the caller's own array; ``metadata`` n
    objects of plain JSON values, or None for nothing."""

    vectors: F32
    ids: Ids | None
    columns: Mapping[str, Column]
    metadata: Objects | None

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, start: int, stop: int) -> RowBatch:
        """Return rows ``start`` to ``stop`` as views; dictionaries hold only what they use."""
        metadata = None if self.metadata is None else self.metadata[start:stop]
        return RowBatch(
            vectors=self.vectors[start:stop],
            ids=None if self.ids is None else self.ids[start:stop],
            columns={name: part_of(column, start, stop) for name, column in self.columns.items()},
            metadata=metadata if metadata and any(metadata) else None,
        )

    def row_bytes(self) -> int:
        """Return the bytes that a row takes in a frame, its metadata and texts left out."""
        widths = [
            column.codes.itemsize if isinstance(column, StrColumn) else column.itemsize
            for column in self.columns.values()
        ]
        return int(self.vectors.itemsize * self.vectors.shape[1] + 8 + sum(widths))


@dataclass(frozen=True, slots=True, eq=False)
class GivenRows:
    """The rows of one add, looked at as far as that goes without knowing the collection.

    ``vectors`` float32 (n, dim), n > 0; ``metadata`` as ``CheckedRows`` has it.
    """

    vectors: F32
    ids: Ids | None
    metadata: Objects | None
    columns: Mapping[str, ColumnGiven]

    def __len__(self) -> int:
        return len(self.vectors)


def given_rows(
    vectors: Vectors,
    ids: IdsGiven | None,
    metadata: Metadata | None,
    columns: Mapping[str, ColumnGiven] | None,
) -> GivenRows:
    """Return what an add was given, refusing what no collection takes: before anything is sent.

    Raises BadVector, DimMismatch, NonFinite, BadId, DuplicateId, BadMetadata, BadRequest,
    Unsupported.
    """
    if is_frame(vectors):
        frame = frame_rows(vectors)
        refuse_twice(frame.ids is not None, ids, metadata, columns)
        vectors, metadata = frame.vectors, frame.metadata
        ids = ids if frame.ids is None else frame.ids
    matrix = as_vectors(vectors)
    count = len(matrix)
    if count == 0:
        raise BadRequest("vectors: at least one row")
    if matrix.ndim != 2 or matrix.size == 0:
        raise BadVector("vectors: must be a list of vectors, or an array (n, dim)")
    if columns is not None and not isinstance(columns, Mapping):
        raise BadRequest(f"columns: must be a mapping of names to values, not {kind(columns)}")
    objects = listed_metadata(metadata, count)
    plain = metadata_objects(objects) if objects is not None and any(objects) else None
    made = None if ids is None else distinct_ids(ids, count)
    return GivenRows(matrix, made, plain, {} if columns is None else columns)


def checked_rows(description: Description, given: GivenRows) -> CheckedRows:
    """Return the rows of one add, all of them checked as far as this side can.

    Raises DimMismatch, BadId, BadMetadata.
    """
    check_dim(given.vectors, description.dim)
    typed, objects = typed_columns(given.columns, description.columns, len(given), given.metadata)
    ids = ids_of_kind(given.ids, description.ids)
    return CheckedRows(given.vectors, ids, typed, objects)


def listed_metadata(
    metadata: Any, count: int, of: str = "rows", miscounted: type[OmenError] = BadMetadata
) -> Metadata | None:
    """``metadata`` as a list of ``count`` entries. Raises BadMetadata, ``miscounted``."""
    if metadata is None:
        return None
    if isinstance(metadata, np.ndarray) and metadata.ndim == 1:
        metadata = metadata.tolist()
    if not isinstance(metadata, Sequence) or isinstance(metadata, str | bytes | bytearray):
        raise BadMetadata(f"metadata: must be a list of mappings, not {kind(metadata)}")
    if len(metadata) != count:
        raise miscounted(f"metadata: {len(metadata)} objects for {count} {of}")
    for row, entry in enumerate(metadata):
        if entry is not None and not isinstance(entry, Mapping):
            raise BadMetadata("metadata: must be an object or null", row=row)
    listed: Metadata = metadata
    return listed
