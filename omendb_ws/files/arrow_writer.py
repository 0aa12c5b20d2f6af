"""Writing Parquet and Arrow IPC, by pyarrow: the optional extra ``arrow``."""

from __future__ import annotations

from typing import Any, BinaryIO, Final

import numpy as np
import orjson

from .arrow_library import pyarrow
from .chunks import Shape, WrittenRows

#: Rows that are written together: a row group of some MiB.
_GROUP_ROWS: Final = 16_384


def _held(value: Any, kind: Any) -> Any:
    """``value`` as a field of ``kind`` holds it; None for an integer that no float is."""
    if value is None or str(kind) != "double":
        return value
    number = float(value)
    return number if number == value else None


class ArrowWriter:
    """Writes Parquet, or an Arrow IPC file (a stream into a pipe).

    A declared column is a field of its own where its name is free; what else a row's metadata
    holds, nulls and integers that no float is too, stands as JSON in the field ``metadata``.
    """

    leaves_out: tuple[str, ...] = ()

    def __init__(self, file: BinaryIO, shape: Shape, format: str) -> None:
        arrow = self._arrow = pyarrow()
        types = {"f64": arrow.float64(), "i64": arrow.int64(), "bool": arrow.bool_(),
                 "str": arrow.string()}  # fmt: skip
        self._vector_type = arrow.list_(arrow.float32(), shape.dim)
        self._id_type = arrow.string() if shape.ids == "str" else arrow.uint64()
        self._types = {
            name: types[kind] for name, kind in shape.columns.items()
            if name not in ("id", "vector", "metadata")
        }  # fmt: skip
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
            arrow.array([_held(one.get(name), kind) for one in rows.metadata], kind)
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
            if key not in self._types or _held(value, self._types[key]) is None
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
