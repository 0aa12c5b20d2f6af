"""What commands print: tables for people, JSON for programs. Pure, but for ``print_json``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def print_json(document: Mapping[str, Any]) -> None:
    """Print a document on one line; ids above 2**53 - 1 as they are."""
    import orjson

    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    line = orjson.dumps(document, option=option).decode()
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # JSON is text of any letters, or of ASCII: other letters stand in strings only.
        line = re.sub(r"[^\x00-\x7f]", _escaped, line)
    sys.stdout.write(line)


def _escaped(letter: re.Match[str]) -> str:
    units = letter[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    """Aligned columns under a heading; those whose letter in ``right`` is "r" to the right."""
    lines = [heading, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heading))]
    sides = right.ljust(len(heading), "l")
    return "\n".join(
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(line, widths, sides, strict=True)
        ).rstrip()
        for line in lines
    )


def size(count: float | None) -> str:
    """Bytes for people: ``61.0 MiB``; ``-`` where they are not told."""
    if count is None:
        return "-"
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def age(seconds: float | None) -> str:
    """A time span for people: ``4.2 s``, ``3 min``, ``5.1 h``; ``-`` for none."""
    if seconds is None:
        return "-"
    for unit, span in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * span:
            return f"{seconds / span:.1f} {unit}"
    return f"{seconds:.1f} s"


def plain(value: object) -> str:
    """One field of a document for people: one line, no control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else "�" for letter in value)
    import orjson

    return plain(orjson.dumps(value).decode())
