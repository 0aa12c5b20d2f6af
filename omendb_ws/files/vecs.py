"""Writing ``.fvecs`` and ``.bvecs``; they are read by ``arrays.py``."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from .arrays import VECS_ELEMENTS
from .chunks import FileError, Shape, WrittenRows


class VecsWriter:
    """Writes vectors, each after its dimension. ``.bvecs`` takes whole numbers from 0 to 255."""

    leaves_out: tuple[str, ...] = ("metadata", "ids")

    def __init__(self, file: BinaryIO, shape: Shape, format: str) -> None:
        self._file = file
        self._dim = shape.dim
        self._element = np.dtype(VECS_ELEMENTS[format])
        self._dtype = np.dtype([("dim", "<i4"), ("vector", self._element, (shape.dim,))])

    def write(self, rows: WrittenRows) -> None:
        """See Writer. Raises FileError for a value that a byte does not hold."""
        out = np.empty(len(rows.vectors), self._dtype)
        out["dim"] = self._dim
        if self._element.kind == "u":
            fits = (rows.vectors >= 0) & (rows.vectors <= 255)
            if not (fits.all() and (np.floor(rows.vectors) == rows.vectors).all()):
                raise FileError(".bvecs holds whole numbers from 0 to 255; these are others")
        out["vector"] = rows.vectors
        self._file.write(out.data)

    def finish(self) -> None:
        """See Writer."""
