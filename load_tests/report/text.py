"""Small pieces of HTML: numbers as text, tables. Everything that comes in is escaped here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def html(value: object) -> Html:
    """Anything as HTML: None is a dash, numbers get thousands separators."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("–")
    if isinstance(value, bool):
        return Html("yes" if value else "no")
    if isinstance(value, int):
        return Html(f"{value:,}")
    if isinstance(value, float):
        return Html(number(value))
    if isinstance(value, (list, tuple)):
        return Html(", ".join(html(one) for one in value) or "–")
    return Html(escape(str(value)))


def number(value: float) -> str:
    """Three significant digits, more before the point."""
    magnitude = abs(value)
    if magnitude >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:,.{1 if magnitude >= 10 else 2 if magnitude >= 1 else 3}f}"


def share(value: float | None) -> str | None:
    """A share of 1, rounded down: what is below 1 never looks like 1."""
    if value is None:
        return None
    return "1.0" if value >= 1 else f"{math.floor(value * 1e6) / 1e6:.6f}".rstrip("0").rstrip(".")


def mebibytes(value: float | None) -> str | None:
    """Bytes as MiB."""
    return None if value is None else f"{number(value / (1 << 20))} MiB"


def percent(value: float | None) -> str | None:
    return None if value is None else f"{number(value)}%"


def judged(is_good: bool | None) -> Html:
    """Yes or no, in colour; a dash where there is nothing to judge."""
    if is_good is None:
        return html(None)
    return Html(f'<span class="{"good" if is_good else "bad"}">{"yes" if is_good else "no"}</span>')


def bad_if(value: object, is_bad: bool) -> Html:
    return Html(f'<span class="bad">{html(value)}</span>') if is_bad else html(value)


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """A table with a heading."""
    head = "".join(f"<th>{html(one)}</th>" for one in heading)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return Html(
        f'<div class="card"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(title: str, pairs: Iterable[tuple[str, Any]]) -> Html:
    """A table of names and values, under a title."""
    body = "\n".join(
        f"<tr><td>{html(name)}</td><td>{html(value)}</td></tr>" for name, value in pairs
    )
    return Html(
        f'<section><h3>{html(title)}</h3><div class="card"><table class="facts">'
        f"<tbody>{body}</tbody></table></div></section>"
    )
