"""Standard output that may be full, closed, gone, or narrower than Unicode.

A write that fails raises ``OutputFailed``, whatever wrote, so that it is told from every other
OSError; a reader that went away raises BrokenPipeError, as always. What the output's encoding does
not have is written with backslashes. Knows file descriptors, no command.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputFailed(Exception):
    """Standard output cannot be written; the message says why."""


class _Descriptor(io.FileIO):
    """Standard output unbuffered; says which file it was that could not be written."""

    def write(self, data: ReadableBuffer, /) -> Any:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputFailed(error.strerror or str(error)) from None


class _Closed(io.RawIOBase):
    """Standard output that the process was started without."""

    def writable(self) -> bool:
        return True

    def write(self, _: ReadableBuffer, /) -> Any:
        raise OutputFailed(os.strerror(errno.EBADF))


def guard() -> None:
    """Put it in the place of ``sys.stdout``; and give what was closed something to hold on to.

    Without that a file or socket opened later would be number 0, 1 or 2, and take what is printed.
    """
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            if name != "stdout":
                setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
    before = sys.stdout
    raw: io.RawIOBase = _Closed()
    if before is not None:
        with suppress(OSError):
            before.flush()
        raw = _Descriptor(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace",
        line_buffering=before is not None and bool(before.line_buffering),
    )


def let_go() -> None:
    """Write nothing more: what is still kept for standard output goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    buffered = sys.stdout
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
    with suppress(OSError, ValueError, OutputFailed):
        buffered.flush()
