"""Filters that are long, and such as nobody asked before. Pure."""

from __future__ import annotations

from typing import Any, Final

#: A condition on each of two columns.
_IN_A_BRANCH: Final = 2
#: Of one ``$in``.
_MOST_NUMBERS: Final = 1000


def arithmetic(conditions: int, turn: int) -> dict[str, Any]:
    """So many, half of them products, joined by ``$or``."""
    branches = max(conditions // _IN_A_BRANCH, 1)
    return {
        "$or": [
            {
                "price": {"$lt": {"$mul": ["stock", (turn * branches + n) / 1e6]}},
                "stock": {"$gt": n},
            }
            for n in range(branches)
        ]
    }


def texts(conditions: int, turn: int) -> dict[str, Any]:
    """One of so many texts, or of the numbers."""
    shops = [f"{turn} {n} {'x' * 20}" for n in range(conditions)]
    numbers = list(range(min(conditions, _MOST_NUMBERS)))
    return {"$or": [{"shop": {"$in": shops}}, {"stock": {"$in": numbers}}]}


KINDS: Final = {"arithmetic": arithmetic, "texts": texts}
