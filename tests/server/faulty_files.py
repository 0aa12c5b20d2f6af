"""The machine's files, of which the next operations fail, or wait, as a test says."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence

from omendb_ws.journal.local.files import Buffer, LocalFiles


class FaultyFiles(LocalFiles):
    """``full``: the name of an operation that finds no room on the disk; None: each finds some.

    ``write_error`` and ``sync_error``: numbers of errno that every write, or flush, fails with.

    ``room_bytes``: how much can still be written before the disk is full; None: it never is. While
    ``gate`` is shut, flushes wait.
    """

    def __init__(self) -> None:
        self.write_error: int | None = None
        self.sync_error: int | None = None
        self.room_bytes: int | None = None
        self.full: str | None = None
        self.gate = threading.Event()
        self.gate.set()

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        self._refuse_if_full("write")
        if self.write_error is not None:
            raise OSError(self.write_error, os.strerror(self.write_error))
        if self.room_bytes is not None:
            wanted = sum(len(memoryview(one).cast("B")) for one in buffers)
            if wanted > self.room_bytes:
                # As a disk does: some of it is written, and the next call says that it is full.
                if not self.room_bytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                part = b"".join(buffers)[: self.room_bytes]
                self.room_bytes = 0
                return super().write(fd, [part], offset)
            self.room_bytes -= wanted
        return super().write(fd, buffers, offset)

    def create(self, path: str) -> int:
        self._refuse_if_full("create")
        return super().create(path)

    def allocate(self, fd: int, size: int) -> None:
        self._refuse_if_full("allocate")
        super().allocate(fd, size)

    def _refuse_if_full(self, operation: str) -> None:
        if self.full == operation:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, fd: int) -> None:
        self.gate.wait()
        if self.sync_error is not None:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        super().sync(fd)
