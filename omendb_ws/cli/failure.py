"""How a command fails: one line on stderr for each thing wrong, and an exit code.

The codes stand in README's table too, which a test compares with these.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

#: It did not work.
FAILED: Final = 1
#: It was asked for wrongly: a flag, a setting, a file that it names.
WRONG: Final = 2
#: No server answers there, or it went away.
NO_SERVER: Final = 3
#: Ctrl-C.
INTERRUPTED: Final = 130


def fail(code: int, *lines: str) -> NoReturn:
    """Say ``lines`` on stderr and leave with ``code``."""
    for line in lines:
        print(f"omendb-ws: {line}", file=sys.stderr)
    raise typer.Exit(code)


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
