"""Extras of the package that a setting needs, and that are not installed."""

from __future__ import annotations

import shlex
import sys


class ExtraMissing(Exception):
    """What a setting needs is not installed; the message says how it is."""


def needed(what: str, extra: str) -> str:
    """The message. The pip that it names is of this interpreter: nobody need activate a
    virtual environment to have what runs in it."""
    return f"{what} the extra {extra}: {pip_install(f'omendb-ws[{extra}]')}"


def pip_install(package: str) -> str:
    """The command that installs ``package`` where this program runs."""
    return shlex.join([sys.executable, "-m", "pip", "install", package])
