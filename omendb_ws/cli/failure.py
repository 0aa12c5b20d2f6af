"""How a command fails: one line on stderr for each thing wrong, and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer


def fail(*lines: str, wrong: bool = False) -> NoReturn:
    """Say ``lines`` on stderr; leave with 1 (it did not work), or 2 if it was asked ``wrong``."""
    for line in lines:
        print(f"omendb-ws: {line}", file=sys.stderr)
    raise typer.Exit(2 if wrong else 1)
