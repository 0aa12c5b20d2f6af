"""Options of ``search`` that shape an answer: examples, exclusions, order and selection.

From words of the command line to arguments of ``Client.search``; a slip fails in one line that
names the option. What the values may be is for the client and the server to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from .failure import WRONG, fail

#: Of the largest number that is an id.
_ID_DIGITS: Final = 20

Positive = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Like this row, instead of a vector; repeatable."),
]
Negative = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Unlike this row, with --positive; repeatable."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="ID", help="Leave this row out; repeatable.")
]
Decay = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Newer is better: a score counts half after so long."),
]
DecayColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The rows' Unix seconds for --decay; else when they came."),
]
Rank = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help='Order by this, as \'{"$mul": ["$score", "price"]}\'; see PROTOCOL 5.'
    ),
]
GroupBy = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="At most --group-size rows of each value.")
]
GroupSize = Annotated[int | None, typer.Option(metavar="N", help="For --group-by; 1 by default.")]
Spread = Annotated[
    float | None,
    typer.Option(metavar="SCORE", help="No row that scores this or more with one before it."),
]
Mmr = Annotated[
    float | None,
    typer.Option(metavar="LAMBDA", help="Weigh nearness (1) against likeness among them (0)."),
]
Candidates = Annotated[
    int | None, typer.Option(metavar="N", help="How many rows --mmr chooses from; 10 k by default.")
]
At = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="The Unix time that ages and weights count to; else now."),
]


@dataclass(frozen=True, slots=True)
class Shaping:
    """The options as they came."""

    positive: list[str] | None
    negative: list[str] | None
    exclude: list[str] | None
    decay: float | None
    decay_column: str | None
    rank: str | None
    group_by: str | None
    group_size: int | None
    spread: float | None
    mmr: float | None
    candidates: int | None
    at: float | None

    def check(self) -> None:
        """Fail where an option stands without the one that it belongs to."""
        for name, value, needed, other in (
            ("--negative", self.negative, "--positive", self.positive),
            ("--decay-column", self.decay_column, "--decay", self.decay),
            ("--group-size", self.group_size, "--group-by", self.group_by),
            ("--candidates", self.candidates, "--mmr", self.mmr),
        ):
            if value is not None and value != [] and (other is None or other == []):
                fail(WRONG, f"{name}: needs {needed}")

    def arguments(self, kind: str) -> dict[str, Any]:
        """What ``Client.search`` is given; ``kind`` is that of the collection's ids."""
        objects = {
            "decay": _object(half_life=self.decay, column=self.decay_column),
            "group": _object(by=self.group_by, size=self.group_size),
            "spread": _object(max_similarity=self.spread),
            "mmr": _object(**{"lambda": self.mmr, "candidates": self.candidates}),
            "rank": _rank(self.rank),
            "at": self.at,
            "positive": _ids(self.positive, kind, "--positive"),
            "negative": _ids(self.negative, kind, "--negative"),
            "exclude": _ids(self.exclude, kind, "--exclude"),
        }
        return {name: value for name, value in objects.items() if value is not None}


def id_of(text: str, kind: str, option: str) -> int | str:
    """An id as the collection has it."""
    if kind == "str":
        return text
    if not text.isascii() or not text.isdigit() or len(text) > _ID_DIGITS:
        fail(WRONG, f"{option} {text}: the ids of this collection are numbers")
    return int(text)


def _ids(texts: list[str] | None, kind: str, option: str) -> list[int | str] | None:
    return [id_of(text, kind, option) for text in texts] if texts else None


def _object(**fields: Any) -> dict[str, Any] | None:
    found = {name: value for name, value in fields.items() if value is not None}
    return found or None


def _rank(text: str | None) -> Any:
    """A rank: JSON, or one of its operands as it stands."""
    if text is None:
        return None
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if text.isprintable() and not set(text) & set(' {}[]"'):
            return text
        fail(WRONG, f"--rank: not JSON: {error}")
