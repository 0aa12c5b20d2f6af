"""The rows of a binary ADD: its ids, columns and metadata to a RowBatch, and back.

Knows the sections that ``frames.py`` cut out and the JSON beside them, no definition: whether the
columns are the collection's is for the engine. Faults raise OmenError; ``binary.py`` keeps those of
``row_batch`` as values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import (
    BadFrame,
    BadId,
    BadMetadata,
    BadRequest,
    NotFound,
    TooLarge,
)
from omendb_core.model.types import COLUMN_TYPES, Column, ColumnType, Ids, StrColumn

from .fields import shown
from .frames import Header
from .limits import Limits
from .messages import JsonObject
from .opcodes import COLUMN_DTYPES, FLAG_COLUMNS, FLAG_IDS, MAX_COLUMNS, MAX_STR_ID_BYTES, Section

#: Columns are sections beside the named ones: a column may be called ``ids`` or ``vectors``.
_COLUMN: Final = "column "


def column_types(
    header: Header,
    json: JsonObject,
    columns_of: Callable[[int], Mapping[str, ColumnType] | None] | None,
) -> Mapping[str, ColumnType]:
    """Name to type of the columns in this frame, in the order of their arrays.

    JSON ``columns`` is an object of types, or a list of names with the collection's types.
    Raises BadFrame where flag and JSON disagree, BadRequest, TooLarge for more than a collection
    can have, BadMetadata for a name that is not declared, NotFound for the handle.
    """
    if ("columns" in json) != bool(header.flags & FLAG_COLUMNS):
        raise BadFrame("flags: bit 2 and JSON columns go together")
    columns = json.get("columns", {})
    if type(columns) in (dict, list) and len(columns) > MAX_COLUMNS:
        raise TooLarge(f"columns: at most {MAX_COLUMNS}")
    if type(columns) is dict:
        for name, type_ in columns.items():
            if type(type_) is not str or type_ not in COLUMN_TYPES:
                raise BadRequest(f"columns.{shown(name)}: must be one of {', '.join(COLUMN_TYPES)}")
        return columns
    return _declared_types(header, columns, columns_of)


def _declared_types(
    header: Header,
    names: Any,
    columns_of: Callable[[int], Mapping[str, ColumnType] | None] | None,
) -> Mapping[str, ColumnType]:
    if type(names) is not list or set(map(type, names)) - {str}:
        raise BadRequest("columns: must be an object of types or a list of names")
    if len(set(names)) != len(names):
        raise BadRequest("columns: a name stands twice")
    declared = columns_of(header.handle) if columns_of is not None else None
    if declared is None:
        raise NotFound(f"handle: {header.handle} is no open collection")
    for name in names:
        if name not in declared:
            raise BadMetadata(f"columns.{shown(name)}: not declared")
    return {name: declared[name] for name in names}


def column_sections(types: Mapping[str, ColumnType]) -> list[Section]:
    """The sections of the columns."""
    return [Section(_COLUMN + name, COLUMN_DTYPES[type_], ("n",)) for name, type_ in types.items()]


def row_batch(
    header: Header,
    json: JsonObject,
    types: Mapping[str, ColumnType],
    arrays: Mapping[str, NDArray[Any]],
    limits: Limits,
) -> RowBatch:
    """The rows; arrays stay views. Raises OmenError for what is wrong with them."""
    if header.n > limits.max_rows:
        raise TooLarge(f"n: at most {limits.max_rows} rows (max_rows)")
    if header.dim > limits.max_dim:
        raise TooLarge(f"dim: at most {limits.max_dim} (max_dim)")
    return RowBatch(
        vectors=arrays["vectors"],
        ids=_ids(header, json, arrays),
        columns=_columns(json, types, arrays),
        metadata=_metadata(header.n, json, types),
    )


def _ids(header: Header, json: JsonObject, arrays: Mapping[str, NDArray[Any]]) -> Ids | None:
    if "ids" not in json:
        return arrays.get("ids")
    if "ids" in arrays:
        raise BadId("ids: both as u64 and in JSON")
    ids = json["ids"]
    if type(ids) is not list or len(ids) != header.n:
        raise BadId(f"ids: must be a list of {header.n} strings")
    return check_str_ids(ids)


def check_str_ids(ids: list[Any], what: str = "ids") -> list[str]:
    """``ids`` itself if each is a string of 1 to 256 bytes of UTF-8 without NUL.

    Raises BadId with the row of the first that is not.
    """
    if set(map(type, ids)) <= {str}:
        joined = "".join(ids)
        lengths = [len(one) for one in ids]
        if (
            joined.isascii()
            and "\0" not in joined
            and min(lengths, default=1) >= 1
            and max(lengths, default=1) <= MAX_STR_ID_BYTES
        ):
            return ids
    for row, one in enumerate(ids):
        if type(one) is not str:
            raise BadId(f"{what}: must be a string", row=row)
        if "\0" in one:
            raise BadId(f"{what}: must not contain NUL", row=row)
        if not 1 <= len(one.encode()) <= MAX_STR_ID_BYTES:
            raise BadId(f"{what}: must have 1 to {MAX_STR_ID_BYTES} bytes of UTF-8", row=row)
    return ids


def _columns(
    json: JsonObject, types: Mapping[str, ColumnType], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Column]:
    dictionaries = json.get("dictionaries", {})
    if type(dictionaries) is not dict:
        raise BadMetadata("dictionaries: must be an object")
    texts = {name for name, type_ in types.items() if type_ == "str"}
    if dictionaries.keys() != texts:
        odd = min(dictionaries.keys() ^ texts)
        raise BadMetadata(f"dictionaries.{shown(odd)}: one for each str column, and no other")
    columns: dict[str, Column] = {}
    for name in types:
        values: Any = arrays[_COLUMN + name]
        if name in texts:
            values = StrColumn(values, _dictionary(name, dictionaries[name]))
        columns[name] = values
    return columns


def _dictionary(name: str, texts: Any) -> tuple[str, ...]:
    if type(texts) is not list or set(map(type, texts)) - {str}:
        raise BadMetadata(f"dictionaries.{shown(name)}: must be a list of strings")
    return tuple(texts)


def _metadata(
    count: int, json: JsonObject, types: Mapping[str, ColumnType]
) -> list[dict[str, Any] | None] | None:
    if "metadata" not in json:
        return None
    metadata = json["metadata"]
    if type(metadata) is not list or len(metadata) != count:
        raise BadMetadata(f"metadata: must be a list of {count} objects or nulls")
    for row, one in enumerate(metadata):
        if one is None:
            continue
        if type(one) is not dict:
            raise BadMetadata("metadata: must be an object or null", row=row)
        if not types.keys().isdisjoint(one):
            twice = min(types.keys() & one.keys())
            raise BadMetadata(f"metadata.{shown(twice)}: both a column and metadata", row=row)
    return metadata


def as_sections(rows: RowBatch) -> tuple[JsonObject, int, list[tuple[str, Any]]]:
    """A batch as a client sends it: JSON, flags, and arrays by name (``ids`` first)."""
    json: JsonObject = {}
    flags = 0
    arrays: list[tuple[str, Any]] = []
    if isinstance(rows.ids, list):
        json["ids"] = rows.ids
    elif rows.ids is not None:
        flags |= FLAG_IDS
        arrays.append(("ids", np.ascontiguousarray(rows.ids, "<u8")))
    if rows.columns:
        flags |= FLAG_COLUMNS
        json["columns"] = {name: column_type(column) for name, column in rows.columns.items()}
        for name, column in rows.columns.items():
            values: NDArray[Any]
            if isinstance(column, StrColumn):
                json.setdefault("dictionaries", {})[name] = list(column.dictionary)
                values = column.codes
            else:
                values = column
            arrays.append((_COLUMN + name, np.ascontiguousarray(values)))
    if rows.metadata is not None:
        json["metadata"] = _plain(rows.metadata)
    return json, flags, arrays


def column_type(column: Column) -> ColumnType:
    """The protocol's type of a column's array. Raises BadMetadata for any other dtype."""
    if isinstance(column, StrColumn):
        return "str"
    for name, dtype in COLUMN_DTYPES.items():
        if name != "str" and column.dtype == np.dtype(dtype):
            return name  # type: ignore[return-value]
    raise BadMetadata(f"columns: arrays are float64, int64 or uint8, not {column.dtype}")


def _plain(metadata: Sequence[Mapping[str, Any] | None]) -> list[dict[str, Any] | None]:
    return [one if one is None or type(one) is dict else dict(one) for one in metadata]
