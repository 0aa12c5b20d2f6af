"""Reading Parquet and Arrow IPC (file or stream), by pyarrow: the optional extra ``arrow``.

A field ``id`` (integers or text), a field ``vector`` (a list of numbers in each row), and the
others, which become metadata; one called ``metadata`` holds objects, or text that is JSON. Nulls
and NaN in them are absent keys. Files are read as others write them: ``arrow_layout`` says what a
field becomes, ``arrow_values`` what its values do, and batches come validated (``arrow_sources``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.types import ColumnType, IdKind, Ids

from .arrow_layout import Kept, Layout, lay_out
from .arrow_library import pyarrow, reading
from .arrow_sources import Source, TableSource, open_source
from .arrow_values import as_json, fits_column, is_binary, lengths, plain
from .chunks import BadRow, Chunk, FileError, Unit
from .fields import Fields, without_nulls
from .file_rows import noticing_cuts, size_of
from .json_text import BadText, parse_object, refuse_changed_integers


class Wrong(NamedTuple):
    """Of a table the rows that cannot be used: number of the row -> why, by what is wrong."""

    vectors: dict[int, str]
    #: Vectors that are longer or shorter than the first one.
    lengths: dict[int, str]
    ids: dict[int, str]
    metadata: dict[int, str]


class WholeRows(NamedTuple):
    """All rows of a table: as a ``Chunk``, but for ``wrong``. What stands in a row that is wrong
    means nothing."""

    vectors: NDArray[Any]
    ids: Ids | None
    metadata: list[dict[str, Any]] | None
    wrong: Wrong


class ArrowReader:
    """A Reader of record batches."""

    unit: Unit = "row"
    unused_id: int | None = None

    def __init__(self, file: BinaryIO | None, name: str, source: Source, fields: Fields) -> None:
        self.name, self.rows = name, source.rows
        self._file = file
        self._size_bytes = None if file is None else size_of(file)
        self._fields, self._source = fields, source
        self._layout: Layout = lay_out(name, source.schema, fields)
        self.ids: IdKind = self._layout.ids
        self.holds_ids = self._layout.id is not None
        self.dim = self._layout.dim if self._layout.dim is not None else self._first_dim()

    def _first_dim(self) -> int | None:
        """The dimension of the first vector, where the type does not tell it."""
        with reading(self.name):
            for array in self._source.values(self._layout.vector):
                found = lengths(plain(array))
                if found.any():
                    return int(found[found > 0][0])
        return None

    @cached_property
    def columns(self) -> Mapping[str, ColumnType]:
        """See Reader. Looks at the values where the types do not settle it."""
        return {
            one.key: one.column for one in self._layout.kept
            if one.column is not None and (not one.is_doubtful or self._fits(one))
        }  # fmt: skip

    def _fits(self, one: Kept) -> bool:
        with reading(f"{self.name}: {one.key}"):
            ends = self._source.extremes(one.at)
            if ends is not None and all(isinstance(end, int | None) for end in ends):
                return all(end is None or abs(end) < 2**53 for end in ends)
            return all(fits_column(array) for array in self._source.values(one.at))

    @cached_property
    def _exact(self) -> frozenset[int]:
        """Fields of many digits whose values all are floats: those that a pipe brought, too."""
        return frozenset(
            one.at for one in self._layout.kept
            if one.column == "f64" and one.is_doubtful and self._fits(one)
        )  # fmt: skip

    def chunks(self, dim: int, ids: IdKind, rows: int) -> Iterator[Chunk]:
        """See Reader."""
        told = self._layout.dim
        if told is not None and told != dim:
            raise FileError(f"{self.name}: has {told} dimensions, the collection {dim}")
        if ids not in ("auto", self.ids):
            has = "no ids" if self.ids == "auto" else f"ids of kind {self.ids}"
            raise FileError(f"{self.name}: has {has}, the collection's ids are {ids}")
        exact = self._exact
        batches = self._source.batches(rows)
        start = 0
        while True:
            with (
                noticing_cuts(self._file, self._size_bytes),
                reading(f"{self.name}: row {start}"),
            ):
                batch = next(batches, None)
                if batch is None:
                    # A stream that ends between two batches looks like a whole one.
                    if self.rows is not None and start < self.rows:
                        raise FileError(f"{self.name}: truncated in row {start}")
                    return
                chunk = self._chunk(batch, start, dim, ids, exact) if batch.num_rows else None
            if chunk is not None:
                yield chunk
                start += batch.num_rows

    def close(self) -> None:
        """See Reader."""
        self._source.close()

    def whole(self) -> WholeRows:
        """All rows of a table at once, those that cannot be used among them. Raises FileError."""
        rows, dim = self.rows or 0, self.dim
        wrong = Wrong({}, {}, {}, {})
        if not rows or dim is None:
            return WholeRows(np.empty((rows, 0)), None, None, wrong)
        batch = next(self._source.batches(rows))
        if batch.num_rows < rows:
            raise FileError(f"{self.name}: more text than a batch of Arrow holds; add it in parts")
        with reading(self.name):
            field = plain(batch.column(self._layout.vector))
            vectors = _vectors(field, dim, wrong.vectors, wrong.lengths)
            ids = self._ids(batch, 0, self.ids, wrong.ids)
            metadata = self._metadata(batch, wrong.metadata, self._exact)
        return WholeRows(vectors, ids, metadata, wrong)

    def _chunk(
        self, batch: Any, start: int, dim: int, kind: IdKind, exact: frozenset[int]
    ) -> Chunk:
        wrong: dict[int, str] = {}
        vectors = _vectors(plain(batch.column(self._layout.vector)), dim, wrong, wrong)
        ids = self._ids(batch, start, kind, wrong)
        metadata = self._metadata(batch, wrong, exact)
        count = batch.num_rows
        good = np.array([at for at in range(count) if at not in wrong], np.int64)
        if wrong:
            ids = [ids[at] for at in good] if isinstance(ids, list) else ids
            ids = ids[good] if isinstance(ids, np.ndarray) else ids
            metadata = None if metadata is None else [metadata[at] for at in good]
            vectors = vectors[good]
        return Chunk(
            vectors=vectors,
            numbers=good + start,
            ids=ids,
            metadata=metadata if metadata and any(metadata) else None,
            bad=[BadRow(start + at, wrong[at]) for at in sorted(wrong)],
            read=min(1.0, (start + count) / self.rows) if self.rows else None,
        )

    def _ids(self, batch: Any, start: int, kind: IdKind, wrong: dict[int, str]) -> Ids | None:
        if kind == "auto":
            return None
        if self._layout.id is None:
            return np.arange(start, start + batch.num_rows, dtype=np.uint64)
        name = self._fields.id
        values = _values(batch.column(self._layout.id), name, wrong)
        for at, value in enumerate(values):
            if value is None:
                wrong.setdefault(at, f"{name}: null")
            elif kind == "u64" and value < 0:
                wrong.setdefault(at, f"{name}: must be a whole number from 0 to 2**64 - 1")
        if kind == "str":
            return values
        return np.array([0 if at in wrong else one for at, one in enumerate(values)], np.uint64)

    def _metadata(
        self, batch: Any, wrong: dict[int, str], exact: frozenset[int]
    ) -> list[dict[str, Any]] | None:
        layout = self._layout
        if not layout.kept and layout.metadata is None:
            return None
        rows: list[dict[str, Any]] = [{} for _ in range(batch.num_rows)]
        for one in layout.kept:
            array = batch.column(one.at)
            if one.column == "str":
                values = _values(array, one.key, wrong)
            else:
                values = as_json(array, self._fields.times, exact=one.at in exact)
            for row, value in zip(rows, values, strict=True):
                if value is not None:
                    row[one.key] = value
        if layout.metadata is not None:
            values = _values(batch.column(layout.metadata), "metadata", wrong, self._fields)
            for at, value in enumerate(values):
                _merge(rows[at], value, self._fields, at, wrong)
        return rows


def _values(
    array: Any, name: str, wrong: dict[int, str], fields: Fields | None = None
) -> list[Any]:
    """The values of text, or of what else may stand there; text that is none is said per row."""
    array = plain(array)
    if not is_binary(array.type):
        return as_json(array, "text" if fields is None else fields.times)
    found: list[Any] = []
    for at, value in enumerate(array.to_pylist()):
        try:
            found.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            wrong.setdefault(at, f"{name}: not UTF-8 text")
            found.append("")
    return found


def _merge(row: dict[str, Any], value: Any, fields: Fields, at: int, wrong: dict[int, str]) -> None:
    """Put what the field ``metadata`` holds beside the other fields of a row."""
    if value is None or at in wrong:
        return
    if isinstance(value, str):
        try:
            text, value = value, parse_object(value)
            refuse_changed_integers(value, text, nested=False)
        except BadText as error:
            wrong.setdefault(at, f"metadata: {error}")
            return
    else:
        value = without_nulls(value)
    for key, one in fields.chosen(value).items():
        if key in row:
            wrong.setdefault(at, f"metadata.{key}: stands there twice")
        row[key] = one


def _vectors(array: Any, dim: int, nulls: dict[int, str], others: dict[int, str]) -> NDArray[Any]:
    """Vectors (n, dim): a view where none is null and all have ``dim`` elements.

    ``nulls`` and ``others`` hear of rows that are null, or of another length.
    """
    count = len(array)
    if array.null_count == 0:
        flat = plain(array.flatten())
        if flat.null_count == 0 and bool((lengths(array) == dim).all()):
            made: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(count, dim)
            return made
    out = np.zeros((count, dim), np.float64)
    for at, vector in enumerate(array.to_pylist()):
        if vector is None or any(value is None for value in vector):
            nulls[at] = "its vector is null" if vector is None else "a value of its vector is null"
        elif len(vector) != dim:
            others[at] = f"its vector has {len(vector)} dimensions, not {dim}"
        else:
            out[at] = vector
    return out


def open_parquet(file: BinaryIO, name: str, fields: Fields) -> ArrowReader:
    """Open Parquet; a pipe is kept on the disk first. Raises FileError."""
    pyarrow()
    return ArrowReader(file, name, open_source(file, name, is_parquet=True), fields)


def open_ipc(file: BinaryIO, name: str, fields: Fields) -> ArrowReader:
    """Open Arrow IPC, the file or the stream format. Raises FileError."""
    pyarrow()
    return ArrowReader(file, name, open_source(file, name, is_parquet=False), fields)


def open_table(table: Any, name: str, fields: Fields) -> ArrowReader:
    """Read a ``pyarrow.Table`` by the rules of files. Raises FileError."""
    with reading(name):
        return ArrowReader(None, name, TableSource(table), fields)
