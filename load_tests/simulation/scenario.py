"""What a scenario is: a TOML file as frozen data, checked when it is read.

Pure. One collection with its ``columns``, and what is done to it at the same time, each in a table
of its own: ``search`` and ``add`` (requests), ``connect`` (connections opened, used once and
closed), and the standing queries ``live``, ``match``, ``feed``. Rates are requests a second of all
processes.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from omendb_core.model.types import COLUMN_TYPES, ID_KINDS, METRICS

from . import shaping
from .arrivals import Arrivals
from .toml_tables import ScenarioError, toml_table

FOLDER: Final = Path(__file__).parent.parent / "scenarios"
Source = Literal["random", "clustered", "file", "digits"]
#: Most unanswered requests of a connection in open mode; servers stop reading at 1,024.
OPEN_IN_FLIGHT: Final = 1000
MAX_SECONDS: Final = 24 * 3600.0
MAX_POOL: Final = 250_000


@dataclass(frozen=True)
class Load:
    """How long, after ``warm_up_seconds`` that are not counted, and by how many processes.

    ``token`` and ``ca_file`` are for a server that asks who one is, over ``wss://``. A result does
    not show the token.
    """

    seconds: float = 10.0
    warm_up_seconds: float = 2.0
    drain_seconds: float = 5.0
    interval_seconds: float = 1.0
    processes: int = 1
    seed: int = 1
    token: str = ""
    ca_file: str = ""


@dataclass(frozen=True)
class Collection:
    """The window, and how many rows it is filled with before the load (-1: to capacity)."""

    dim: int = 128
    capacity: int = 100_000
    metric: str = "cosine"
    ids: str = "u64"
    durability: str = "memory"
    fill: int = -1

    @property
    def filled(self) -> int:
        """Rows put in before the load."""
        return self.capacity if self.fill < 0 else self.fill


@dataclass(frozen=True)
class Column:
    """A metadata column. Numbers are drawn evenly from ``low`` up to ``high``, of ``i64`` both
    included; ``str`` out of ``values``; ``nulls`` is the share of rows without one (``f64`` and
    ``str`` only, which can say so in a binary frame)."""

    type: str = "f64"
    low: float = 0.0
    high: float = 1.0
    values: list[str] = field(default_factory=list)
    nulls: float = 0.0


@dataclass(frozen=True)
class Vectors:
    """Where vectors come from (see ``vectors``). ``pool``: rows taken in turn; 0 makes it a
    quarter more than the window holds, so that it never holds one twice (but at most MAX_POOL)."""

    source: Source = "random"
    pool: int = 0
    path: str = ""
    clusters: int = 100
    spread: float = 0.5
    drift: float = 0.0


@dataclass(frozen=True)
class Requests:
    """Requests of one kind. Open arrivals need ``rate``, or ``times_capacity``: that many times
    what a short closed run before it achieved. ``in_flight`` is for each connection; in open mode
    it is a limit, and 0 is the highest. ``rows`` of an add, ``vectors`` of a search: in a message.
    ``shapes`` of a search, by turns of messages, are what shapes its answer (``shaping``).
    ``texts``: searches as JSON, which the oracle does not look at. ``verified`` is the share of
    answers that it does."""

    arrivals: Arrivals = "closed"
    rate: float = 0.0
    times_capacity: float = 0.0
    connections: int = 1
    in_flight: int = 0
    rows: int = 1
    vectors: int = 1
    k: int = 10
    queries: int = 1024
    texts: bool = False
    verified: float = 0.0
    filter: Mapping[str, Any] = field(default_factory=dict)
    shapes: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def places(self) -> int:
        """Most unanswered requests of a connection."""
        return self.in_flight or (1 if self.arrivals == "closed" else OPEN_IN_FLIGHT)


@dataclass(frozen=True)
class Standing:
    """Standing queries, ``per_connection`` on each.

    ``reads`` false: nothing is read before the end; ``bytes_per_second``: that much is, 0 is all.
    ``vector``: pushes hold the rows' vectors. ``verified``: the share of ``live`` and
    ``match`` subscriptions that the oracle looks at. ``shapes`` of ``live``, by turns of
    connections, are what shapes its answers (``shaping``); where rows are ordered by what only the
    server knows, the last views are compared with searches instead.
    """

    connections: int = 1
    per_connection: int = 1
    k: int = 10
    min_score: float = 0.5
    every_ms: int = 0
    vector: bool = False
    reads: bool = True
    bytes_per_second: float = 0.0
    verified: float = 0.0
    filter: Mapping[str, Any] = field(default_factory=dict)
    shapes: list[Mapping[str, Any]] = field(default_factory=list)

    def shape(self, query: int) -> Mapping[str, Any]:
        """What shapes the answer to the query of that number among all of this kind."""
        return shaping.shape_of(self.shapes, self.per_connection, query)


@dataclass(frozen=True)
class Scenario:
    """All of it. ``sections`` are the tables of the file that are there."""

    name: str
    description: str
    load: Load
    collection: Collection
    vectors: Vectors
    columns: Mapping[str, Column] = field(default_factory=dict)
    search: Requests | None = None
    add: Requests | None = None
    connect: Requests | None = None
    live: Standing | None = None
    match: Standing | None = None
    feed: Standing | None = None

    @property
    def requests(self) -> dict[str, Requests]:
        """The kinds of requests that are sent, by name."""
        found = {"search": self.search, "add": self.add, "connect": self.connect}
        return {name: one for name, one in found.items() if one is not None}

    @property
    def standing(self) -> dict[str, Standing]:
        """The kinds of standing queries, by name."""
        found = {"live": self.live, "match": self.match, "feed": self.feed}
        return {name: one for name, one in found.items() if one is not None}

    def is_judged(self, kind: str) -> bool:
        """Whether the oracle can tell what ``search`` or a standing query answers."""
        shapes = getattr(self, kind).shapes
        return not any(shaping.unknown_order(shape, self.columns) for shape in shapes)

    @property
    def total_seconds(self) -> float:
        """From the first request that is meant to be sent to the last."""
        return self.load.warm_up_seconds + self.load.seconds

    def settings(self) -> dict[str, Any]:
        """Every setting, by table: what a result holds."""
        tables = dataclasses.asdict(self)
        tables["load"]["token"] = "given" if self.load.token else ""
        return {name: one for name, one in tables.items() if isinstance(one, dict)}


_TABLES: Final[Mapping[str, type]] = {
    "load": Load, "collection": Collection, "vectors": Vectors, "search": Requests,
    "add": Requests, "connect": Requests, "live": Standing, "match": Standing, "feed": Standing,
}  # fmt: skip
_ALWAYS: Final = ("load", "collection", "vectors")
#: The table of tables.
_COLUMNS: Final = "columns"


def names() -> list[str]:
    """The scenarios that come with this package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(path_or_name: str, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """A scenario out of a file, or by name; ``overrides`` are values by ``table.field``.

    Raises ScenarioError.
    """
    path = Path(path_or_name)
    if path.suffix != ".toml":
        path = FOLDER / f"{path_or_name}.toml"
    if not path.is_file():
        raise ScenarioError(f"{path_or_name}: no such file, nor one of {', '.join(names())}")
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: {error}") from None
    return parse(path.stem, document, overrides or {})


def parse(name: str, document: dict[str, Any], overrides: Mapping[str, Any]) -> Scenario:
    """A scenario out of a document. Raises ScenarioError."""
    description = document.pop("description", "")
    if not isinstance(description, str):
        raise ScenarioError("description: must be a string")
    for key, value in overrides.items():
        table, _, of_table = key.partition(".")
        if table not in document and table not in (*_ALWAYS, _COLUMNS):
            raise ScenarioError(f"{key}: scenario {name} has no table {table}")
        document.setdefault(table, {})[of_table] = value
    for table in document:
        if table not in _TABLES and table != _COLUMNS:
            there = ", ".join((*_TABLES, _COLUMNS))
            raise ScenarioError(f"{table}: unknown; there is: description, {there}")
    for table in _ALWAYS:
        document.setdefault(table, {})
    columns = document.pop(_COLUMNS, {})
    if not isinstance(columns, dict):
        raise ScenarioError(f"{_COLUMNS}: must be a table")
    found = {table: toml_table(table, _TABLES[table], values) for table, values in document.items()}
    found[_COLUMNS] = {
        column: toml_table(f"{_COLUMNS}.{column}", Column, values)
        for column, values in columns.items()
    }
    if not found["vectors"].pool:
        pool = min(found["collection"].capacity * 5 // 4 + 1, MAX_POOL)
        found["vectors"] = dataclasses.replace(found["vectors"], pool=pool)
    made = Scenario(name=name, description=description, **found)
    _check(made)
    return _with_ids(made)


def _with_ids(scenario: Scenario) -> Scenario:
    """The same with the ids in shapes as they are sent."""
    stored, first_id = scenario.collection.filled, int(scenario.collection.ids == "auto")
    changed: dict[str, Any] = {
        name: dataclasses.replace(
            one, shapes=[shaping.with_ids(shape, stored, first_id) for shape in one.shapes]
        )
        for name, one in (("search", scenario.search), ("live", scenario.live))
        if one is not None
    }
    return dataclasses.replace(scenario, **changed)


def _check(scenario: Scenario) -> None:
    """What holds between fields."""
    collection, load = scenario.collection, scenario.load
    if load.seconds > MAX_SECONDS:
        raise ScenarioError(f"load.seconds: {load.seconds:g} is above {MAX_SECONDS:g}")
    if collection.metric not in METRICS:
        raise ScenarioError(f"collection.metric: must be one of {', '.join(METRICS)}")
    if collection.ids not in ID_KINDS:
        raise ScenarioError(f"collection.ids: must be one of {', '.join(ID_KINDS)}")
    if scenario.vectors.source == "file" and not scenario.vectors.path:
        raise ScenarioError("vectors.path: missing; the source is a file")
    if not scenario.requests and not scenario.standing:
        raise ScenarioError(f"{scenario.name}: does nothing; give it a table search, add, …")
    for name, column in scenario.columns.items():
        _check_column(f"{_COLUMNS}.{name}", column)
    for name, standing in scenario.standing.items():
        if standing.verified > 1:
            raise ScenarioError(f"{name}.verified: a share, at most 1")
        if standing.verified and (name == "feed" or not standing.reads):
            raise ScenarioError(f"{name}.verified: only live and match that are read are looked at")
        _check_shapes(scenario, name, standing)
    for name, one in scenario.requests.items():
        is_open = one.arrivals != "closed"
        if is_open and not (one.rate or one.times_capacity):
            raise ScenarioError(f"{name}.rate: missing; arrivals are {one.arrivals}")
        if not is_open and (one.rate or one.times_capacity):
            raise ScenarioError(f"{name}.rate: closed arrivals have none; say poisson or constant")
        if one.rate and one.times_capacity:
            raise ScenarioError(f"{name}.rate: not together with times_capacity, which makes it")
        if one.texts and (name != "search" or one.vectors > 1 or one.shapes or one.verified):
            raise ScenarioError(f"{name}.texts: of plain searches by one vector, not verified")
        if one.in_flight > OPEN_IN_FLIGHT:
            raise ScenarioError(f"{name}.in_flight: {one.in_flight} is above {OPEN_IN_FLIGHT}")
        if one.verified > 1:
            raise ScenarioError(f"{name}.verified: a share, at most 1")
        if one.rows > collection.capacity:
            raise ScenarioError(f"{name}.rows: more than the capacity")
        if load.processes > one.connections and name != "add":
            raise ScenarioError(f"{name}.connections: fewer than processes ({load.processes})")
        if one.vectors > one.queries:
            raise ScenarioError(f"{name}.vectors: more than queries")
        _check_shapes(scenario, name, one)


def _check_shapes(scenario: Scenario, name: str, asked: Requests | Standing) -> None:
    stored = scenario.collection.filled if scenario.collection.ids != "str" else 0
    for number, shape in enumerate(asked.shapes):
        why = "" if name in ("search", "live") else "only of search and live"
        why = why or shaping.fault(shape, scenario.columns, stored)
        if name == "search" and asked.verified:
            why = why or shaping.unknown_order(shape, scenario.columns)
        if name == "live" and "mmr" in shape:
            why = "mmr: not of live"
        if why:
            raise ScenarioError(f"{name}.shapes[{number}]: {why}")


def _check_column(where: str, column: Column) -> None:
    if column.type not in COLUMN_TYPES:
        raise ScenarioError(f"{where}.type: must be one of {', '.join(COLUMN_TYPES)}")
    if (column.type == "str") is not bool(column.values):
        raise ScenarioError(f"{where}.values: a str column has some, no other has any")
    if column.high < column.low:
        raise ScenarioError(f"{where}.high: below low")
    if column.nulls > 1 or (column.nulls and column.type not in ("f64", "str")):
        raise ScenarioError(f"{where}.nulls: a share, and of f64 and str columns only")
