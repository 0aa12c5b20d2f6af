"""A table of a scenario's file as a frozen dataclass, each field of it checked. Pure."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args


class ScenarioError(ValueError):
    """A scenario that makes no sense; the message names table and field."""


#: Least values that make sense; 0 where a field is not here.
_LEAST: Final[Mapping[str, float]] = {
    "seconds": 0.1, "interval_seconds": 0.1, "processes": 1, "dim": 1, "capacity": 1,
    "clusters": 1, "connections": 1, "rows": 1, "vectors": 1, "k": 1, "queries": 1,
    "per_connection": 1,
    "fill": -1, "min_score": -1e30, "low": -1e300, "high": -1e300,
}  # fmt: skip


def toml_table(table: str, kind: type, values: Any) -> Any:
    """A dataclass ``kind`` of what a table holds. ScenarioError."""
    if not isinstance(values, dict):
        raise ScenarioError(f"{table}: must be a table")
    kinds = typing.get_type_hints(kind)
    for name, value in values.items():
        if name not in kinds:
            raise ScenarioError(f"{table}.{name}: unknown; there is: {', '.join(kinds)}")
        values[name] = _value(f"{table}.{name}", kinds[name], value, _LEAST.get(name, 0))
    return kind(**values)


def _value(where: str, kind: Any, value: Any, least: float) -> Any:
    if typing.get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ScenarioError(f"{where}: {value!r} is none of {', '.join(get_args(kind))}")
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if typing.get_origin(kind) is list:
        of, called = (str, "strings") if get_args(kind) == (str,) else (dict, "tables")
        if type(value) is not list or {type(one) for one in value} - {of}:
            raise ScenarioError(f"{where}: must be a list of {called}, not {value!r}")
        return value
    wanted = kind if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) else dict
    if type(value) is not wanted:
        raise ScenarioError(f"{where}: must be {_CALLED[wanted]}, not {value!r}")
    if isinstance(value, int | float) and not isinstance(value, bool) and not value >= least:
        raise ScenarioError(f"{where}: {value} is below {least:g}")
    return value


_CALLED: Final[Mapping[type, str]] = {
    int: "an integer", float: "a number", str: "a string", bool: "true or false", dict: "a table",
}  # fmt: skip
