"""Whether a history of one register is linearizable: the search of Wing and Gong, as Lowe has it.

Herlihy and Wing, "Linearizability" (1990): every operation seems to happen at once, at some moment
between its call and its return. The search orders the operations one after the other, and never
comes twice to the same set of them with the same value (Lowe, "Testing for linearizability", 2017).
Each id of a collection is a register of its own, so each has a history of its own (locality).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: The return of an operation whose outcome nobody knows: it may happen late, or never.
NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Operation:
    """A write of ``value``, or a read that gave it; None: nothing is there.

    ``called`` and ``returned``: by one clock.
    """

    is_write: bool
    value: int | None
    called: float
    returned: float = NEVER


def is_linearizable(history: Sequence[Operation]) -> bool:
    """Whether some order explains ``history``, of a register that began with None."""
    all_done = sum(1 << at for at, one in enumerate(history) if one.returned < NEVER)
    seen: set[tuple[int, int | None]] = set()
    open_: list[tuple[int, int | None]] = [(0, None)]
    while open_:
        ordered, value = open_.pop()
        if ordered & all_done == all_done:
            return True
        if (ordered, value) in seen:
            continue
        seen.add((ordered, value))
        left = [at for at in range(len(history)) if not ordered >> at & 1]
        first_return = min(history[at].returned for at in left)
        for at in left:
            one = history[at]
            if one.called > first_return or not (one.is_write or one.value == value):
                continue
            open_.append((ordered | 1 << at, one.value))
    return False
