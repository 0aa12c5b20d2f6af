"""What ``top`` knows: the latest figures, and what its user picked. Pure; keys in, state out.

``COLUMNS`` is the table's one table: what a column is called, how wide it is, what it shows, and
which ones go first when the terminal is narrow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .output import age, size

#: How many figures of a collection's past are kept, for its graph.
_PAST: Final = 60
Figures = Mapping[str, Any]


class Column(NamedTuple):
    """One column. ``rank``: the highest goes first where there is no room; 0 always stays."""

    heading: str
    width: int
    rank: int
    value: Callable[[Figures], Any]
    text: Callable[[Figures], str]


def count(value: object) -> str:
    """A count or rate in at most 6 characters: ``950``, ``12.5k``, ``3.4M``; ``-`` for none."""
    if not isinstance(value, int | float):
        return "-"
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 10 * scale or (unit != "k" and value >= scale):
            return f"{value / scale:.1f}{unit}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _number(name: str) -> Callable[[Figures], Any]:
    return lambda figures: figures.get(name) or 0


def _count(name: str) -> Callable[[Figures], str]:
    return lambda figures: count(figures.get(name))


def fill(figures: Figures) -> float:
    """Share of the window that is taken, 0 … 1: what tells how soon rows are evicted."""
    capacity = figures.get("capacity") or 1
    first, last = figures.get("first_seq", 1), figures.get("last_seq", 0)
    return float((last - first + 1) / capacity)


def _rate(heading: str, name: str, rank: int) -> Column:
    return Column(heading, 8, rank, _number(name), _count(name))


COLUMNS: Final = (
    Column("collection", 12, 0, lambda f: f["collection"], lambda f: str(f["collection"])),
    Column("fill", 12, 1, fill, lambda f: f"{fill(f):.0%}"),
    Column("rows", 7, 4, _number("rows"), _count("rows")),
    Column("capacity", 8, 8, _number("capacity"), _count("capacity")),
    Column("oldest", 8, 5, _number("oldest_age_s"), lambda f: age(f.get("oldest_age_s"))),
    _rate("adds/s", "adds_per_s", 0),
    _rate("evict/s", "evictions_per_s", 7),
    _rate("search/s", "searches_per_s", 2),
    _rate("push/s", "pushes_per_s", 6),
    Column("live", 6, 3, _number("live_subscriptions"), _count("live_subscriptions")),
    _rate("merged/s", "merged_per_s", 9),
    _rate("gaps/s", "gaps_per_s", 6),
    _rate("errors/s", "errors_per_s", 8),
    Column("memory", 9, 10, _number("bytes"), lambda f: size(f.get("bytes", 0))),
)
HEADINGS: Final = tuple(column.heading for column in COLUMNS)


def columns_for(width: int) -> tuple[Column, ...]:
    """The columns that fit ``width`` characters, two between them."""
    chosen = list(COLUMNS)
    while len(chosen) > 1 and sum(one.width + 2 for one in chosen) > width:
        highest = max(one.rank for one in chosen)
        if highest == 0:
            break
        # Of those of one rank the last goes.
        chosen.remove([one for one in chosen if one.rank == highest][-1])
    return tuple(chosen)


@dataclass(slots=True)
class Model:
    """The state of ``top``.

    ``server`` is None until it is known; ``server_why`` says why it is not.
    """

    url: str
    server: Figures | None = None
    server_why: str = ""
    collections: dict[str, Figures] = field(default_factory=dict)
    past: dict[str, deque[float]] = field(default_factory=dict)
    #: Seconds without a figure that should have come; 0 while they come.
    silent_seconds: float = 0.0
    sort: str = "collection"
    descending: bool = False
    picked: str | None = None
    shows_detail: bool = False
    shows_help: bool = False
    is_over: bool = False

    # -- figures

    def take(self, figures: Figures) -> None:
        """Keep a collection's latest figures."""
        name = figures["collection"]
        self.collections[name] = figures
        past = self.past.setdefault(name, deque(maxlen=_PAST))
        past.append(float(figures.get("adds_per_s") or 0))

    def forget(self, name: str) -> None:
        """A collection is gone."""
        self.collections.pop(name, None)
        self.past.pop(name, None)

    def in_order(self) -> list[Figures]:
        """The collections as they are sorted; by name where they are equal."""
        column = COLUMNS[HEADINGS.index(self.sort)]
        found = sorted(self.collections.values(), key=lambda one: str(one["collection"]))
        return sorted(found, key=column.value, reverse=self.descending)

    @property
    def picked_at(self) -> int:
        """Where the picked collection stands, 0 if none is."""
        names = [one["collection"] for one in self.in_order()]
        return names.index(self.picked) if self.picked in names else 0

    # -- keys

    def press(self, key: str) -> None:
        """Do what a key says; unknown ones do nothing."""
        if key in ("q", "Q"):
            self.is_over = True
        elif self.shows_help:
            self.shows_help = False
        elif key in ("?", "h"):
            self.shows_help = True
        elif key in ("up", "k", "down", "j", "home", "end", "pageup", "pagedown"):
            self._move(key)
        elif key in ("enter", " "):
            self.shows_detail = not self.shows_detail
        elif key == "escape":
            self.shows_detail = False
        elif key in ("s", "right", "S", "left"):
            self._sort_by(1 if key in ("s", "right") else -1)
        elif key == "r":
            self.descending = not self.descending

    def _move(self, key: str) -> None:
        rows = self.in_order()
        if not rows:
            return
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10,
                 "home": -len(rows), "end": len(rows)}  # fmt: skip
        at = min(max(self.picked_at + steps[key], 0), len(rows) - 1)
        self.picked = rows[at]["collection"]

    def _sort_by(self, step: int) -> None:
        """Sort by the next column: names from a on, figures from the largest down."""
        at = (HEADINGS.index(self.sort) + step) % len(HEADINGS)
        self.sort = HEADINGS[at]
        self.descending = at != 0
