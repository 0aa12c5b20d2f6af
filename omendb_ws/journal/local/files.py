"""The thin layer between the journal and the operating system's files.

Every touch of the disk goes through ``Files``, so that a test can put a disk in its place that
fails, drops and tears. Plain descriptors and positions; no buffered files, nothing is remembered
between calls. Errors are ``OSError`` as they come; what they mean is decided by the callers.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

import numpy as np

#: What is written: bytes, or memory as it lies, as views of single bytes.
Buffer: TypeAlias = bytes | memoryview

#: How many buffers one ``pwritev`` takes; POSIX guarantees 16, Linux and macOS take 1024.
MAX_BUFFERS: Final = 1024


class Files(Protocol):
    """One operation each; ``fd`` is a file descriptor, ``path`` a full name."""

    def create(self, path: str) -> int:
        """Open a file that must not be there yet, for reading and writing."""

    def open(self, path: str, *, write: bool = False) -> int:
        """Open a regular file that is there; no link is followed, nothing else is waited for."""

    def close(self, fd: int) -> None:
        """Close a descriptor."""

    def size(self, fd: int) -> int:
        """Bytes of the file."""

    def read(self, fd: int, buffer: memoryview, offset: int) -> int:
        """Fill ``buffer`` from ``offset`` on; how many bytes came, 0 at the end."""

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write at most MAX_BUFFERS buffers, one after the other; how many bytes were taken."""

    def sync(self, fd: int) -> None:
        """Bring all that was written, and the file's length, to the disk."""

    def allocate(self, fd: int, size: int) -> None:
        """Make the file ``size`` bytes long and reserve them on the disk where that is known."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""

    def sync_directory(self, path: str) -> None:
        """Bring the names in a directory to the disk."""

    def list(self, path: str) -> list[str]:
        """The names in a directory, which is no link."""

    def make_directory(self, path: str) -> None:
        """Make a directory that must not be there yet."""

    def rename(self, old: str, new: str) -> None:
        """Give a file or directory another name."""

    def remove(self, path: str) -> None:
        """Take a file away."""

    def remove_directory(self, path: str) -> None:
        """Take an empty directory away."""


class LocalFiles:
    """``Files`` of the machine."""

    def create(self, path: str) -> int:
        """See Files."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open(self, path: str, *, write: bool = False) -> int:
        """See Files. Opening a FIFO would wait for its other end without O_NONBLOCK."""
        how = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | how)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def close(self, fd: int) -> None:
        """See Files."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """See Files."""
        return os.fstat(fd).st_size

    def read(self, fd: int, buffer: memoryview, offset: int) -> int:
        """See Files."""
        return os.preadv(fd, [buffer], offset)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """See Files."""
        return os.pwritev(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        """See Files. On macOS fsync stops at the drive's cache; F_FULLFSYNC goes through it."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def allocate(self, fd: int, size: int) -> None:
        """See Files. Where nothing can be reserved (macOS, some file systems) it is only longer."""
        if sys.platform == "darwin":
            os.ftruncate(fd, size)
            return
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
            os.ftruncate(fd, size)

    def truncate(self, fd: int, size: int) -> None:
        """See Files. Brought to the disk here: fdatasync need not write a length that shrank."""
        os.ftruncate(fd, size)
        if sys.platform == "darwin":
            self.sync(fd)
        else:
            os.fsync(fd)

    def sync_directory(self, path: str) -> None:
        """See Files."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if sys.platform == "darwin":
                self.sync(fd)
            else:
                os.fsync(fd)
        finally:
            os.close(fd)

    def list(self, path: str) -> list[str]:
        """See Files."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def make_directory(self, path: str) -> None:
        """See Files."""
        os.mkdir(path, 0o700)

    def rename(self, old: str, new: str) -> None:
        """See Files."""
        os.rename(old, new)

    def remove(self, path: str) -> None:
        """See Files."""
        os.unlink(path)

    def remove_directory(self, path: str) -> None:
        """See Files."""
        os.rmdir(path)


def write_all(files: Files, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
    """Write every byte of ``buffers`` at ``offset``, however few of them a call takes.

    Raises OSError; how much was written then is unknown.
    """
    waiting = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while waiting:
        try:
            taken = files.write(fd, waiting[:MAX_BUFFERS], offset)
        except InterruptedError:
            continue
        if taken <= 0:
            raise OSError(errno.EIO, "the file takes no more bytes")
        offset += taken
        done = 0
        while done < len(waiting) and taken >= len(waiting[done]):
            taken -= len(waiting[done])
            done += 1
        waiting = waiting[done:]
        if taken:
            waiting[0] = waiting[0][taken:]


def read_all(files: Files, fd: int, size: int, offset: int = 0) -> memoryview:
    """Bytes ``offset … offset + size`` of a file; fewer where it ends.

    Into memory that nobody has written to before: with a bytearray, which is zeroed page by page,
    reading 50 MiB takes 22 ms instead of 5.
    """
    view = np.empty(size, np.uint8).data
    done = 0
    while done < size:
        try:
            count = files.read(fd, view[done:], offset + done)
        except InterruptedError:
            continue
        if not count:
            break
        done += count
    return view[:done]


def sync_all(files: Files, fd: int) -> None:
    """``Files.sync``, begun again if a signal came before it did anything.

    Nothing else is ever retried: after a failed flush the kernel may have forgotten the pages.
    """
    while True:
        try:
            files.sync(fd)
        except InterruptedError:
            continue
        return
