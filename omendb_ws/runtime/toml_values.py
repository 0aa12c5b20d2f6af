"""JSON values as TOML writes them, on one line: for files that commands make entries of.

Pure. Invariant: ``tomllib`` reads back what was given.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

#: A value that lies deeper is refused; filters end long before (PROTOCOL section 5).
MOST_DEPTH: Final = 64


class TomlValueError(ValueError):
    """What TOML cannot say; the message says what it is, as one line."""


def toml_value(value: Any, depth: int = 0) -> str:
    """``value`` on one line, objects as inline tables. TomlValueError."""
    if depth > MOST_DEPTH:
        raise TomlValueError(f"nested deeper than {MOST_DEPTH}")
    if value is None:
        raise TomlValueError("null, which a TOML file cannot hold")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TomlValueError("a number that is not finite")
        return repr(value)
    if isinstance(value, dict):
        members = [f"{_text(key)} = {toml_value(one, depth + 1)}" for key, one in value.items()]
        return "{ " + ", ".join(members) + " }" if members else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(one, depth + 1) for one in value) + "]"
    raise TomlValueError(f"a value of type {type(value).__name__}")


def _text(text: str) -> str:
    """A basic string: JSON's, but for one more character that must be escaped."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TomlValueError("text with half a surrogate pair") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
