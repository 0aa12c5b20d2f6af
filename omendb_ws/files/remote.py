"""Files at addresses such as ``s3://bucket/key``, by fsspec (the extra ``remote``)."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from ..runtime.extras import ExtraMissing, load
from .chunks import FileError
from .output import NotWritten


def is_remote(path: str) -> bool:
    """Whether ``path`` is an address."""
    return "://" in path


@contextlib.contextmanager
def written(url: str) -> Iterator[BinaryIO]:
    """Give a file to write to; it is there when all is well. FileError, NotWritten."""
    files, path = _files(url)
    try:
        with files.transaction, files.open(path, "wb") as file:
            yield cast("BinaryIO", file)
    except OSError as error:
        raise NotWritten(f"{url}: {error}") from error


@contextlib.contextmanager
def read(url: str) -> Iterator[BinaryIO]:
    """Give a file to read from. FileError."""
    files, path = _files(url)
    try:
        with files.open(path, "rb") as file:
            yield cast("BinaryIO", file)
    except OSError as error:
        raise FileError(f"{url}: {error}") from error


def _files(url: str) -> tuple[Any, str]:
    try:
        load("such addresses need", "remote", "fsspec")
        core: Any = importlib.import_module("fsspec.core")
        files, path = core.url_to_fs(url)
    except (ExtraMissing, ImportError, ValueError) as error:
        raise FileError(f"{url}: {error}") from None
    return files, str(path)
