"""What a scenario is: a TOML file as frozen data, over what ``common.toml`` says of all. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ..simulation.scenario import Collection, Column, Load, Vectors
from ..simulation.toml_tables import ScenarioError, toml_table

FOLDER: Final = Path(__file__).parent.parent / "scenarios" / "neighbours"
_COMMON: Final = "common"
#: The one that the others are compared with.
NOBODY: Final = "nobody"
Asks = Literal[
    "nothing", "search", "count", "get", "update", "delete", "add", "add_json", "add_infinity",
    "nested_json", "create", "live", "subscribe", "feed", "feeds", "map", "stats", "pings",
    "snapshot",
]  # fmt: skip


@dataclass(frozen=True)
class Neighbour:
    """What it ``asks`` for. ``rows`` of an add, a get, …; ``vectors`` of a search.

    ``filter``: of a kind that is long, of so many ``conditions``, and another one each time.
    ``subscriptions`` are made again each time, or stay while it asks; pings are that many, too.
    """

    asks: Asks = "nothing"
    rows: int = 1
    vectors: int = 1
    k: int = 10
    include: list[str] = field(default_factory=list)
    filter: Literal["none", "arithmetic", "texts"] = "none"
    conditions: int = 1
    subscriptions: int = 0


@dataclass(frozen=True)
class Light:
    """Whose searches are measured: its window, and the pause between two searches."""

    rows: int = 10_000
    dim: int = 64
    pause_ms: float = 4.0


@dataclass(frozen=True)
class Scenario:
    """All of it."""

    name: str
    description: str
    load: Load
    collection: Collection
    vectors: Vectors
    columns: Mapping[str, Column]
    neighbour: Neighbour
    light: Light


_TABLES: Final[Mapping[str, type]] = {
    "load": Load, "collection": Collection, "vectors": Vectors, "neighbour": Neighbour,
    "light": Light,
}  # fmt: skip


def names() -> list[str]:
    """The scenarios, nobody first."""
    found = {path.stem for path in FOLDER.glob("*.toml")} - {_COMMON, NOBODY}
    return [NOBODY, *sorted(found)]


def read(name: str, overrides: Mapping[str, Any]) -> Scenario:
    """A scenario by name; ``overrides`` are values by ``table.field``. Raises ScenarioError."""
    if name not in names():
        raise ScenarioError(f"{name}: is none of {', '.join(names())}")
    document = _document(_COMMON)
    own = _document(name)
    description = own.pop("description", name)
    for table, values in own.items():
        is_joined = table != "columns" and isinstance(values, dict)
        document[table] = {**document.get(table, {}), **values} if is_joined else values
    for key, value in overrides.items():
        table, _, of_table = key.partition(".")
        document.setdefault(table, {})[of_table] = value
    columns = document.pop("columns")
    unknown = document.keys() - _TABLES.keys()
    if unknown:
        raise ScenarioError(f"{min(unknown)}: unknown; there is: {', '.join(_TABLES)}, columns")
    tables = {one: toml_table(one, kind, document.get(one, {})) for one, kind in _TABLES.items()}
    made = {one: toml_table(f"columns.{one}", Column, values) for one, values in columns.items()}
    return Scenario(name=name, description=description, columns=made, **tables)


def _document(name: str) -> dict[str, Any]:
    path = FOLDER / f"{name}.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: {error}") from None
