"""What each field of an Arrow schema becomes: the id, the vector, metadata, perhaps a column.

Looks at names and types only; where these do not settle it, ``doubtful`` says whose values do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omendb_core.model.types import ColumnType, IdKind

from .arrow_library import pyarrow, reading
from .arrow_values import EXACT_DIGITS, is_list, is_text, plain_type
from .chunks import FileError
from .fields import Fields, distinct


@dataclass(frozen=True, slots=True)
class Kept:
    """A field that becomes metadata: where it stands, under which key, as which column if any.

    ``is_doubtful``: its values say whether it can be a column (integers beyond 2**53, decimals of
    more digits than a float tells apart).
    """

    at: int
    key: str
    column: ColumnType | None
    is_doubtful: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the fields of a row stand, by their numbers in the schema. ``dim``: if types tell."""

    vector: int
    id: int | None
    metadata: int | None
    kept: tuple[Kept, ...]
    dim: int | None
    ids: IdKind


def lay_out(name: str, schema: Any, fields: Fields) -> Layout:
    """Return what the fields of the file ``name`` become. Raises FileError."""
    with reading(f"{name}: the name of a field is no text"):
        names = distinct(list(schema.names))
    if fields.vector not in names:
        raise FileError(f"{name}: has no field {fields.vector!r}; --vector-field names it")
    vector = names.index(fields.vector)
    has_id = fields.id in names and not fields.numbered
    id = names.index(fields.id) if has_id else None
    metadata = names.index("metadata") if "metadata" in names else None
    if metadata is not None and (metadata in (vector, id) or not _holds_objects(schema, metadata)):
        metadata = None
    kept = tuple(
        _kept(at, key, schema.field(at).type, fields)
        for at, key in enumerate(names)
        if at not in (vector, id, metadata) and fields.is_kept(key)
    )
    ids: IdKind = "u64" if fields.numbered else "auto"
    if id is not None:
        ids = _id_kind(name, schema.field(id))
    return Layout(vector, id, metadata, kept, _dim(name, schema.field(vector)), ids)


def _holds_objects(schema: Any, at: int) -> bool:
    """Whether the field ``metadata`` can hold objects; else it is one like the others."""
    kind, types = plain_type(schema.field(at).type), pyarrow().types
    return bool(types.is_struct(kind) or types.is_map(kind) or is_text(kind) or types.is_null(kind))


def _dim(name: str, field: Any) -> int | None:
    """The dimension that a vector field's type tells, None if each row tells it. Or FileError."""
    types, kind = pyarrow().types, plain_type(field.type)
    of = plain_type(kind.value_type) if is_list(kind) else None
    if of is None or not (types.is_floating(of) or types.is_integer(of)):
        raise FileError(f"{name}: the field {field.name!r} is {field.type}, not lists of numbers")
    if not types.is_fixed_size_list(kind):
        return None
    if kind.list_size < 1:
        raise FileError(f"{name}: the field {field.name!r} has {kind.list_size} dimensions")
    return int(kind.list_size)


def _id_kind(name: str, field: Any) -> IdKind:
    kind = plain_type(field.type)
    if pyarrow().types.is_integer(kind):
        return "u64"
    if is_text(kind):
        return "str"
    raise FileError(f"{name}: the field {field.name!r} is {field.type}, not integers or text")


def _kept(at: int, key: str, kind: Any, fields: Fields) -> Kept:
    types, kind = pyarrow().types, plain_type(kind)
    column: ColumnType | None = None
    is_doubtful = False
    if types.is_integer(kind):
        column, is_doubtful = "i64", kind.bit_width == 64
    elif types.is_boolean(kind):
        column = "bool"
    elif types.is_decimal(kind):
        column, is_doubtful = "f64", kind.precision > EXACT_DIGITS
    elif types.is_floating(kind) or types.is_duration(kind):
        column = "f64"
    elif is_text(kind):
        column = "str"
    elif fields.times == "seconds" and (
        types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind)
    ):
        column = "f64"
    return Kept(at, key, column, is_doubtful)
