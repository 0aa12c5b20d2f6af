"""Bodies that are an array: float32 rows as they are, or an ``.npy`` file, to the rows of an add.

Rows in little-endian float32 stay a view on the body. What is wrong with them takes their place, as
in a binary message: a repeated batch is answered before its rows are looked at. Pure.
"""

from __future__ import annotations

import io
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BadRequest, BadVector, OmenError, TooLarge

from ...runtime.npy_header import Header, read_header
from ...wire.limits import Limits

_F32_BYTES: Final = 4
#: numpy's kinds of real numbers.
_REAL: Final = "iuf"


def raw_rows(data: bytes, dim: int, limits: Limits) -> RowBatch | OmenError:
    """Rows of so many float32, one behind the other."""
    row_bytes = dim * _F32_BYTES
    if len(data) % row_bytes:
        return BadVector(f"the body: {len(data)} bytes are not whole rows of {row_bytes} (dim x 4)")
    return _checked(np.frombuffer(data, "<f4").reshape(-1, dim), limits)


def npy_rows(data: bytes, limits: Limits) -> RowBatch | OmenError:
    """The rows of an ``.npy`` file: 2-D, of any real type."""
    try:
        header = read_header(io.BytesIO(data))
    except ValueError as error:
        return BadVector(f"the body: {error}")
    if len(header.shape) != 2 or header.dtype.kind not in _REAL:
        what = f"{header.dtype} {header.shape}"
        return BadVector(f"the body: must be real numbers in two dimensions, not {what}")
    expected_bytes = header.offset + math.prod(header.shape) * header.dtype.itemsize
    if len(data) != expected_bytes:
        return BadVector(f"the body: has {len(data)} bytes; its header says {expected_bytes}")
    made_bytes = math.prod(header.shape) * _F32_BYTES
    if made_bytes > limits.max_message_bytes:
        most = limits.max_message_bytes
        return TooLarge(f"the body: its rows have over {most} bytes as f32 (max_message_bytes)")
    return _checked(_array(data, header), limits)


def _array(data: bytes, header: Header) -> NDArray[np.float32]:
    count = math.prod(header.shape)
    flat: NDArray[Any] = np.frombuffer(data, header.dtype, count, header.offset)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    with np.errstate(over="ignore"):  # an infinity is refused with its row
        return np.require(array, "<f4", ("C_CONTIGUOUS", "ALIGNED"))


def _checked(vectors: NDArray[np.float32], limits: Limits) -> RowBatch | OmenError:
    count, dim = vectors.shape
    if not count or not dim:
        return BadRequest("rows: must not be empty")
    if count > limits.max_rows:
        return TooLarge(f"rows: at most {limits.max_rows} (max_rows)")
    if dim > limits.max_dim:
        return TooLarge(f"dim: at most {limits.max_dim} (max_dim)")
    return RowBatch(vectors)
