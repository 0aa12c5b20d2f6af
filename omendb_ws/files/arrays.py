"""Rows of a fixed size in bytes: ``.npy``, ``.fvecs``, ``.bvecs``.

A file is read where its rows lie, a stream as it comes. ``.fvecs`` and ``.bvecs`` (the layout of
the TEXMEX corpora): each vector is its dimension as a little-endian int32, then so many float32 or
uint8.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.types import I64, ColumnType, IdKind, Ids

from .chunks import BadRow, Chunk, FileError, Unit
from .file_rows import FileRows
from .npy import check_size, read_header

#: The largest dimension that is believed; what is beyond is no file of vectors.
_MAX_DIM: Final = 1 << 20
#: Rows that are read at once to look for the one that is wrong.
_LOOKED_AT_ROWS: Final = 1024
VECS_ELEMENTS: Final = {"fvecs": "<f4", "bvecs": "u1"}


class ArrayReader:
    """A Reader of rows of fixed size. ``given_ids``: (n,) integers or text, else row numbers."""

    unit: Unit = "row"
    unused_id: int | None = None

    def __init__(
        self,
        name: str,
        dim: int | None,
        rows: int | None,
        take: Callable[[int, int], NDArray[Any]],
        given_ids: FileRows | None,
        close: Callable[[], None],
    ) -> None:
        if given_ids is not None and rows is not None and len(given_ids) != rows:
            raise FileError(f"{name}: has {rows:,} rows, and there are {len(given_ids):,} ids")
        self.name, self.dim, self.rows = name, dim, rows
        self.columns: Mapping[str, ColumnType] = {}
        self.ids: IdKind = "str" if given_ids is not None and given_ids.dtype.kind == "U" else "u64"
        self.holds_ids = given_ids is not None
        self._close = close
        self._take = take
        self._given_ids = given_ids

    def close(self) -> None:
        """See Reader."""
        self._close()
        if self._given_ids is not None:
            self._given_ids.close()

    def chunks(self, dim: int, ids: IdKind, rows: int) -> Iterator[Chunk]:
        """See Reader."""
        if ids != "auto" and ids != self.ids:
            has = "ids from a file" if self._given_ids is not None else "row numbers"
            raise FileError(f"{self.name}: {has} are {self.ids}, the collection's ids are {ids}")
        if self.dim is not None and self.dim != dim:
            raise FileError(f"{self.name}: has {self.dim} dimensions, the collection {dim}")
        start = 0
        while self.rows is None or start < self.rows:
            most = rows if self.rows is None else min(rows, self.rows - start)
            vectors = self._take(start, most)
            if len(vectors) == 0:
                break
            yield self._chunk(vectors, start, ids)
            start += len(vectors)
        if self._given_ids is not None and start != len(self._given_ids):
            raise FileError(
                f"{self.name}: has {start:,} rows, and there are {len(self._given_ids):,} ids"
            )

    def _chunk(self, vectors: NDArray[Any], start: int, kind: IdKind) -> Chunk:
        stop = start + len(vectors)
        read = None if not self.rows else stop / self.rows
        numbers: I64 = np.arange(start, stop, dtype=np.int64)
        if kind == "auto":
            return Chunk(vectors, numbers, read=read)
        if self._given_ids is None:
            return Chunk(vectors, numbers, ids=numbers.astype(np.uint64), read=read)
        given = self._given_ids.read(start, len(vectors))
        if len(given) != len(vectors):
            raise FileError(f"{self.name}: there are ids for {start + len(given):,} rows only")
        ids, good = _usable_ids(given)
        if good.all():
            return Chunk(vectors, numbers, ids=ids, read=read)
        bad = [BadRow(start + int(at), "its id is negative") for at in np.flatnonzero(~good)]
        kept = np.asarray(ids)[good]
        return Chunk(vectors[good], numbers[good], ids=kept, bad=bad, read=read)


def _usable_ids(given: NDArray[Any]) -> tuple[Ids, NDArray[np.bool_]]:
    if given.dtype.kind == "U":
        return given.tolist(), np.ones(len(given), np.bool_)
    return given.astype(np.uint64), given >= 0


# -- .npy -------------------------------------------------------------------------------------


def open_npy(file: BinaryIO, name: str, given_ids: FileRows | None = None) -> ArrayReader:
    """Open ``.npy`` of real numbers (n, dim), of any byte and element order. Raises FileError."""
    header = read_header(file, name)
    if header.dtype.kind not in "fiu":
        raise FileError(f"{name}: holds {header.dtype}, not real numbers")
    if len(header.shape) != 2:
        raise FileError(f"{name}: must be an array (rows, dimensions), its shape is {header.shape}")
    rows, dim = header.shape
    if not 1 <= dim <= _MAX_DIM:
        raise FileError(f"{name}: its vectors have {dim} dimensions")
    row_bytes = dim * header.dtype.itemsize
    if not _is_file(file):
        if header.fortran:
            raise FileError(f"{name}: in Fortran order, which cannot be read from a pipe")
        read = _stream(file, name, header.dtype, row_bytes, rows)
        return ArrayReader(
            name, dim, rows, lambda *at: read(*at).reshape(-1, dim), given_ids, file.close
        )
    size_bytes = file.seek(0, io.SEEK_END) - header.offset
    check_size(name, rows * row_bytes, size_bytes)
    array = FileRows(file, name, header.dtype, (rows, dim), header.offset, fortran=header.fortran)
    return ArrayReader(name, dim, rows, array.read, given_ids, file.close)


# -- .fvecs, .bvecs ---------------------------------------------------------------------------


def open_vecs(
    file: BinaryIO, name: str, element: str, given_ids: FileRows | None = None
) -> ArrayReader:
    """Open ``.fvecs`` (``element`` "<f4") or ``.bvecs`` ("u1"). Raises FileError."""
    head = file.read(4)
    if not head:
        return ArrayReader(name, None, 0, lambda *_: np.empty((0, 1)), given_ids, file.close)
    if len(head) < 4:
        raise FileError(f"{name}: truncated: {len(head)} bytes")
    (dim,) = struct.unpack("<i", head)
    if not 1 <= dim <= _MAX_DIM:
        raise FileError(f"{name}: not a file of vectors: the first has {dim} dimensions")
    row = np.dtype([("dim", "<i4"), ("vector", element, (dim,))])
    rows: int | None = None
    read: Callable[[int, int], NDArray[Any]]
    if _is_file(file):
        size_bytes = file.seek(0, io.SEEK_END)
        rows, rest = divmod(size_bytes, row.itemsize)
        read = FileRows(file, name, row, (rows,)).read
        if rest:
            for start in range(0, rows, _LOOKED_AT_ROWS):
                _check_dims(read(start, _LOOKED_AT_ROWS), start, dim, name)
            raise FileError(f"{name}: truncated: row {rows} has {rest} of {row.itemsize} bytes")
    else:
        read = _stream(file, name, row, row.itemsize, None, head)

    def take(start: int, count: int) -> NDArray[Any]:
        return _check_dims(read(start, count), start, dim, name)

    return ArrayReader(name, dim, rows, take, given_ids, file.close)


def _check_dims(rows: NDArray[Any], start: int, dim: int, name: str) -> NDArray[Any]:
    """Return the vectors. Raises FileError where one says another dimension than the first."""
    other = np.flatnonzero(rows["dim"] != dim)
    if len(other):
        at = int(other[0])
        has = int(rows["dim"][at])
        raise FileError(f"{name}: row {start + at} has {has} dimensions, the first {dim}")
    vectors: NDArray[Any] = rows["vector"]
    return vectors


# -- files and streams ------------------------------------------------------------------------


def _is_file(file: BinaryIO) -> bool:
    """Whether it lies on a disk, so that it has a size and rows are read from anywhere in it."""
    try:
        file.fileno()
    except OSError:
        return False
    return file.seekable()


def _stream(
    file: BinaryIO,
    name: str,
    dtype: np.dtype[Any],
    row_bytes: int,
    rows: int | None,
    head: bytes = b"",
) -> Callable[[int, int], NDArray[Any]]:
    """Return what reads rows one after another; ``head`` was read before."""
    before = [head]

    def read(start: int, count: int) -> NDArray[Any]:
        wanted = count * row_bytes
        data = before[0] + file.read(wanted - len(before[0]))
        before[0] = b""
        got, rest = divmod(len(data), row_bytes)
        if rest or (rows is not None and got < count):
            raise FileError(f"{name}: truncated in row {start + got}")
        if rows is not None and start + got == rows and file.read(1):
            raise FileError(f"{name}: more bytes than its header says")
        return np.frombuffer(data, dtype)

    return read
