"""Files at addresses such as ``s3://bucket/key``, by fsspec (the extra ``remote``).

A file that is written takes its name when all of it is there, as far as the store can do that: of
S3 it is one upload in parts, which is completed, or given up. Who reads one
finds out in any case.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from ..runtime.extras import ExtraMissing, load
from .chunks import FileError
from .output import NotWritten


def is_remote(path: str) -> bool:
    """Whether ``path`` is an address."""
    return "://" in path


class _File:
    """A file there, whose faults, whatever the store's package calls them, are of ``kind``."""

    def __init__(self, url: str, file: Any, kind: type[FileError]) -> None:
        self._url, self._file, self._kind = url, file, kind

    def write(self, data: Any) -> int:
        """Write ``data``."""
        return int(self._try(self._file.write, data))

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes."""
        return bytes(self._try(self._file.read, size))

    def _try(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:
            raise self._kind(f"{self._url}: {error}") from error


@contextlib.contextmanager
def written(url: str) -> Iterator[BinaryIO]:
    """Give a file to write to; it is there when all is well. FileError, NotWritten."""
    files, path = _files(url)
    inside: BaseException | None = None
    try:
        with files.transaction, files.open(path, "wb") as file:
            try:
                yield cast("BinaryIO", _File(url, file, NotWritten))
            except BaseException as error:
                inside = error
                raise
    except Exception as error:
        if inside is not None:
            raise inside from None
        raise NotWritten(f"{url}: {error}") from error


@contextlib.contextmanager
def read(url: str) -> Iterator[BinaryIO]:
    """Give a file to read from, from its beginning to its end. FileError."""
    files, path = _files(url)
    try:
        file = files.open(path, "rb")
    except Exception as error:
        raise FileError(f"{url}: {error}") from error
    with file:
        yield cast("BinaryIO", _File(url, file, FileError))


def _files(url: str) -> tuple[Any, str]:
    try:
        load("such addresses need", "remote", "fsspec")
        core: Any = importlib.import_module("fsspec.core")
        files, path = core.url_to_fs(url)
    except (ExtraMissing, ImportError, ValueError) as error:
        raise FileError(f"{url}: {error}") from None
    return files, str(path)
