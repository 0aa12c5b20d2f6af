"""Lines into a file, by a thread of its own: ``put`` never waits, whatever the disk does.

What cannot be written waits and is tried again, up to ``MOST_LINES`` and ``MOST_BYTES``; what comes
beyond that is counted, and the count stands in the file where the lines are missing. The file is a
regular one of its owner's alone, never reached by a link. It is opened again when its name stands
for another file, or none: whoever rotates it renames it, and need tell nobody.

Knows files and threads, and not what the lines say. Invariant: nothing but whole lines stays in the
file, also where a write took half of one.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

#: What may wait for a disk: some seconds of what a busy server has to say.
MOST_LINES: Final = 20_000
MOST_BYTES: Final = 8 << 20
#: How soon what failed is tried again.
RETRY_SECONDS: Final = 1.0
#: How long the end waits for the disk.
CLOSE_SECONDS: Final = 5.0
_MODE: Final = 0o600
#: Without O_NONBLOCK, opening a pipe could wait for its other end. Not every system has them all.
_SAFELY: Final = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)

#: As names of their own, so that tests can have them fail.
_open, _write = os.open, os.write


def open_lines(path: str, *, create: bool = True) -> int:
    """A descriptor of the file to append to. OSError, also if it is no regular file."""
    flags = os.O_RDWR | os.O_APPEND | _SAFELY | (os.O_CREAT if create else 0)
    number = _open(path, flags, _MODE)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "is no regular file")
    return number


def check(path: str) -> tuple[str, ...]:
    """What is unwise about a file that is to be written; it is not made. OSError if it cannot be.

    Its directory must let one be made, for the time after it was rotated.
    """
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise OSError(errno.ENOENT, f"the directory {directory} is not there")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, f"no file can be made in {directory}")
    if not os.path.lexists(path):
        return ()
    number = open_lines(path, create=False)
    try:
        mode = os.fstat(number).st_mode
    finally:
        os.close(number)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return (f"{path} is open to other users (mode {mode & 0o777:o}): chmod 600",)
    return ()


class LineFile:
    """``put`` and ``reopen`` on any thread; ``start`` and ``close`` once each.

    ``lost_line(count)`` makes the line that says how many are missing. ``failures``: opens and
    writes that failed; ``dropped``: lines for which there was no room.
    """

    def __init__(self, path: str, lost_line: Callable[[int], bytes]) -> None:
        self.path = path
        self.failures = 0
        self.dropped = 0
        self._lost_line = lost_line
        self._number = -1
        self._begins_anew = False
        #: With it: all below.
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        #: Lines and bytes that are not in the file, those that are being written too.
        self._lines = self._bytes = 0
        self._lost = 0
        self._must_reopen = self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="omendb-lines", daemon=True)

    def start(self) -> None:
        """Open it, and begin. OSError if it cannot be opened."""
        self._open()
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Have ``line``, which ends with a newline, written some time soon."""
        with self._changed:
            no_room = self._lines >= MOST_LINES or self._bytes + len(line) > MOST_BYTES
            if no_room or self._lost:  # what is lost is said before anything else is taken
                self._lost += 1
                self.dropped += 1
                return
            self._waiting.append(line)
            self._lines += 1
            self._bytes += len(line)
            self._changed.notify()

    def reopen(self) -> None:
        """Open the file by its name again: somebody moved it away."""
        with self._changed:
            self._must_reopen = True
            self._changed.notify()

    def close(self) -> None:
        """Write what waits and flush it to the disk; a disk that hangs is not waited for."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.ident is None:  # it was never started
            self._close_file()
            return
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive() or self._lines:
            log.error("%s: %d lines could not be written", self.path, self._lines)

    # -- its thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        is_over = False
        while not is_over:
            with self._changed:
                while not (self._waiting or self._lost or self._must_reopen or self._is_closing):
                    self._changed.wait()
                is_over = self._is_closing
                lines = self._take()
            self._write_all(b"".join(lines))
        self._close_file()

    def _take(self) -> list[bytes]:
        """What waits, and how many are missing behind it."""
        lines, self._waiting = self._waiting, []
        if self._lost:
            said = self._lost_line(self._lost)
            self._lost = 0
            self._lines += 1
            self._bytes += len(said)
            lines.append(said)
        return lines

    def _write_all(self, data: bytes) -> None:
        """Write ``data``, however often it takes; at the end, once."""
        has_failed = False
        while True:
            with self._changed:
                is_last = self._is_closing  # looked at before: what is there by then is written
            try:
                self._look()
                while data:
                    data = self._write_some(data)
            except OSError as error:
                self.failures += 1
                if not has_failed:
                    log.error("%s cannot be written: %s", self.path, error.strerror or error)
                has_failed = True
            else:
                if has_failed:
                    log.info("%s can be written again", self.path)
                return
            if is_last:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing, RETRY_SECONDS)

    def _write_some(self, data: bytes) -> bytes:
        """Write as many whole lines as go in; the others. OSError if that is none."""
        before_bytes = os.fstat(self._number).st_size
        if self._begins_anew:
            _write(self._number, b"\n")
            self._begins_anew = False
            return data
        written = _write(self._number, data)
        whole = data.rfind(b"\n", 0, written) + 1
        if whole != written:
            self._cut(before_bytes + written, before_bytes + whole)
        self._is_written(data[:whole])
        if not whole:
            raise OSError(errno.ENOSPC, "no room for a line")
        return data[whole:]

    def _is_written(self, data: bytes) -> None:
        with self._changed:
            self._lines -= data.count(b"\n")
            self._bytes -= len(data)

    def _cut(self, from_bytes: int, to_bytes: int) -> None:
        """Take half a line away, unless somebody else did something to the file."""
        with suppress(OSError):
            if os.fstat(self._number).st_size == from_bytes:
                os.ftruncate(self._number, to_bytes)
                return
        self._begins_anew = True

    def _look(self) -> None:
        """Open the file again if its name stands for another one."""
        with self._changed:
            must_reopen, self._must_reopen = self._must_reopen, False
        if must_reopen or not self._is_there():
            self._close_file()
        if self._number < 0:
            self._open()

    def _is_there(self) -> bool:
        if self._number < 0:
            return False
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return os.path.samestat(named, os.fstat(self._number))

    def _open(self) -> None:
        self._number = open_lines(self.path)
        # A process that died in the middle of a line left half of one.
        self._begins_anew = False
        if os.fstat(self._number).st_size:
            os.lseek(self._number, -1, os.SEEK_END)
            self._begins_anew = os.read(self._number, 1) != b"\n"

    def _close_file(self) -> None:
        if self._number >= 0:
            number, self._number = self._number, -1
            with suppress(OSError):
                os.fsync(number)
            with suppress(OSError):
                os.close(number)
