"""``.npy``: its header, and writing one whose length is not known before the end.

Format: numpy.lib.format, versions 1 and 2.
"""

from __future__ import annotations

import io
from typing import BinaryIO, Final

import numpy as np

from ..runtime import npy_header
from ..runtime.npy_header import Header
from .chunks import FileError, Shape, WrittenRows
from .file_rows import FileRows

#: Bytes kept for the header of a file that is being written; a multiple of 64, as numpy aligns it.
_HEADER_BYTES: Final = 128


def read_header(file: BinaryIO, name: str) -> Header:
    """Read the header from ``file``. Raises FileError."""
    try:
        return npy_header.read_header(file)
    except ValueError as error:
        raise FileError(f"{name}: {error}") from None


def open_ids(path: str) -> FileRows:
    """Open an array (n,) of integers or text. Raises FileError."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - its rows are read later
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return _ids_of(file, path)
    except OSError as error:
        file.close()
        raise FileError(f"{path}: {error.strerror or error}") from None
    except BaseException:
        file.close()
        raise


def _ids_of(file: BinaryIO, path: str) -> FileRows:
    header = read_header(file, path)
    size_bytes = file.seek(0, io.SEEK_END) - header.offset
    if len(header.shape) != 1 or header.dtype.kind not in "iuU" or not header.dtype.itemsize:
        what = f"{header.dtype} {header.shape}"
        raise FileError(f"{path}: ids are one array (n,) of integers or text, not {what}")
    (count,) = header.shape
    check_size(path, count * header.dtype.itemsize, size_bytes)
    return FileRows(file, path, header.dtype, header.shape, header.offset)


def check_size(name: str, expected_bytes: int, size_bytes: int) -> None:
    """Raise FileError unless the data is as long as the header says."""
    if size_bytes < expected_bytes:
        lacks = f"{size_bytes:,} of {expected_bytes:,} bytes of rows are there"
        raise FileError(f"{name}: truncated: {lacks}")
    if size_bytes > expected_bytes:
        more = size_bytes - expected_bytes
        raise FileError(f"{name}: {more:,} bytes more than its header says")


class NpyWriter:
    """Writes float32 (n, dim); and the ids, as (n,), to ``ids_file`` if there is one."""

    leaves_out: tuple[str, ...]

    def __init__(self, file: BinaryIO, shape: Shape, ids_file: BinaryIO | None = None) -> None:
        if not file.seekable():
            raise FileError(".npy cannot be written to a pipe: its length stands at its beginning")
        self._file, self._ids_file = file, ids_file
        self._shape = shape
        self._rows = 0
        #: Strings have one width in an array, the longest's: they wait for the end.
        self._texts: list[str] = []
        self.leaves_out = ("metadata",) if ids_file is not None else ("metadata", "ids")
        file.write(bytes(_HEADER_BYTES))
        if ids_file is not None and shape.ids != "str":
            ids_file.write(bytes(_HEADER_BYTES))

    def write(self, rows: WrittenRows) -> None:
        """See Writer."""
        self._file.write(np.ascontiguousarray(rows.vectors, "<f4").data)
        self._rows += len(rows.vectors)
        if isinstance(rows.ids, list):
            if self._ids_file is not None:
                self._texts += rows.ids
        elif self._ids_file is not None:
            self._ids_file.write(np.ascontiguousarray(rows.ids, "<u8").data)

    def finish(self) -> None:
        """See Writer."""
        _write_header(self._file, "<f4", (self._rows, self._shape.dim))
        if self._ids_file is None:
            return
        if self._shape.ids == "str":
            np.save(self._ids_file, np.array(self._texts, np.str_), allow_pickle=False)
        else:
            _write_header(self._ids_file, "<u8", (self._rows,))


def _write_header(file: BinaryIO, dtype: str, shape: tuple[int, ...]) -> None:
    """Write a header of version 1.0 over the bytes that were kept for it."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode("latin1")
    magic = np.lib.format.magic(1, 0)
    room = _HEADER_BYTES - len(magic) - 2
    file.seek(0)
    file.write(magic + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n")
    file.seek(0, io.SEEK_END)
