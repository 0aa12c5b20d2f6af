"""Some rows of a batch: their ids, and their columns. Shapes only."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress

from .types import Bool1, Column, Ids, StrColumn


def some_ids(ids: Ids, which: Bool1) -> Ids:
    """Those that ``which`` bool (n,) marks."""
    return list(compress(ids, which)) if isinstance(ids, list) else ids[which]


def some_columns(columns: Mapping[str, Column], which: Bool1) -> dict[str, Column]:
    """The values of the rows that ``which`` bool (n,) marks; texts keep their codes."""
    return {
        name: StrColumn(column.codes[which], column.dictionary)
        if isinstance(column, StrColumn)
        else column[which]
        for name, column in columns.items()
    }
