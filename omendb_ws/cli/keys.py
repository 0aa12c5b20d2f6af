"""Keys of a terminal, one by one, while a full-screen view is up; and the terminal as it was after.

POSIX terminals. Without one (Windows' console has no termios) there are no keys, and Ctrl-C ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

#: What terminals send for keys that are no character: with ESC [ or ESC O before it.
_SEQUENCES: Final = {
    b"A": "up", b"B": "down", b"C": "right", b"D": "left", b"H": "home", b"F": "end",
    b"5~": "pageup", b"6~": "pagedown", b"1~": "home", b"4~": "end", b"7~": "home", b"8~": "end",
}  # fmt: skip
_CONTROL: Final = {"\r": "enter", "\n": "enter", "\x1b": "escape"}


def names(data: bytes) -> list[str]:
    """The keys in what one read of a terminal gave; unknown sequences are passed over."""
    found = []
    while data:
        if data[:2] in (b"\x1b[", b"\x1bO"):
            end = 2
            while end < len(data) and not 0x40 <= data[end] <= 0x7E:
                end += 1
            name = _SEQUENCES.get(data[2 : end + 1])
            data = data[end + 1 :]
            found += [] if name is None else [name]
            continue
        letter, data = data[:1].decode("latin1"), data[1:]
        found.append(_CONTROL.get(letter, letter))
    return found


@contextmanager
def unbuffered() -> Iterator[int | None]:
    """Have the terminal hand over keys as they are pressed, unseen; give its file descriptor.

    Whatever happens inside, the terminal is as before afterwards. None where there is none.
    """
    try:
        import termios
        import tty
    except ImportError:
        yield None
        return
    if not sys.stdin.isatty():
        yield None
        return
    terminal = sys.stdin.fileno()
    before: list[Any] = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSANOW)
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def read(terminal: int) -> list[str]:
    """The keys that wait. Nothing is read twice, nothing is waited for."""
    return names(os.read(terminal, 64))
