"""The header of an ``.npy`` file, whoever sent it.

numpy parses it as a literal; arrays of objects, which are pickles, are refused unread. Format:
numpy.lib.format, versions 1 and 2.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

_MAX_HEADER_BYTES: Final = 10_000
#: No array has more elements along one axis.
_MAX_SIZE: Final = 2**48


class Source(Protocol):
    """What is read from: numpy asks it for nothing else."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes."""


class Header(NamedTuple):
    """What the header says; ``offset`` is where the data begins."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int


def read_header(file: Source) -> Header:
    """Read the header. ValueError says what is wrong with it."""
    counted = _Counted(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, about headers that Python 2 wrote
            version = np.lib.format.read_magic(counted)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"of version {version[0]}.{version[1]}, which is not read")
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(counted, max_header_size=_MAX_HEADER_BYTES)
    except OSError:
        raise
    except Exception as error:  # a header of any bytes: ValueError, TokenError, SyntaxError …
        raise ValueError(f"not an .npy file: {_first_line(error)}") from None
    if dtype.hasobject:
        raise ValueError("holds Python objects, which are not unpickled; save numbers")
    # Sizes are Python integers of any length, which nobody wants to read, either.
    if any(isinstance(size, bool) or not 0 <= size <= _MAX_SIZE for size in shape):
        raise ValueError("not an .npy file: its shape has sizes that no array has")
    return Header(shape, fortran, dtype, counted.count)


class _Counted:
    """A file that counts what is read."""

    def __init__(self, file: Source) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
