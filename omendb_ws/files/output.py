"""Writing a file that is there whole or not at all: beside it first, then under its name."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from typing import BinaryIO

from .chunks import FileError
from .formats import STANDARD


@contextlib.contextmanager
def written(path: str, *, replace: bool) -> Iterator[BinaryIO]:
    """Give a file to write to; it takes the name ``path`` ("-": standard output) when all is well.

    Raises FileError: it is there already (unless ``replace``), or cannot be written.
    """
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.exists(path) and not replace:
        raise FileError(f"{path}: is there already; --force writes over it")
    beside = f"{path}.{secrets.token_hex(4)}.part"
    try:
        try:
            with open(beside, "xb") as file:
                yield file
            os.replace(beside, path)
        except OSError as error:
            if isinstance(error, BrokenPipeError | ConnectionError):
                raise
            raise FileError(f"{path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)
