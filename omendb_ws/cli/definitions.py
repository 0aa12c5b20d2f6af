"""The flags that say what a collection is: of ``create``, and of ``load --create``."""

from __future__ import annotations

import re
from typing import Annotated, Any

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

Shards = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="How many windows it is cut into; not everything is there for several yet.",
        show_default="1",
    ),
]

Replicas = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="How many nodes of a cluster hold it.",
        show_default="2, or all if there are fewer",
    ),
]


def parse_columns(text: str) -> dict[str, str]:
    """``price:f64,kind:str`` as names and types; fails on anything else. Empty: no columns."""
    types = _choices("columns")
    columns: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, kind = part.rpartition(":")
        if not colon or kind not in types or not re.fullmatch(r"[\w.-]+", name):
            fail(WRONG, f"--columns {part}: must be NAME:TYPE, the type one of {', '.join(types)}")
        if name in columns:
            fail(WRONG, f"--columns {name}: stands there twice")
        columns[name] = kind
    return columns


def given(**fields: Any) -> dict[str, Any]:
    """The fields of a definition that were given, checked as far as that takes no server."""
    found = {name: value for name, value in fields.items() if value is not None}
    for name in ("metric", "ids", "durability"):
        if name in found and found[name] not in (choices := _choices(name)):
            fail(WRONG, f"--{name} {found[name]}: must be one of {', '.join(choices)}")
    if "columns" in found:
        found["columns"] = parse_columns(found["columns"])
    return found


def _choices(name: str) -> tuple[str, ...]:
    """What the protocol takes for a field of ``create``."""
    from ..wire.opcodes import OPS  # which imports numpy: help must not

    return next(field.choices for field in OPS["create"].fields if field.name == name)
