"""The number of threads that numpy's BLAS uses."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from typing import Final

_SETTERS: Final = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
)


def use_threads(count: int) -> bool:
    """Let BLAS use ``count`` threads from now on, in the whole process; False if it cannot be told.

    Meant for one call at the start of a program: a second BLAS thread burns a core and makes the
    scan of this package no faster. Where this returns False (Accelerate, Windows), the environment
    variables ``OPENBLAS_NUM_THREADS`` and ``VECLIB_MAXIMUM_THREADS``, set before numpy is imported,
    do the same.
    """
    with contextlib.suppress(ImportError, OSError):
        # The extension that numpy links BLAS into: a symbol looked up in it is looked up in the
        # libraries that it depends on too, whatever their file names are.
        extension = importlib.import_module("numpy._core._multiarray_umath")
        library = ctypes.CDLL(extension.__file__)
        for name in _SETTERS:
            if (setter := getattr(library, name, None)) is not None:
                setter.argtypes, setter.restype = [ctypes.c_int], None
                setter(count)
                return True
    return False
