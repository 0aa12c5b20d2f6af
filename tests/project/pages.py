"""Reads the project's Markdown pages: tables and code blocks, and where the project lies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
#: What pages begin with that are made from the code.
MADE = "<!-- Made by "


class Block(NamedTuple):
    language: str
    text: str


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def handwritten() -> list[str]:
    """README and every page of docs/ that is not made from the code, by name."""
    found = [
        path
        for path in (ROOT / "docs").rglob("*.md")
        if not path.read_text("utf-8").startswith(MADE)
    ]
    return ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in found)]


def section(text: str, heading: str) -> str:
    """What stands under ``heading`` (with its #) up to the next of its level, without code."""
    level = len(heading.split(" ")[0])
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    end = rf"(?=^#{{1,{level}}} |\Z)"
    found = re.search(rf"^{re.escape(heading)}\n(.*?){end}", prose, re.M | re.S)
    assert found, f"there is no section {heading!r}"
    return found[1]


def tables(text: str) -> list[list[list[str]]]:
    """Every table: its rows without the ruler, the heading first, each a list of cells."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                rows.append(cells)
        elif rows:
            found.append(rows)
            rows = []
    return found


def table(text: str, *heading: str) -> list[list[str]]:
    """The rows of the one table whose heading begins with ``heading``."""
    fitting = [rows[1:] for rows in tables(text) if rows[0][: len(heading)] == list(heading)]
    assert len(fitting) == 1, f"{len(fitting)} tables begin with {heading}"
    return fitting[0]


def names(cell: str) -> list[str]:
    """Every `name` in a cell, in order."""
    return re.findall(r"`([^`]+)`", cell)


def blocks(text: str) -> list[Block]:
    """Every fenced block of code."""
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)]


def number(text: str) -> int:
    """`16 MiB`, `10,000`, `4096` as an integer."""
    amount, _, unit = text.replace(",", "").partition(" ")
    return int(amount) * {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
