"""pyarrow, the optional extra ``arrow``: loading it, and what it raises turned into FileError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..runtime.extras import needed
from .chunks import FileError

#: What pyarrow raises for bytes that are no file, no batch, or no value of their type. Its own
#: exceptions are ValueError, KeyError, NotImplementedError and MemoryError too; SystemError and
#: ArithmeticError come out of conversions, of integers and of decimals.
_RAISED: Final = (
    OSError, ValueError, KeyError, NotImplementedError, MemoryError, SystemError, ArithmeticError,
    TypeError, RecursionError,
)  # fmt: skip


def pyarrow() -> Any:
    """The library. Raises FileError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise FileError(needed("Parquet and Arrow files need", "arrow")) from None
    return pyarrow


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what pyarrow raises for a file's bytes into FileError, which begins with ``where``."""
    try:
        yield
    except _RAISED as error:
        raise FileError(f"{where}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
