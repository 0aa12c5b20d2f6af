"""Rows of one size that lie in a file, read as they are asked for.

Invariant: by copy, never through a mapping. A mapped file that another program cuts short ends the
process (SIGBUS), or reads as zeros up to the end of a page; a copy that comes up short is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from .chunks import CutShort, FileError

#: Read at once of a file in Fortran order, whose rows lie apart: of each column a long piece.
#: 200,000 rows of 128 dimensions take twice as long by the 500 rows of a chunk, and no less in
#: larger blocks.
_BLOCK_BYTES: Final = 2 << 20


def size_of(file: BinaryIO) -> int | None:
    """How many bytes a file has now; None of a pipe, and of what lies in memory."""
    try:
        return os.fstat(file.fileno()).st_size if file.seekable() else None
    except (OSError, ValueError):
        return None


@contextmanager
def noticing_cuts(file: BinaryIO | None, size_bytes: int | None) -> Iterator[None]:
    """Turn FileError into CutShort where ``file`` has become shorter than ``size_bytes``."""
    try:
        yield
    except FileError as error:
        if file is None or size_bytes is None or (size_of(file) or 0) >= size_bytes:
            raise
        raise CutShort(f"{error} (it was cut short while it was read)") from error


class FileRows:
    """An array of ``shape`` that begins at ``offset``; in Fortran order column after column."""

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        offset: int = 0,
        *,
        fortran: bool = False,
    ) -> None:
        self.dtype = dtype
        self._file, self._name = file, name
        self._shape, self._offset = shape, offset
        self._fortran = fortran and len(shape) == 2
        self._block: tuple[int, NDArray[Any]] = (0, np.empty((0, *shape[1:]), dtype))

    def __len__(self) -> int:
        return self._shape[0]

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Return rows from ``start``, ``count`` or as many as are left. Raises FileError."""
        count = max(0, min(count, len(self) - start))
        if self._fortran:
            return self._of_block(start, count)
        rows: NDArray[Any] = np.empty((count, *self._shape[1:]), self.dtype)
        if count:
            row_bytes = rows.nbytes // count
            got = self._fill(rows, start * row_bytes)
            if got < rows.nbytes:
                raise self._truncated(f"in row {start + got // row_bytes}")
        return rows

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _of_block(self, start: int, count: int) -> NDArray[Any]:
        begins, block = self._block
        if not begins <= start <= start + count <= begins + len(block):
            fit = _BLOCK_BYTES // (self._shape[1] * self.dtype.itemsize)
            block = self._columns(start, min(max(count, fit), len(self) - start))
            begins, self._block = start, (start, block)
        return block[start - begins : start - begins + count]

    def _columns(self, start: int, count: int) -> NDArray[Any]:
        rows, dim = self._shape
        columns: NDArray[Any] = np.empty((dim, count), self.dtype)
        for at, column in enumerate(columns):
            if self._fill(column, (at * rows + start) * self.dtype.itemsize) < column.nbytes:
                raise self._truncated(f"in column {at}")
        return columns.T

    def _fill(self, array: NDArray[Any], offset: int) -> int:
        """Read into ``array`` from where its bytes lie in the data; return how many there were."""
        wanted, got = array.reshape(-1).view(np.uint8), 0
        try:
            self._file.seek(self._offset + offset)
            while got < len(wanted):
                part = self._file.readinto(wanted[got:])  # type: ignore[attr-defined]
                if not part:
                    break
                got += part
        except OSError as error:
            raise FileError(f"{self._name}: {error.strerror or error}") from None
        return got

    def _truncated(self, where: str) -> CutShort:
        return CutShort(f"{self._name}: truncated {where}: it was cut short while it was read")
