"""Where record batches come from: a Parquet file, an Arrow IPC file, a stream, a table in memory.

Invariant: every batch that leaves here was validated to the last value, so that nothing that lies
in a file makes anybody read beside a buffer. (pyarrow itself trusts what it reads: of 3,000 IPC
files with changed bytes 195 ended the process, and none of 21,000 once its batches were validated.)
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Protocol

from .arrow_library import pyarrow, reading

_IPC_MAGIC: Final = b"ARROW1"
#: Rows that are read at once of one field, to look at its values.
_LOOKED_AT_ROWS: Final = 65_536


class Source(Protocol):
    """An open file. What raises, raises FileError or what pyarrow raises (see ``reading``)."""

    schema: Any
    #: How many rows; None where that takes reading them all from a pipe.
    rows: int | None

    def batches(self, rows: int) -> Iterator[Any]:
        """All batches, at most ``rows`` rows each."""

    def values(self, at: int) -> Iterator[Any]:
        """The arrays of the field ``at``: all of a file's, and of a pipe those that were read."""

    def extremes(self, at: int) -> tuple[Any, Any] | None:
        """The least and the largest value of the field ``at``, where the file tells them."""

    def close(self) -> None:
        """Let go of the file."""


class ParquetSource:
    """A Parquet file, read a batch of rows at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file if file.seekable() else _spooled(file)
        self._opened = pyarrow().parquet.ParquetFile(self._file)
        self.schema = self._opened.schema_arrow
        self.rows: int | None = self._opened.metadata.num_rows

    def batches(self, rows: int) -> Iterator[Any]:
        """See Source."""
        yield from map(validated, self._opened.iter_batches(batch_size=rows))

    def values(self, at: int) -> Iterator[Any]:
        """See Source."""
        name = self.schema.field(at).name
        is_alone = self.schema.names.count(name) == 1
        columns = [name] if is_alone else None
        for batch in self._opened.iter_batches(batch_size=_LOOKED_AT_ROWS, columns=columns):
            # A name with a dot may have brought others along.
            found = batch.schema.get_field_index(name)
            yield validated(batch).column(found if is_alone else at)

    def extremes(self, at: int) -> tuple[Any, Any] | None:
        """See Source."""
        name, about = self.schema.field(at).name, self._opened.metadata
        paths = [about.schema.column(one).path for one in range(about.num_columns)]
        if paths.count(name) != 1:
            return None
        ends: list[Any] = []
        at_leaf = paths.index(name)
        for group in range(about.num_row_groups):
            chunk = about.row_group(group).column(at_leaf)
            # Asked for statistics of another type than the schema's, pyarrow ends the process.
            if chunk.physical_type != about.schema.column(at_leaf).physical_type:
                raise pyarrow().ArrowInvalid("a column is not of the type that its schema says")
            told = chunk.statistics
            if told is None or not told.has_min_max:
                if told is None or told.null_count != chunk.num_values:
                    return None
                continue
            ends += [told.min, told.max]
        return (min(ends), max(ends)) if ends else (None, None)

    def close(self) -> None:
        """See Source."""
        self._file.close()


class IpcSource:
    """See Source. A file that can be read again, of the file or the stream format."""

    def __init__(self, file: BinaryIO, *, is_file: bool) -> None:
        # Read by copy, a batch at a time: a mapping ends the process once the file is cut short.
        self._file, self._data, self._is_file = file, pyarrow().PythonFile(file, "r"), is_file
        opened = self._open()
        self.schema = opened.schema
        self.rows: int | None = 0
        one_field = [0] if len(self.schema) else None
        for part in self._parts(one_field):
            self.rows += part.num_rows

    def _open(self, included: list[int] | None = None) -> Any:
        self._data.seek(0)
        opener = pyarrow().ipc.open_file if self._is_file else pyarrow().ipc.open_stream
        return opener(self._data, options=pyarrow().ipc.IpcReadOptions(included_fields=included))

    def _parts(self, included: list[int] | None = None) -> Iterator[Any]:
        opened = self._open(included)
        if self._is_file:
            return (opened.get_batch(at) for at in range(opened.num_record_batches))
        return iter(opened)

    def batches(self, rows: int) -> Iterator[Any]:
        """See Source."""
        yield from _sliced(map(validated, self._parts()), rows)

    def values(self, at: int) -> Iterator[Any]:
        """See Source."""
        for part in self._parts([at]):
            yield validated(part).column(0)

    def extremes(self, at: int) -> tuple[Any, Any] | None:
        """See Source."""
        return None

    def close(self) -> None:
        """See Source."""
        self._file.close()


class PipeSource:
    """See Source. A stream that comes once: its first batch is read ahead."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        opened = pyarrow().ipc.open_stream(file)
        self.schema = opened.schema
        self.rows: int | None = None
        self._parts: Iterator[Any] = map(validated, opened)
        self._ahead: list[Any] = []
        while not self._ahead:
            part = next(self._parts, None)
            if part is None:
                break
            if part.num_rows:
                self._ahead.append(part)

    def batches(self, rows: int) -> Iterator[Any]:
        """See Source."""
        yield from _sliced(iter(self._ahead), rows)
        self._ahead.clear()
        yield from _sliced(self._parts, rows)

    def values(self, at: int) -> Iterator[Any]:
        """See Source."""
        return (part.column(at) for part in self._ahead)

    def extremes(self, at: int) -> tuple[Any, Any] | None:
        """See Source."""
        return None

    def close(self) -> None:
        """See Source."""
        self._file.close()


class TableSource:
    """See Source. A table of this process, as one batch."""

    def __init__(self, table: Any) -> None:
        self._table = table.combine_chunks()
        self.schema = table.schema
        self.rows: int | None = table.num_rows

    def batches(self, rows: int) -> Iterator[Any]:
        """See Source."""
        yield from _sliced(map(validated, self._table.to_batches()), rows)

    def values(self, at: int) -> Iterator[Any]:
        """See Source."""
        return iter(self._table.column(at).chunks)

    def extremes(self, at: int) -> tuple[Any, Any] | None:
        """See Source."""
        return None

    def close(self) -> None:
        """See Source."""


def open_source(file: BinaryIO, name: str, *, is_parquet: bool) -> Source:
    """Open Parquet, or either format of Arrow IPC. Raises FileError."""
    if is_parquet:
        with reading(f"{name}: not a Parquet file"):
            return ParquetSource(file)
    with reading(f"{name}: not an Arrow file"):
        if not file.seekable():
            return PipeSource(file)
        is_file = file.read(len(_IPC_MAGIC)) == _IPC_MAGIC
        file.seek(0)
        return IpcSource(file, is_file=is_file)


def validated(batch: Any) -> Any:
    """``batch``, if it is one; what is text and not UTF-8 is bytes in it. Or ArrowInvalid."""
    arrow = pyarrow()
    try:
        batch.validate(full=True)
    except arrow.ArrowInvalid:
        batch = arrow.record_batch([_as_stored(one) for one in batch.columns], batch.schema.names)
        batch.validate(full=True)
    return batch


def _as_stored(array: Any) -> Any:
    """Text whose bytes are not UTF-8 as these bytes, for whoever names the rows; else the array."""
    arrow = pyarrow()
    bytes_of = {arrow.string(): arrow.binary(), arrow.large_string(): arrow.large_binary()}
    if array.type not in bytes_of:
        return array
    try:
        array.validate(full=True)
    except arrow.ArrowInvalid:
        return array.view(bytes_of[array.type])
    return array


def _sliced(parts: Iterator[Any], most: int) -> Iterator[Any]:
    for part in parts:
        for start in range(0, part.num_rows, most):
            yield part.slice(start, most)


def _spooled(pipe: BinaryIO) -> BinaryIO:
    """What a pipe brings, in a file without a name: Parquet is read from its end."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - read for as long as the source is
    shutil.copyfileobj(pipe, kept, 1 << 20)
    kept.seek(0)
    pipe.close()
    return kept
