"""A command in a terminal of its own: what it draws, what it is typed, and how it leaves it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import pyte

from tests.cli.commands import TIMEOUT_SECONDS, environment

#: Takes the terminal as its own, as a shell's child has it, and becomes the command.
_LAUNCH = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
ENTER_SCREEN, LEAVE_SCREEN, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


class Terminal:
    """A terminal of ``columns`` × ``lines`` that ``command`` runs in; ``drawn``: every byte."""

    def __init__(self, command: list[str], columns: int, lines: int, **variables: str) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.drawn = b""
        self._leader, self._follower = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._follower)
        variables = {"TERM": "xterm-256color", "COLUMNS": "", "NO_COLOR": "", **variables}
        given = {
            name: text for name, text in environment(**variables).items()
            if text or name not in variables
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, sys.executable, *command],
            stdin=self._follower, stdout=self._follower, stderr=self._follower,
            env=given, start_new_session=True,
        )  # fmt: skip

    def resize(self, columns: int, lines: int) -> None:
        """Make it another size, as dragging a corner does."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._leader, keys)

    @property
    def makes_writers_wait(self) -> bool:
        """Whether who writes to it when it is full waits, as the command found it, or fails."""
        return os.get_blocking(self._follower)

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, *texts: str) -> str:
        """Return the screen when all of ``texts`` are on it."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while not all(text in self.text for text in texts):
            assert time.monotonic() < end, f"{texts} never came:\n{self.text}\n{self.drawn!r}"
            if not self._read(0.2) and (code := self.process.poll()) is not None:
                raise AssertionError(f"it ended with {code}:\n{self.text}\n{self.drawn[-2000:]!r}")
        return self.text

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._leader], [], [], seconds)
        if not ready:
            return False
        data = os.read(self._leader, 65_536)
        self.drawn += data
        self._stream.feed(data)
        return True

    def finish(self) -> int:
        """Wait for the end; the exit code. The terminal must be as it was."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end:\n{self.text}"
            self._read(0.05)
        while self._read(0.0):
            pass
        assert termios.tcgetattr(self._follower) == self.before, "the terminal is not as it was"
        assert self.makes_writers_wait
        return int(self.process.returncode)

    def close(self) -> None:
        """End what still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._leader)
        os.close(self._follower)


@contextlib.contextmanager
def terminal(
    *arguments: object, columns: int = 80, lines: int = 24, code: str = "", **variables: str
) -> Iterator[Terminal]:
    """``omendb-ws`` with ``arguments`` in a terminal; ``code`` runs before it, in its process."""
    words: list[Any] = ["-m", "omendb_ws", *arguments]
    if code:
        words = ["-c", f"{code}\nfrom omendb_ws.cli import main\nmain()", *arguments]
    made = Terminal([str(one) for one in words], columns, lines, **variables)
    try:
        yield made
    finally:
        made.close()
