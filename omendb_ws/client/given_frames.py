"""Data frames and Arrow tables as the rows of an add, by the rules that files are read by.

A table is rows if it has a field ``vector``, lists of numbers: then ``id`` is the id, and all other
fields are metadata (``files/arrow.py``). One without it is numbers like any other array. Pure;
pyarrow is loaded once there is such a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

from numpy.typing import NDArray
from omendb_core.model.errors import (
    BadId,
    BadMetadata,
    BadRequest,
    BadVector,
    DimMismatch,
    OmenError,
)
from omendb_core.model.types import Ids

from ..files.arrow import WholeRows, open_table
from ..files.chunks import FileError
from ..files.fields import Fields
from .tables import library

_VECTOR: Final = "vector"
_ID: Final = "id"


class FrameRows(NamedTuple):
    """What a table holds: ``vectors`` (n, dim), ``ids`` and ``metadata`` if it has any."""

    vectors: NDArray[Any]
    ids: Ids | None
    metadata: list[dict[str, Any]] | None


def is_frame(given: object) -> bool:
    """Whether ``given`` is a table with a field of vectors."""
    if isinstance(given, list | tuple) or not hasattr(given, "__arrow_c_stream__"):
        return False
    return _VECTOR in _names(given)


def frame_rows(given: Any) -> FrameRows:
    """Return the rows of a table. Raises BadVector, DimMismatch, BadId, BadMetadata, each with
    its ``row``; BadRequest for fields of other types; Unsupported without pyarrow."""
    arrow = library("pyarrow", "arrow", "a data frame as rows")
    try:
        table = _table(arrow, given)
    except (arrow.ArrowException, ValueError, TypeError) as error:
        raise BadRequest(f"vectors: {_first_line(error)}") from None
    if not table.num_rows:
        raise BadRequest("vectors: at least one row")
    try:
        reader = open_table(table, "vectors", Fields(id=_ID, vector=_VECTOR))
        rows = reader.whole()
    except FileError as error:
        raise BadRequest(str(error)) from None
    _check(rows)
    return FrameRows(rows.vectors, rows.ids, rows.metadata)


def refuse_twice(has_ids: bool, ids: object, metadata: object, columns: object) -> None:
    """Raise BadRequest where what a table holds is given beside it as well."""
    given = {"ids": ids if has_ids else None, "metadata": metadata, "columns": columns}
    for name, one in given.items():
        if one is not None:
            raise BadRequest(f"{name}: stand in the fields of the table already")


def _names(given: Any) -> list[Any]:
    """The names of the fields; none where it says none."""
    names: Any = getattr(given, "column_names", None)  # of pyarrow's, whose ``columns`` are arrays
    if names is None:
        names = getattr(given, "columns", ())
    try:
        return list(names)
    except TypeError:
        return []


def _table(arrow: Any, given: Any) -> Any:
    """A ``pyarrow.Table``; of a pandas index only what has a name is a field."""
    names = getattr(getattr(given, "index", None), "names", None)
    if names is None or type(given).__module__.partition(".")[0] != "pandas":
        return arrow.table(given)
    is_named = all(name is not None for name in names)
    return arrow.Table.from_pandas(given, preserve_index=is_named)


def _check(rows: WholeRows) -> None:
    errors: Mapping[type[OmenError], dict[int, str]] = {
        BadVector: rows.wrong.vectors, DimMismatch: rows.wrong.lengths, BadId: rows.wrong.ids,
        BadMetadata: rows.wrong.metadata,
    }  # fmt: skip
    for error, wrong in errors.items():
        if wrong:
            _refuse(error, wrong)


def _refuse(error: type[OmenError], wrong: dict[int, str]) -> NoReturn:
    row = min(wrong)
    name = "vectors: " if error in (BadVector, DimMismatch) else ""
    raise error(f"{name}{wrong[row]}", row=row)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
