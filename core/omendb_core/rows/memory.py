"""Memory for the arrays that kernels read, and for bytes that come and go."""

from __future__ import annotations

import mmap
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: A cache line, and the widest register.
ALIGNMENT_BYTES: Final = 64


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


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros at a 64-byte boundary; pages are committed on first touch."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.zeros(nbytes + ALIGNMENT_BYTES, np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[offset : offset + nbytes].view(dtype).reshape(shape)
