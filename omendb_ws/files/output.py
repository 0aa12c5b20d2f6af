"""Writing a file that is there whole or not at all: beside it first, then under its name.

What is no regular file (a FIFO, a device, a pipe behind ``/dev/fd/63``) cannot be replaced, and is
written to; a symbolic link keeps pointing where it points, and its target is replaced. A file that
is replaced keeps its permissions, and its owner as far as one may.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO, cast

from .chunks import FileError
from .formats import STANDARD


class NotWritten(FileError):
    """A file that could not be written to its end, as on a full disk; nothing is there of it."""


class _Stream(io.FileIO):
    """What is written from its beginning to its end, whatever a device says of seeking."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def written(path: str, *, replace: bool) -> Iterator[BinaryIO]:
    """Give a file to write to; it takes the name ``path`` ("-": standard output) when all is well.

    Raises FileError: it is there already (unless ``replace``) or cannot be made; NotWritten.
    """
    if path == STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    there = _state(path)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise FileError(f"{path}: is a directory")
    is_stream = there is not None and not stat.S_ISREG(there.st_mode)
    # Nothing is lost by writing to a FIFO or a terminal; a disk is another matter.
    if there is not None and not replace and not (is_stream and not stat.S_ISBLK(there.st_mode)):
        raise FileError(f"{path}: is there already; --force writes over it")
    if is_stream:
        with _streamed(path) as file:
            yield file
        return
    with _beside(path, there) as file:
        yield file


def _state(path: str) -> os.stat_result | None:
    """What is there, behind links; None if nothing is. Raises FileError."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise FileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


@contextlib.contextmanager
def _streamed(path: str) -> Iterator[BinaryIO]:
    try:
        raw = _Stream(path, "w")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    file = cast(BinaryIO, io.BufferedWriter(raw))
    try:
        with _writing(path):
            yield file
            file.flush()
    finally:
        with contextlib.suppress(OSError):
            file.close()


@contextlib.contextmanager
def _beside(path: str, there: os.stat_result | None) -> Iterator[BinaryIO]:
    target = os.path.realpath(path)
    beside = os.path.join(os.path.dirname(target), f".omendb-{secrets.token_hex(8)}.part")
    try:
        file = open(beside, "xb")  # noqa: SIM115 - closed below, before it takes its name
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}") from error
    try:
        with _writing(path):
            with file:
                yield file
                if there is not None:
                    with contextlib.suppress(OSError, AttributeError):
                        os.fchown(file.fileno(), there.st_uid, there.st_gid)
                    os.chmod(beside, stat.S_IMODE(there.st_mode))
            os.replace(beside, target)
    finally:
        with contextlib.suppress(OSError):
            file.close()
        with contextlib.suppress(OSError):
            os.unlink(beside)


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, ConnectionError):
        raise
    except OSError as error:
        raise NotWritten(f"{path}: {error.strerror or error}") from error
