"""Reading a TOML file that somebody wrote by hand: whatever is in it, one line says what is wrong.

Knows the file system and TOML; nothing of what the file is for. At most ``MAX_BYTES`` are read.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

#: No file of settings or keys is larger; what is longer is something else, or never ends.
MAX_BYTES: Final = 4 << 20


class TomlFileError(ValueError):
    """A file that cannot be read or is no TOML; the message says why in a line, not its name."""


def read_text(path: str | Path) -> str:
    """The text of ``path``. Raises TomlFileError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise TomlFileError(getattr(error, "strerror", None) or str(error)) from None
    if len(data) > MAX_BYTES:
        raise TomlFileError(f"longer than {MAX_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise TomlFileError(f"not UTF-8 text: {error.reason} at byte {error.start}") from None


def parse(text: str) -> dict[str, Any]:
    """The document in ``text``. Raises TomlFileError."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise TomlFileError("not TOML: nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError is one, and so is an integer of 5,000 digits
        raise TomlFileError(f"not TOML: {' '.join(str(error).split())}") from None


def shown(value: object, most: int = 80) -> str:
    """``value`` as a message shows it: its ``repr`` in at most ``most`` characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[: most - 2]} …"
