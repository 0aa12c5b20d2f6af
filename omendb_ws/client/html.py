"""What notebooks show of answers and collections: HTML, in which everything is escaped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

#: Rows and characters of a value that are shown; of a vector so many numbers.
SHOWN_ROWS: Final = 20
SHOWN_CHARACTERS: Final = 80
SHOWN_NUMBERS: Final = 4


def of_rows(
    columns: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] | None, version: int
) -> str:
    """A table of rows, the first SHOWN_ROWS of them."""
    count = len(columns["seq"])
    keys = list(dict.fromkeys(key for row in (metadata or ())[:SHOWN_ROWS] for key in row))
    rows = []
    for at in range(min(count, SHOWN_ROWS)):
        of_row = metadata[at] if metadata is not None else {}
        rows.append([*(values[at] for values in columns.values()), *map(of_row.get, keys)])
    shown = f"the first {SHOWN_ROWS} of {count}" if count > SHOWN_ROWS else str(count)
    caption = f"{shown} row{'' if count == 1 else 's'}, version {version}"
    return table([*columns, *keys], rows, caption)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> str:
    """A table with a line of names."""
    names = "".join(f"<th>{escape(one)}</th>" for one in head)
    lines = "".join(
        f"<tr>{''.join(f'<td>{escape(shown(one))}</td>' for one in row)}</tr>" for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"
    )


def shown(value: object) -> str:
    """A value as text, cut; None, and NaN for a number that is not there, are nothing."""
    if isinstance(value, np.ndarray):
        numbers = ", ".join(f"{one:.4g}" for one in value[:SHOWN_NUMBERS].tolist())
        return f"[{numbers}{', …' if len(value) > SHOWN_NUMBERS else ''}]"
    if value is None or value != value:
        return ""
    text = f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
