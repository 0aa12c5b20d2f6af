"""How a command fails: one line on stderr for each thing wrong, and an exit code.

``docs/reference/command-line.md`` says what they mean; a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

import typer

#: It did not work.
FAILED: Final = 1
#: It was asked for wrongly: a flag, a setting, a file that it names.
WRONG: Final = 2
#: No server answers there, or it went away.
NO_SERVER: Final = 3
#: It was asked for, and is not so yet: only the waiting ended.
LATE: Final = 4
#: Ctrl-C.
INTERRUPTED: Final = 130


def fail(code: int, *lines: str) -> NoReturn:
    """Say ``lines`` on stderr and leave with ``code``."""
    say(*lines)
    raise typer.Exit(code)


def say(*lines: str) -> None:
    """Say ``lines`` on stderr, each as one line; where that cannot be written, nobody hears it."""
    with suppress(OSError):
        for line in lines:
            text = "".join(letter if letter.isprintable() else "�" for letter in line)
            print(f"omendb-ws: {text}", file=sys.stderr)


@contextmanager
def failing(*kinds: type[Exception], code: int = WRONG) -> Iterator[None]:
    """Turn exceptions of ``kinds`` into ``fail(code, …)``, with each line of their text."""
    try:
        yield
    except kinds as error:
        fail(code, *str(error).splitlines())


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C into ``fail(INTERRUPTED, …)``."""
    try:
        yield
    except KeyboardInterrupt:
        fail(INTERRUPTED, "interrupted")
