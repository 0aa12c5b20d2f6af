"""Small pieces of Markdown: tables, numbers, and docstrings as prose. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Final

#: First on every page that is made here.
MADE: Final = "<!-- Made by `make reference` from the code: change it there. -->\n\n"

_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells may hold ``|``."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def code(text: str) -> str:
    """Text as `code`."""
    return f"`{text}`"


def codes(texts: Iterable[str]) -> str:
    """Each text as `code`, with commas."""
    return ", ".join(code(text) for text in texts)


def number(value: float, *, is_bytes: bool = False) -> str:
    """1000 as 1,000; where it counts bytes, 16777216 as 16 MiB."""
    if is_bytes:
        for size, unit in _UNITS:
            if value >= size and value % size == 0:
                return f"{value // size:,.0f} {unit}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def prose(docstring: str | None) -> str:
    """A docstring as Markdown: ``name`` as `name`, indentation gone."""
    text = inspect.cleandoc(docstring or "")
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def first_sentence(docstring: str | None) -> str:
    """What a docstring begins with, as one line."""
    paragraph = " ".join(prose(docstring).split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", paragraph)[0]


def sentence(text: str) -> str:
    """``text`` with a capital and without a full stop, as cells have it."""
    return f"{text[:1].upper()}{text[1:]}".rstrip(".")
