"""What a writer may touch: rows that are not there for it, and what its own rows must be like.

Both are filters that whoever asks was given (PROTOCOL section 9). Pure functions of the window's
state and of a request's rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..filters.masks import evaluate
from ..filters.parser import Filter
from ..model.errors import Forbidden
from ..model.types import I64, Bool1, Column, ColumnType
from ..rows.columns import Columns
from ..state import WindowState


@dataclass(frozen=True, slots=True)
class Guard:
    """``visible``: rows that do not pass are not there; ``written``: what its rows must pass."""

    visible: Filter | None = None
    written: Filter | None = None


#: Everything may be touched.
FREE: Final = Guard()


def hidden(guard: Guard, state: WindowState, slots: I64) -> Bool1:
    """Which of ``slots`` int64 (n,), -1 for no row, hold a row that is not there for the writer."""
    found = slots >= 0
    if guard.visible is not None and found.any():
        found[found] = ~evaluate(guard.visible, state.columns, slots[found])
        return found
    return np.zeros(len(slots), np.bool_)


def refuse_unwritable(
    written: Filter, columns: Mapping[str, Column], declared: Mapping[str, ColumnType], count: int
) -> None:
    """Forbidden, with its row, for the first of ``count`` rows that does not pass ``written``."""
    if not count:
        return
    rows = Columns(declared, count)
    rows.write(np.arange(count), columns)
    refused = np.flatnonzero(~evaluate(written, rows, np.arange(count)))
    if len(refused):
        raise Forbidden("this token may only write rows that pass its filter", row=int(refused[0]))


def refuse_hidden(guard: Guard, state: WindowState, slots: I64) -> None:
    """Forbidden, with its row, for the first that would replace a row that is not there."""
    refused = np.flatnonzero(hidden(guard, state, slots))
    if len(refused):
        raise Forbidden("this token may not replace the row with this id", row=int(refused[0]))
