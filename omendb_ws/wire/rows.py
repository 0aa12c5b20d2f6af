"""JSON rows and ids to batches, once the collection's definition is known (PROTOCOL section 4).

Every fault names its row and field. ``payloads`` are complete metadata as compact JSON; None stands
for a row whose metadata is exactly the non-null columns of its binary frame (or nothing at all).
Knows a definition and limits, no index.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any, Final

import numpy as np
import orjson
from omendb_core.model.change import RowBatch, UpdateRequest
from omendb_core.model.errors import BadId, BadMetadata, BadRequest, TooLarge
from omendb_core.model.packed import PackedPayloads, packed
from omendb_core.model.types import (
    MAX_METADATA_LEVELS,
    MAX_SAFE_INTEGER,
    NULL_CODE,
    Column,
    Definition,
    IdKind,
    Ids,
    StrColumn,
)

from . import vectors as vector_room
from .batches import check_str_ids
from .fields import refuse_unknown
from .limits import Limits
from .numbers import is_deeper

ROW_FIELDS: Final = frozenset(("id", "vector", "metadata"))
UPDATE_FIELDS: Final = frozenset(("id", "metadata"))
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_MAX_U64: Final = 2**64 - 1
_TOO_DEEP: Final = f"metadata: nested too deep; at most {MAX_METADATA_LEVELS} levels"


def parse_rows(rows: list[Any], definition: Definition, limits: Limits) -> RowBatch:
    """The rows of an ``add``: vectors, ids, metadata and payloads.

    Raises BadRequest, BadVector, DimMismatch, BadId, BadMetadata or TooLarge, with ``row``.
    """
    check_objects(rows, ROW_FIELDS)
    vectors = vector_room.from_lists(required(rows, "vector"), "vector", definition.dim)
    given = given_ids(rows, definition.ids)
    ids = None if given is None else parse_ids(given, definition.ids, "id")
    metadata, payloads = _metadata(rows, limits)
    return RowBatch(vectors, ids, {}, metadata, payloads)


def parse_updates(rows: list[Any], definition: Definition, limits: Limits) -> UpdateRequest:
    """The rows of an ``update``; under ``auto`` the ids are seqs.

    Raises BadRequest, BadId, BadMetadata or TooLarge, with ``row``.
    """
    check_objects(rows, UPDATE_FIELDS)
    ids = parse_ids(required(rows, "id"), definition.ids, "id")
    required(rows, "metadata")
    metadata, payloads = _metadata(rows, limits)
    return UpdateRequest(ids, metadata or [{}] * len(rows), payloads or [None] * len(rows))


def check_objects(rows: list[Any], known: frozenset[str]) -> None:
    """BadRequest with the ``row`` that is none, or has a field that is not ``known``."""
    for row, one in enumerate(rows):
        if type(one) is not dict:
            raise BadRequest("rows: must be objects", row=row)
        if not known.issuperset(one):
            refuse_unknown(one, known, row)


def required(rows: Sequence[dict[str, Any]], name: str) -> list[Any]:
    """A field of each row. BadRequest with the ``row`` that lacks it."""
    try:
        return [one[name] for one in rows]
    except KeyError:
        row = next(row for row, one in enumerate(rows) if name not in one)
        raise BadRequest(f"{name}: missing", row=row) from None


def given_ids(rows: Sequence[dict[str, Any]], kind: IdKind) -> list[Any] | None:
    """The ids as they were given, None under ``auto``. BadId with ``row``: one too many, or few."""
    given = [one["id"] for one in rows if "id" in one]
    if kind == "auto":
        if given:
            row = next(row for row, one in enumerate(rows) if "id" in one)
            raise BadId("id: this collection numbers its rows itself (ids: auto)", row=row)
        return None
    if len(given) != len(rows):
        row = next(row for row, one in enumerate(rows) if "id" not in one)
        raise BadId(f"id: missing; the collection's ids are {kind}", row=row)
    return given


def parse_ids(ids: list[Any], kind: IdKind, what: str = "ids") -> Ids:
    """Ids as JSON has them: uint64 (n,) for ``u64`` and ``auto`` (seqs), the list for ``str``.

    Raises BadId with the ``row`` of the first that is none.
    """
    if kind == "str":
        return check_str_ids(ids, what)
    if set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) <= MAX_SAFE_INTEGER:
        return np.array(ids, np.uint64)
    return np.array([_u64(one, what, row) for row, one in enumerate(ids)], np.uint64)


def _u64(value: Any, what: str, row: int) -> int:
    if type(value) is int and 0 <= value <= MAX_SAFE_INTEGER:
        return value
    if type(value) is str and _DECIMAL.fullmatch(value) and int(value) <= _MAX_U64:
        return int(value)
    if type(value) is int and value > MAX_SAFE_INTEGER:
        raise BadId(f"{what}: numbers above 2^53-1 are written as strings", row=row)
    raise BadId(f"{what}: must be an integer from 0 on, or a decimal string of one", row=row)


def _metadata(
    rows: Sequence[dict[str, Any]], limits: Limits
) -> tuple[list[dict[str, Any]] | None, PackedPayloads | None]:
    """Each row's metadata and payload; None, None where no row has any."""
    metadata = metadata_objects(rows)
    return (metadata, payloads_of(metadata, limits)) if any(metadata) else (None, None)


def metadata_objects(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row's metadata. BadMetadata with the ``row`` where it is no object."""
    metadata = [one.get("metadata", {}) for one in rows]
    if set(map(type, metadata)) != {dict}:
        row = next(row for row, one in enumerate(metadata) if type(one) is not dict)
        raise BadMetadata("metadata: must be an object", row=row)
    return metadata


def payloads_of(metadata: Sequence[dict[str, Any]], limits: Limits) -> PackedPayloads:
    """Each row's metadata as JSON. BadMetadata or TooLarge, with ``row``."""
    return packed(
        _payload(one, row, limits.max_metadata_bytes) if one else None
        for row, one in enumerate(metadata)
    )


def _payload(metadata: Mapping[str, Any], row: int, most_bytes: int) -> bytes:
    try:
        payload = orjson.dumps(metadata)
    except TypeError:
        raise BadMetadata(_TOO_DEEP, row=row) from None
    brackets = payload.count(b"[") + payload.count(b"{")
    if brackets > MAX_METADATA_LEVELS and is_deeper(metadata, MAX_METADATA_LEVELS):
        raise BadMetadata(_TOO_DEEP, row=row)
    if len(payload) > most_bytes:
        raise TooLarge(
            f"metadata: {len(payload)} bytes as compact JSON; at most {most_bytes}"
            " (max_metadata_bytes)",
            row=row,
        )
    return payload


# -- binary adds --------------------------------------------------------------------------------

#: The longest JSON of a value: a float64, an integer within ±(2**53 - 1), a boolean.
_LONGEST_VALUE_BYTES: Final = 24
#: JSON writes a control character in six bytes; any other takes fewer.
_LONGEST_CHARACTER_BYTES: Final = 6


def complete_payloads(rows: RowBatch, limits: Limits) -> RowBatch:
    """The rows of a binary add with ``payloads``: their columns and metadata as one object each.

    Raises BadMetadata or TooLarge, with ``row``. Whether columns are declared, and their values
    within bounds, is for the engine.
    """
    if rows.metadata is None and not rows.columns:
        return rows
    check_columns_alone(rows, limits)
    if not any(rows.metadata or ()):
        return replace(rows, metadata=None, payloads=None)
    return replace(rows, payloads=payloads_of_rows(rows, limits))


def check_columns_alone(rows: RowBatch, limits: Limits) -> None:
    """TooLarge, with ``row``, for a row whose columns alone are too long."""
    if may_exceed(rows.columns, limits.max_metadata_bytes):
        check_bare(rows, limits)


def check_bare(rows: RowBatch, limits: Limits) -> None:
    """Check the rows that have nothing but columns, if those may be too long at all."""
    given = set(_rich(rows))
    bare = [row for row in range(len(rows.vectors)) if row not in given]
    for row, one in zip(bare, _column_objects(rows.columns, bare), strict=True):
        _payload(one, row, limits.max_metadata_bytes)


def payloads_of_rows(rows: RowBatch, limits: Limits) -> PackedPayloads:
    """The payload of each row that has metadata, its columns included."""
    return packed(_payloads(rows, _rich(rows), limits.max_metadata_bytes))


def _rich(rows: RowBatch) -> list[int]:
    """Which rows have metadata."""
    return [row for row, one in enumerate(rows.metadata or ()) if one]


def _payloads(rows: RowBatch, rich: list[int], most_bytes: int) -> Iterator[bytes | None]:
    """The payload of each row; ``rich`` are those that have metadata."""
    metadata, next_row = rows.metadata or (), 0
    for row, one in zip(rich, _column_objects(rows.columns, rich), strict=True):
        yield from repeat(None, row - next_row)
        one.update(metadata[row] or {})
        yield _payload(one, row, most_bytes)
        next_row = row + 1
    yield from repeat(None, len(rows.vectors) - next_row)


def may_exceed(columns: Mapping[str, Column], most_bytes: int) -> bool:
    """Whether some row's columns alone might be longer as JSON; cheap, and never wrongly False."""
    longest = 2
    for name, column in columns.items():
        value = _LONGEST_VALUE_BYTES
        if isinstance(column, StrColumn):
            value = 2 + _LONGEST_CHARACTER_BYTES * max(map(len, column.dictionary), default=0)
        longest += _LONGEST_CHARACTER_BYTES * len(name) + 4 + value
    return longest > most_bytes


def _column_objects(columns: Mapping[str, Column], places: list[int]) -> list[dict[str, Any]]:
    """The non-null columns of the rows at ``places``, one object each. Raises BadMetadata."""
    objects: list[dict[str, Any]] = [{} for _ in places]
    values: list[Any]
    for name, column in columns.items():
        if isinstance(column, StrColumn):
            codes = column.codes[places].tolist()
            values = [
                _text(name, column, code, row) for code, row in zip(codes, places, strict=True)
            ]
        elif column.dtype == np.uint8:
            values = [bool(value) for value in column[places].tolist()]
        else:
            values = [None if value != value else value for value in column[places].tolist()]
        for one, value in zip(objects, values, strict=True):
            if value is not None:
                one[name] = value
    return objects


def _text(name: str, column: StrColumn, code: int, row: int) -> str | None:
    if code == NULL_CODE:
        return None
    if code >= len(column.dictionary):
        raise BadMetadata(f"{name}: code {code} is not in its dictionary", row=row)
    return column.dictionary[code]
