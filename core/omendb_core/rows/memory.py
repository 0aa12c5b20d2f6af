"""Memory for the arrays that kernels read, and for bytes that come and go."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: A cache line, and the widest register.
ALIGNMENT_BYTES: Final = 64
#: From this size on a growing array has addresses of its own, and how many.
_RESERVED_FROM_BYTES: Final = 1 << 20
_RESERVED_BYTES: Final = 1 << 30
_LARGE_PAGES_FROM_BYTES: Final = 4 << 20
#: What is smaller is touched by who needs it; a large page takes a millisecond, or four.
_TOUCHED_FROM_BYTES: Final = 4 << 20
_TOUCHED_AT_ONCE_BYTES: Final = 2 << 20


#: The system's unit: what is touched of it is there whole.
PAGE_BYTES: Final = mmap.PAGESIZE


def own_mapping(nbytes: int) -> mmap.mmap:
    """Return zeroed bytes of a mapping of their own: committed on first touch, and given back to
    the system with the last reference, whatever lies around them. A slice of it is ``bytes``."""
    if hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, nbytes)


def touched_bytes(nbytes: int) -> int:
    """Bytes of the pages that the first ``nbytes`` of a mapping touch."""
    return -(-nbytes // PAGE_BYTES) * PAGE_BYTES


class Untouched:
    """The part of a zeroed array that was never written to, and so is not there yet.

    Rows that stand at random places of it touch all of it with the first thousands: of 160 MB that
    took 200 to 330 ms, in large pages, at the first add. So it is touched before, some at a time.
    """

    __slots__ = ("_bytes", "_start")

    def __init__(self, array: NDArray[Any]) -> None:
        self._bytes: NDArray[np.uint8] = array.reshape(-1).view(np.uint8)
        self._start = 0 if array.nbytes > _TOUCHED_FROM_BYTES else array.nbytes

    def __bool__(self) -> bool:
        return self._start < len(self._bytes)

    def touch_some(self) -> None:
        """Have some more of it there. What stands in it stays."""
        stop = min(self._start + _TOUCHED_AT_ONCE_BYTES, len(self._bytes))
        self._bytes[self._start : stop : PAGE_BYTES] |= 0
        self._start = stop


def _reserved(nbytes: int) -> mmap.mmap | None:
    """A mapping whose pages come as they are touched; None where addresses have a limit."""
    if sys.platform == "win32" or _address_limit() is not None:
        return None
    try:
        return own_mapping(nbytes)
    except OSError:
        return None


def _address_limit() -> int | None:
    """How many addresses the process may have."""
    import resource  # which Windows has not

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


class GrowingArray:
    """Rows of one array that become more without being copied.

    What is larger than a megabyte has addresses set aside for a gigabyte, of which it takes up the
    first: to copy the standing queries of a window as they doubled took 300 ms for 16,384 of 768
    dimensions and k 100. Where the system bounds addresses it doubles, and is copied then.
    """

    __slots__ = ("_dtype", "_mapping", "_none", "_row_shape", "_rows", "_whole")

    def __init__(self, row_shape: tuple[int, ...], dtype: DTypeLike, none: Any = 0) -> None:
        self._row_shape, self._dtype, self._none = row_shape, np.dtype(dtype), none
        self._rows = 0
        self._mapping: mmap.mmap | None = None
        self._whole: NDArray[Any] = np.zeros((0, *row_shape), dtype)

    def fit(self, rows: int) -> NDArray[Any]:
        """The array with so many rows, no fewer than it had: the new ones are ``none``.

        What it returned before is the same memory, or an old copy.
        """
        if rows > len(self._whole):
            self._enlarge(rows)
        if self._none:
            self._whole[self._rows : rows] = self._none
        row_bytes = self._whole.strides[0]
        if self._rows * row_bytes < _LARGE_PAGES_FROM_BYTES <= rows * row_bytes:
            self._ask_for_large_pages()
        self._rows = rows
        return self._whole[:rows]

    def _enlarge(self, rows: int) -> None:
        row_bytes = int(np.prod(self._row_shape, dtype=np.int64)) * self._dtype.itemsize
        whole_rows, mapping = max(rows, 2 * len(self._whole)), None
        if rows * row_bytes >= _RESERVED_FROM_BYTES:
            reserved_rows = max(whole_rows, _RESERVED_BYTES // row_bytes)
            mapping = _reserved(reserved_rows * row_bytes)
        if mapping is None:
            larger = aligned_zeros((whole_rows, *self._row_shape), self._dtype)
        else:
            larger = np.frombuffer(mapping, self._dtype).reshape(-1, *self._row_shape)
        larger[: self._rows] = self._whole[: self._rows]
        self._whole, self._mapping = larger, mapping

    def _ask_for_large_pages(self) -> None:
        """As numpy does for its own arrays of that size."""
        if self._mapping is not None and hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # of a system without any
                self._mapping.madvise(mmap.MADV_HUGEPAGE)


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros at a 64-byte boundary; pages are committed on first touch."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.zeros(nbytes + ALIGNMENT_BYTES, np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[offset : offset + nbytes].view(dtype).reshape(shape)
