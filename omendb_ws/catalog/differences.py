"""In what a collection that is there differs from one that is to be made. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from omendb_core.model.types import Definition

#: So many fields are named; columns are up to 64, of 64 characters each.
_NAMED: Final = 8


def differences(
    there: tuple[Definition, int, str], wanted: tuple[Definition, int, str]
) -> str | None:
    """Where two collections differ, field by field as PROTOCOL section 3 names them; None: nowhere.

    Each is the definition of a shard, the number of shards, and the durability. Of other numbers of
    shards capacities are not compared, as each was rounded up to whole shards.
    """
    fields, others = _fields(*there), _fields(*wanted)
    if fields["shards"] != others["shards"]:
        del fields["capacity"], others["capacity"]
    found = list(_differing(fields, others))
    if not found:
        return None
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + more


def _fields(definition: Definition, shards: int, durability: str) -> dict[str, Any]:
    return {
        "dim": definition.dim,
        "capacity": definition.capacity * shards,
        "metric": definition.metric,
        "ids": definition.ids,
        "ttl": definition.ttl_seconds,
        "durability": durability,
        "shards": shards,
        **{f"columns.{name}": kind for name, kind in definition.columns.items()},
    }


def _differing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*there, *wanted)):
        is_, asked = there.get(name), wanted.get(name)
        if is_ != asked:
            yield f"{name} is {_said(is_)}, not {_said(asked)}"


def _said(value: Any) -> str:
    return "null" if value is None else str(value)
