"""The flags that say what a collection is: of ``create``, and of ``load --create``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import typer

from .failure import WRONG, fail

Metric = Annotated[
    str | None,
    typer.Option(metavar="cosine|dot|l2", help="How rows are scored.", show_default="cosine"),
]
Capacity = Annotated[int | None, typer.Option(help="How many of the newest rows the window keeps.")]
Ids = Annotated[
    str | None,
    typer.Option(metavar="u64|str|auto", help="Kind of the ids; auto numbers rows by itself."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:TYPE,…",
        help="Metadata that filters may use; types are f64, i64, bool, str.",
    ),
]
Ttl = Annotated[float | None, typer.Option(help="Seconds after which a row leaves.")]
Durability = Annotated[
    str | None,
    typer.Option(
        metavar="memory|everysec|always",
        help="How safe an acknowledged row is.",
        show_default="the server's",
    ),
]

_CHOICES: Final = {
    "metric": ("cosine", "dot", "l2"),
    "ids": ("u64", "str", "auto"),
    "durability": ("memory", "everysec", "always"),
}
_TYPES: Final = ("f64", "i64", "bool", "str")


def parse_columns(text: str) -> dict[str, str]:
    """``price:f64,kind:str`` as names and types; fails on anything else. Empty: no columns."""
    columns: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, kind = part.rpartition(":")
        if not colon or kind not in _TYPES or not re.fullmatch(r"[\w.-]+", name):
            fail(WRONG, f"--columns {part}: must be NAME:TYPE, the type one of {', '.join(_TYPES)}")
        if name in columns:
            fail(WRONG, f"--columns {name}: stands there twice")
        columns[name] = kind
    return columns


def given(**fields: Any) -> dict[str, Any]:
    """The fields of a definition that were given, checked as far as that takes no server."""
    found = {name: value for name, value in fields.items() if value is not None}
    for name, choices in _CHOICES.items():
        if name in found and found[name] not in choices:
            fail(WRONG, f"--{name} {found[name]}: must be one of {', '.join(choices)}")
    if "columns" in found:
        found["columns"] = parse_columns(found["columns"])
    return found
