"""What a principal's grants let it see and write (PROTOCOL section 9), in plain Python.

Grants are JSON as a token has them. A window that a principal sees is the window with the rows that
pass, and nothing else of it: whatever is asked of that is what it may be told.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .shaping import Refused
from .window import Oracle

Grants = Sequence[Mapping[str, Any]]
#: (code, row) of what is wrong with a change; any of several may be named.
Faults = set[tuple[str, int | None]]


def holding(grants: Grants, right: str | None, name: str) -> list[Mapping[str, Any]]:
    """The grants with a right, None: with any, on a collection. Refused: there is none."""
    found = [
        one
        for one in grants
        if (right is None or right in one["rights"])
        and any(_fits(pattern, name) for pattern in one.get("collections", ["*"]))
    ]
    if not found:
        raise Refused("forbidden")
    return found


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def forced(grants: Grants, right: str | None, name: str) -> list[Any] | None:
    """Filters of which a row must pass one; None: every row is there."""
    found = [one.get("filter") for one in holding(grants, right, name)]
    return None if None in found else found


def is_there(window: Oracle, filters: list[Any] | None, metadata: Any) -> bool:
    return filters is None or any(window.passes(one, metadata) for one in filters)


def seen(window: Oracle, filters: list[Any] | None) -> Oracle:
    """The window as somebody has it to whom only these rows are there."""
    rows = {seq: row for seq, row in window.rows.items() if is_there(window, filters, row.metadata)}
    return dataclasses.replace(window, rows=rows)


def stamped(
    window: Oracle, grants: Grants, name: str, op: str, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], Faults]:
    """Rows (``key``, ``metadata``) as an add or update writes them, and what is wrong with them."""
    writing = holding(grants, "write", name)
    there, first = forced(grants, "write", name), writing[0]
    stamp, own = first.get("stamp", {}), first.get("filter")
    made, faults = [], Faults()
    for place, row in enumerate(rows):
        metadata = row["metadata"]
        if any(column in metadata and metadata[column] != stamp[column] for column in stamp):
            faults.add(("forbidden", place))
        made.append({**row, "metadata": {**metadata, **stamp}})
        if own is not None and not window.passes(own, made[-1]["metadata"]):
            faults.add(("forbidden", place))
        old = window.find(row["key"]) if window.ids != "auto" or op == "update" else None
        is_hidden = old is not None and not is_there(window, there, old.metadata)
        if op == "add" and is_hidden:
            faults.add(("forbidden", place))
        if op == "update" and (old is None or is_hidden):
            faults.add(("not_found", place))
    return made, faults


def deletable(window: Oracle, grants: Grants, name: str, ids: Sequence[Any]) -> list[Any]:
    """Those of ``ids`` that a delete takes out."""
    rows = seen(window, forced(grants, "write", name)).rows.values()
    there = {row.id for row in rows}
    return [one for one in ids if one in there]
