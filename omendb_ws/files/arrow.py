"""Parquet and Arrow IPC (file or stream), by pyarrow: the optional extra ``arrow``.

A field ``id`` (integers or text), a field ``vector`` (a list of numbers in each row), and the
others, which become metadata; one called ``metadata`` holds objects, or text that is JSON. Nulls
and NaN in them are absent keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.types import ColumnType, IdKind, Ids

from .chunks import BadRow, Chunk, FileError, Shape, Unit, WrittenRows
from .fields import Fields, without_nulls

#: Rows that are written together: a row group of some MiB.
_GROUP_ROWS: Final = 16_384
_IPC_MAGIC: Final = b"ARROW1"


def pyarrow() -> Any:
    """The library. Raises FileError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise FileError(
            "Parquet and Arrow files need pyarrow: pip install 'omendb-ws[arrow]'"
        ) from None
    return pyarrow


class ArrowReader:
    """A Reader of record batches. ``batches`` gives them, at most so many rows each."""

    unit: Unit = "row"

    def __init__(
        self,
        name: str,
        schema: Any,
        rows: int | None,
        batches: Callable[[int], Iterator[Any]],
        fields: Fields,
        close: Callable[[], None],
    ) -> None:
        self.name, self.rows, self.close = name, rows, close
        self._fields, self._batches = fields, batches
        if fields.vector not in schema.names:
            raise FileError(f"{name}: has no field {fields.vector!r}; --vector-field names it")
        self.dim: int | None = _dim(name, schema.field(fields.vector))
        self.ids: IdKind = _id_kind(name, schema, fields)
        self.holds_ids = self.ids != "auto" and not fields.numbered
        self.columns: Mapping[str, ColumnType] = {}
        others = [fields.vector] if fields.numbered else [fields.vector, fields.id]
        self._kept = [
            one for one in schema
            if one.name not in others and (one.name == "metadata" or fields.is_kept(one.name))
        ]  # fmt: skip
        typed = {one.name: _column_type(one.type) for one in self._kept if one.name != "metadata"}
        self.columns = {key: kind for key, kind in typed.items() if kind is not None}
        for one in self._kept:
            _check_metadata_type(name, one)

    def chunks(self, dim: int, ids: IdKind, rows: int) -> Iterator[Chunk]:
        """See Reader."""
        if self.dim is not None and self.dim != dim:
            raise FileError(f"{self.name}: has {self.dim} dimensions, the collection {dim}")
        if ids not in ("auto", self.ids):
            has = "no ids" if self.ids == "auto" else f"ids of kind {self.ids}"
            raise FileError(f"{self.name}: has {has}, the collection's ids are {ids}")
        start = 0
        try:
            for batch in self._batches(rows):
                if batch.num_rows:
                    yield self._chunk(batch, start, dim, ids)
                    start += batch.num_rows
        except (pyarrow().ArrowException, OSError) as error:
            raise FileError(f"{self.name}: row {start}: {_first_line(error)}") from None

    def _chunk(self, batch: Any, start: int, dim: int, kind: IdKind) -> Chunk:
        wrong: dict[int, str] = {}
        vectors = _vectors(batch.column(self._fields.vector), dim, wrong)
        ids = self._ids(batch, start, kind, wrong)
        metadata = self._metadata(batch, wrong)
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
            read=(start + count) / self.rows if self.rows else None,
        )

    def _ids(self, batch: Any, start: int, kind: IdKind, wrong: dict[int, str]) -> Ids | None:
        if kind == "auto":
            return None
        if self._fields.numbered:
            return np.arange(start, start + batch.num_rows, dtype=np.uint64)
        values: list[Any] = batch.column(self._fields.id).to_pylist()
        name = self._fields.id
        for at, value in enumerate(values):
            if value is None:
                wrong.setdefault(at, f"{name}: null")
            elif kind == "u64" and value < 0:
                wrong.setdefault(at, f"{name}: must be a whole number from 0 to 2**64 - 1")
            elif kind == "str" and not (0 < len(value.encode()) <= 256 and "\0" not in value):
                wrong.setdefault(at, f"{name}: must be text of 1 to 256 bytes, without NUL")
        if kind == "str":
            return values
        return np.array([0 if at in wrong else one for at, one in enumerate(values)], np.uint64)

    def _metadata(self, batch: Any, wrong: dict[int, str]) -> list[dict[str, Any]] | None:
        if not self._kept:
            return None
        rows: list[dict[str, Any]] = [{} for _ in range(batch.num_rows)]
        for one in self._kept:
            values = batch.column(one.name).to_pylist()
            if one.name != "metadata":
                for row, value in zip(rows, values, strict=True):
                    row[one.name] = value
        rows = [without_nulls(row) for row in rows]
        if any(one.name == "metadata" for one in self._kept):
            for at, value in enumerate(batch.column("metadata").to_pylist()):
                _merge(rows[at], value, self._fields, at, wrong)
        return rows


def _merge(row: dict[str, Any], value: Any, fields: Fields, at: int, wrong: dict[int, str]) -> None:
    """Put what the field ``metadata`` holds beside the other fields of a row."""
    if value is None:
        return
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            wrong.setdefault(at, "metadata: not JSON")
            return
        if not isinstance(value, dict):
            wrong.setdefault(at, "metadata: must be an object")
            return
    else:
        value = without_nulls(value)
    for key, one in fields.chosen(value).items():
        if key in row:
            wrong.setdefault(at, f"metadata.{key}: stands there twice")
        row[key] = one


# -- types ------------------------------------------------------------------------------------


def _dim(name: str, field: Any) -> int | None:
    """The dimension that a vector field's type tells, None if each row tells it. Or FileError."""
    types = pyarrow().types
    kind = field.type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not is_list or not (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
        raise FileError(f"{name}: the field {field.name!r} is {kind}, not lists of numbers")
    return int(kind.list_size) if types.is_fixed_size_list(kind) else None


def _id_kind(name: str, schema: Any, fields: Fields) -> IdKind:
    types = pyarrow().types
    if fields.numbered:
        return "u64"
    if fields.id not in schema.names:
        return "auto"
    kind = schema.field(fields.id).type
    if types.is_integer(kind):
        return "u64"
    if types.is_string(kind) or types.is_large_string(kind):
        return "str"
    raise FileError(f"{name}: the field {fields.id!r} is {kind}, not integers or text")


def _column_type(kind: Any) -> ColumnType | None:
    types = pyarrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_floating(kind):
        return "f64"
    if types.is_integer(kind):
        return "i64"
    if types.is_boolean(kind):
        return "bool"
    return "str" if types.is_string(kind) or types.is_large_string(kind) else None


def _check_metadata_type(name: str, field: Any) -> None:
    """Raise FileError for a type that JSON has nothing for."""
    types, kind = pyarrow().types, field.type
    without = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_decimal,
               types.is_duration, types.is_map)  # fmt: skip
    if any(is_one(kind) for is_one in without):
        raise FileError(
            f"{name}: the field {field.name!r} is {kind}, which JSON does not have;"
            " --fields names those to take"
        )


def _vectors(column: Any, dim: int, wrong: dict[int, str]) -> NDArray[Any]:
    """Vectors (n, dim): a view where none is null and all have ``dim`` elements."""
    types = pyarrow().types
    count = len(column)
    is_fixed = types.is_fixed_size_list(column.type)
    if column.null_count == 0:
        flat = column.flatten()
        lengths = None if is_fixed else np.diff(column.offsets.to_numpy())
        if flat.null_count == 0 and (lengths is None or bool((lengths == dim).all())):
            made: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(count, dim)
            return made
    out = np.zeros((count, dim), np.float64)
    for at, vector in enumerate(column.to_pylist()):
        if vector is None or any(value is None for value in vector):
            wrong[at] = "its vector is null" if vector is None else "a value of its vector is null"
        elif len(vector) != dim:
            wrong[at] = f"its vector has {len(vector)} dimensions, not {dim}"
        else:
            out[at] = vector
    return out


# -- opening ----------------------------------------------------------------------------------


def open_parquet(file: BinaryIO, name: str, fields: Fields) -> ArrowReader:
    """Open Parquet; a pipe is read whole first. Raises FileError."""
    arrow = pyarrow()
    try:
        source = file if file.seekable() else arrow.BufferReader(file.read())
        opened = arrow.parquet.ParquetFile(source)
        schema = opened.schema_arrow
    except (arrow.ArrowException, OSError) as error:
        raise FileError(f"{name}: not a Parquet file: {_first_line(error)}") from None
    return ArrowReader(
        name, schema, opened.metadata.num_rows,
        lambda rows: opened.iter_batches(batch_size=rows), fields, file.close,
    )  # fmt: skip


def open_ipc(file: BinaryIO, name: str, fields: Fields) -> ArrowReader:
    """Open Arrow IPC, the file or the stream format. Raises FileError."""
    arrow = pyarrow()
    rows: int | None = None
    try:
        if file.seekable():
            is_file = file.read(len(_IPC_MAGIC)) == _IPC_MAGIC
            file.seek(0)
        else:
            is_file = False
        if is_file:
            opened = arrow.ipc.open_file(file)
            parts: Iterator[Any] = (opened.get_batch(at) for at in range(opened.num_record_batches))
            rows = sum(opened.get_batch(at).num_rows for at in range(opened.num_record_batches))
        else:
            opened = arrow.ipc.open_stream(file)
            parts = iter(opened)
        schema = opened.schema
    except (arrow.ArrowException, OSError) as error:
        raise FileError(f"{name}: not an Arrow file: {_first_line(error)}") from None

    def batches(most: int) -> Iterator[Any]:
        for part in parts:
            for start in range(0, part.num_rows, most):
                yield part.slice(start, most)

    return ArrowReader(name, schema, rows, batches, fields, file.close)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


# -- writing ----------------------------------------------------------------------------------


class ArrowWriter:
    """Writes Parquet, or an Arrow IPC file (a stream into a pipe).

    A declared column is a field of its own where its name is free; what else a row's metadata
    holds, nulls too, stands as JSON in the field ``metadata``.
    """

    leaves_out: tuple[str, ...] = ()

    def __init__(self, file: BinaryIO, shape: Shape, format: str) -> None:
        arrow = self._arrow = pyarrow()
        types = {"f64": arrow.float64(), "i64": arrow.int64(), "bool": arrow.bool_(),
                 "str": arrow.string()}  # fmt: skip
        self._columns = {
            name: kind for name, kind in shape.columns.items()
            if name not in ("id", "vector", "metadata")
        }  # fmt: skip
        self._vector_type = arrow.list_(arrow.float32(), shape.dim)
        self._id_type = arrow.string() if shape.ids == "str" else arrow.uint64()
        self._types = {name: types[kind] for name, kind in self._columns.items()}
        self._schema = arrow.schema(
            [("id", self._id_type), ("vector", self._vector_type), *self._types.items(),
             ("metadata", arrow.string())]
        )  # fmt: skip
        if format == "parquet":
            self._out = arrow.parquet.ParquetWriter(file, self._schema)
        elif file.seekable():
            self._out = arrow.ipc.new_file(file, self._schema)
        else:
            self._out = arrow.ipc.new_stream(file, self._schema)
        self._waiting: list[Any] = []
        self._waiting_rows = 0

    def write(self, rows: WrittenRows) -> None:
        """See Writer."""
        arrow = self._arrow
        flat = arrow.array(np.array(rows.vectors, np.float32).reshape(-1))
        arrays = [
            arrow.array(rows.ids, self._id_type),
            arrow.FixedSizeListArray.from_arrays(flat, type=self._vector_type),
        ]
        arrays += [
            arrow.array([one.get(name) for one in rows.metadata], kind)
            for name, kind in self._types.items()
        ]
        arrays.append(arrow.array([self._rest(one) for one in rows.metadata], arrow.string()))
        self._waiting.append(arrow.record_batch(arrays, schema=self._schema))
        self._waiting_rows += len(rows.vectors)
        if self._waiting_rows >= _GROUP_ROWS:
            self._flush()

    def _rest(self, metadata: dict[str, Any]) -> str | None:
        """What no column holds: other keys, and nulls."""
        rest = {
            key: value for key, value in metadata.items()
            if key not in self._columns or value is None
        }  # fmt: skip
        return orjson.dumps(rest).decode() if rest else None

    def _flush(self) -> None:
        if self._waiting:
            table = self._arrow.Table.from_batches(self._waiting).combine_chunks()
            self._out.write_table(table)
        self._waiting, self._waiting_rows = [], 0

    def finish(self) -> None:
        """See Writer."""
        self._flush()
        self._out.close()
