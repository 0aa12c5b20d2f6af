"""Which collection a load goes into: one that is there, or one that the file says how to make.

Pure. A collection that is to be made is made with the first batch, so that a file whose first row
cannot go in leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from omendb_core.model.errors import BadName
from omendb_core.model.types import ColumnType, IdKind, Metric

from ..files.chunks import Reader
from ..wire.fields import check_name
from ..wire.opcodes import MAX_COLUMNS


class Target(Protocol):
    """What a load must know of a collection; a Description is one."""

    @property
    def collection(self) -> str:
        """Its name."""

    @property
    def dim(self) -> int:
        """Dimensions."""

    @property
    def capacity(self) -> int:
        """Rows that it keeps."""

    @property
    def metric(self) -> Metric:
        """How its rows are scored."""

    @property
    def ids(self) -> IdKind:
        """Kind of its ids."""

    @property
    def columns(self) -> Mapping[str, ColumnType]:
        """Its columns."""

    @property
    def version(self) -> int:
        """How often it was changed; 0: nothing was ever in it."""


@dataclass(frozen=True, slots=True)
class NewCollection:
    """A Target that is not there yet, with the defaults of ``create`` (PROTOCOL section 3)."""

    collection: str
    dim: int
    capacity: int
    metric: Metric = "cosine"
    ids: IdKind = "u64"
    columns: Mapping[str, ColumnType] = field(default_factory=dict)
    version: int = 0


def columns_of(reader: Reader) -> tuple[dict[str, ColumnType], list[str]]:
    """The columns that the fields of a file can be; and those that stay metadata for their names.

    A column is named as a collection is, and a collection has at most MAX_COLUMNS: the first ones.
    Raises FileError.
    """
    columns: dict[str, ColumnType] = {}
    others: list[str] = []
    for name, kind in reader.columns.items():
        if len(columns) < MAX_COLUMNS and _is_name(name):
            columns[name] = kind
        else:
            others.append(name)
    return columns, others


def _is_name(name: str) -> bool:
    try:
        check_name(name, "column")
    except BadName:
        return False
    return True
