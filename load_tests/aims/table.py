"""Rows as text and as JSON, with what they were before."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ..simulation.environment import environment
from .row import Row

HEAD = f"{'':56}{'now':>10} {'unit':16}{'lowest … highest':>22}{'aim':>12}{'was':>10}"
_MARKS = {True: "reached", False: "NOT reached", None: ""}


def lines(row: Row, was: float | None) -> Iterator[str]:
    """One row of the table, and what is to be said about it."""
    figures = [number(one) for one in (row.median, *_ends(row.values), row.aim, was)]
    now, low, high, aim, before = figures
    sign = {"at most": "≤ ", "at least": "≥ ", "": ""}[row.wanted]
    aimed = sign + aim if row.aim is not None else ""
    spread = f"{low} … {high}" if len(row.values) > 1 else ""
    shown = before if was is not None else ""
    yield (
        f"{row.name:56}{now:>10} {row.unit:16}{spread:>22}{aimed:>12}{shown:>10}  "
        f"{_MARKS[row.is_reached]}"
    ).rstrip()
    if row.times:
        many = ", ".join(f"{name} {number(times)}" for name, times in row.times.items())
        yield f"    times as fast as: {many}"
    for fault in dict.fromkeys(row.faults):
        yield f"    ! {fault}"
    for note in dict.fromkeys(row.notes):
        yield f"    {note}"


def _ends(values: Sequence[float]) -> tuple[float | None, float | None]:
    return (min(values), max(values)) if values else (None, None)


def number(value: float | None) -> str:
    """Three significant digits, or all before the point."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def document(rows: Mapping[str, list[Row]], started_at: str) -> bytes:
    """All rows by bench, and where they were measured."""
    where = dataclasses.asdict(environment("omendb-ws of this tree", "memory"))
    body: dict[str, Any] = {
        "started_at": started_at,
        "environment": where,
        "benches": {
            name: [{**dataclasses.asdict(row), "median": row.median} for row in of_it]
            for name, of_it in rows.items()
        },
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def medians(path: Path) -> dict[tuple[str, str], float]:
    """The figures of an earlier document, by bench and name. Raises OSError, ValueError."""
    body = orjson.loads(path.read_bytes())
    return {
        (bench, row["name"]): statistics.median(row["values"])
        for bench, rows in body["benches"].items()
        for row in rows
        if row["values"]
    }
