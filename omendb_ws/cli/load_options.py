"""The flags of ``load`` that are its own, each as a type; what they mean is in ``load.py``."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import typer

from .failure import WRONG, fail
from .options import finite

_FORMATS: Final = "npy|fvecs|bvecs|jsonl|parquet|arrow"

Format = Annotated[
    str | None, typer.Option(metavar=_FORMATS, help="Format, where the name does not tell it.")
]
File = Annotated[str, typer.Argument(help="The file; - is standard input.")]
IdsFrom = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.npy|rows",
        help="Ids from an array (n,) of integers or text; rows: the numbers of the rows.",
        show_default="the field id; rows where rows have no fields",
    ),
]
IdField = Annotated[str, typer.Option(help="The field with the id (jsonl, parquet).")]
VectorField = Annotated[str, typer.Option(help="The field with the vector.")]
FieldNames = Annotated[
    str | None,
    typer.Option(metavar="NAME,…", help="Fields that become metadata.", show_default="all others"),
]
Times = Annotated[
    str,
    typer.Option(
        metavar="text|seconds",
        help="Timestamps and dates (parquet, arrow) as text, or as Unix seconds, which filters"
        " take.",
    ),
]
Create = Annotated[bool, typer.Option("--create", help="Create the collection if it is not there.")]
Dim = Annotated[int | None, typer.Option(help="With --create.", show_default="the file's")]
Capacity = Annotated[
    int | None,
    typer.Option(
        help="With --create: how many of the newest rows it keeps.",
        show_default="all of the file, where it tells how many",
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(min=0.001, callback=finite, help="Rows a second, as a stream would bring them."),
]
BatchRows = Annotated[
    int | None, typer.Option(min=1, help="Rows of one add.", show_default="256 KiB of them")
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out rows that cannot go in, and count them.")
]
UnlessNear = Annotated[
    float | None,
    typer.Option(
        metavar="SCORE",
        callback=finite,
        help="Leave out rows that score this much or more against one that is there, and count"
        " them.",
    ),
]
Producer = Annotated[
    str | None,
    typer.Option(
        help="Name that a second run goes on under.",
        show_default="made of the file's path, size and time",
    ),
]
Again = Annotated[
    bool, typer.Option("--again", help="Load everything, whatever was loaded before.")
]


def checked_times(times: str) -> Literal["text", "seconds"]:
    """``times``; fails unless it is one of those that ``--times`` takes."""
    from ..files.fields import TIMES

    known = {one: one for one in TIMES}
    if times not in known:
        fail(WRONG, f"--times {times}: must be one of {', '.join(TIMES)}")
    return known[times]
