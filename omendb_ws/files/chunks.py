"""What every format is read into, and written from. Pure.

Numbers of rows count from 0, as arrays do; in files of lines they are line numbers, from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from numpy.typing import NDArray
from omendb_core.model.types import F32, I64, ColumnType, IdKind, Ids

#: What a row is called when it is named: "row 17", "line 18".
Unit: TypeAlias = Literal["row", "line"]


class FileError(Exception):
    """A file that cannot be read, or written, as asked; the message names it and says why."""


class CutShort(FileError):
    """A file that had all its rows when it was opened, and was cut short while it was read."""


class BadRow(NamedTuple):
    """A row that cannot be used, by its number in the file, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows of a file, in its order.

    ``vectors`` (n, dim) of any real dtype, a view where the format allows; ``numbers`` int64 (n,);
    ``ids`` uint64 (n,), n strings, or None where the window gives them; ``metadata`` n objects or
    None. ``bad``: the rows among them that are left out, ascending. ``read``: the share of the file
    up to here, 0 … 1, or None where its size is not known.
    """

    vectors: NDArray[Any]
    numbers: I64
    ids: Ids | None = None
    metadata: Sequence[dict[str, Any]] | None = None
    bad: Sequence[BadRow] = ()
    read: float | None = None


class Reader(Protocol):
    """An open file of vectors. What it says of itself was looked at when it was opened."""

    name: str
    unit: Unit
    #: Dimensions; None where that takes a row and there is none.
    dim: int | None
    #: How many rows; None where that takes reading them all.
    rows: int | None
    #: The ids that its rows can have; ``auto`` where it has none.
    ids: IdKind
    #: Whether it holds ids, rather than that rows are numbered.
    holds_ids: bool
    #: The first row with an id that is dropped, as those looked at had none; None: there is none.
    unused_id: int | None

    @property
    def columns(self) -> Mapping[str, ColumnType]:
        """Fields of one type that filters could use, whatever their names. Raises FileError."""

    def chunks(self, dim: int, ids: IdKind, rows: int) -> Iterator[Chunk]:
        """Read all, at most ``rows`` rows a chunk, for a collection of ``dim`` and ``ids``.

        The chunks are a function of the file and the arguments. Raises FileError.
        """

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, slots=True, eq=False)
class WrittenRows:
    """Rows to write: ``vectors`` float32 (n, dim), ``ids`` uint64 (n,) or n strings, n objects."""

    vectors: F32
    ids: Ids
    metadata: Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Shape:
    """Of which collection rows are written."""

    dim: int
    ids: IdKind
    columns: Mapping[str, ColumnType] = field(default_factory=dict)


class Writer(Protocol):
    """Writes one file. What it cannot hold of a row is left out; ``leaves_out`` says what."""

    #: "metadata", "ids": what the format has no place for.
    leaves_out: tuple[str, ...]

    def write(self, rows: WrittenRows) -> None:
        """Write rows behind those before."""

    def finish(self) -> None:
        """Write what stands at the end."""
