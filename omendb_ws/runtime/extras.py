"""Extras of the package that a setting needs, and that are not installed."""

from __future__ import annotations

import importlib
import shlex
import sys


class ExtraMissing(Exception):
    """What a setting needs is not installed; the message says how it is."""


def load(what: str, extra: str, *modules: str) -> None:
    """Load what ``extra`` installs. ExtraMissing; it says so where one is there and is broken."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            package, missing = name.partition(".")[0], (error.name or "").partition(".")[0]
            is_missing = isinstance(error, ModuleNotFoundError) and package == missing
            why = "" if is_missing else f"; {name} is installed and cannot be loaded: {error}"
            raise ExtraMissing(needed(what, extra) + why) from None


def needed(what: str, extra: str) -> str:
    """The message. The pip that it names is of this interpreter: nobody need activate a
    virtual environment to have what runs in it."""
    return f"{what} the extra {extra}: {pip_install(f'omendb-ws[{extra}]')}"


def pip_install(package: str) -> str:
    """The command that installs ``package`` where this program runs."""
    return shlex.join([sys.executable, "-m", "pip", "install", package])
