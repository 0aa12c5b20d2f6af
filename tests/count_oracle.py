"""Counts by a column done naively, each row in turn (PROTOCOL section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]


def listed(rows: Iterable[Row], by: str, limit: int) -> tuple[list[tuple[Any, int]], int]:
    """(value, count) of the ``limit`` most frequent values, and the rows of all others."""
    counts = Counter(row.get(by) for row in rows)

    def place(entry: tuple[Any, int]) -> tuple[int, bool, Any]:
        value, count = entry
        key = [ord(character) for character in value] if isinstance(value, str) else value
        return -count, value is None, 0 if value is None else key

    found = sorted(counts.items(), key=place)
    return found[:limit], sum(count for _, count in found[limit:])


def reply(rows: list[Row], by: str | None = None, limit: int = 100) -> dict[str, Any]:
    """What ``count`` says of these rows, the version aside."""
    if by is None:
        return {"count": len(rows)}
    found, others = listed(rows, by, limit)
    values = [{"value": value, "count": count} for value, count in found]
    return {"count": len(rows), "by": values, "others": others}
