"""How long answers get: lower bounds to refuse by, and expectations to hold back by.

No message may exceed ``max_message_bytes``, and a reply that would is refused before the work
(PROTOCOL section 9). So the *least* of a row is a sound lower bound: exact for binary ids, seqs,
scores and vectors up to padding; in JSON the shortest text of each value. The *most* of a row is
what flow control reckons with. Knows definitions and the wire's layout, no window.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from omendb_core.model.types import Definition, Include

from .opcodes import ALIGNMENT, HEADER_BYTES, Limits

#: Around the rows: header and version, or the JSON before and after them. A generous bound.
ENVELOPE_BYTES: Final = 256
#: A description of a collection, columns aside.
DESCRIPTION_BYTES: Final = 512
_COLUMN_BYTES: Final = 64 + 16
_LEAST_JSON_ROW: Final = len('{"id":1,"seq":1},')
_LEAST_JSON_SCORE: Final = len(',"score":0.0')
_LEAST_JSON_METADATA: Final = len(',"metadata":{}')
_LEAST_JSON_VECTOR: Final = len(',"vector":[]') - 1  # the last element has no comma
#: "0.0," - four bytes for each element, as in binary.
_LEAST_ELEMENT: Final = 4
_USUAL_JSON_ROW: Final = len('{"id":1234567890123456,"seq":1234567890123456,"score":0.12345678},')
_USUAL_JSON_ELEMENT: Final = len("-0.12345678,")
_MOST_JSON_ROW: Final = len(
    '{"id":"12345678901234567890","seq":1234567890123456,"score":-1.2345678e-38},'
)
_MOST_JSON_ELEMENT: Final = len("-1.23456789e-38,")
_MOST_JSON_F64: Final = len("-1.2345678901234567e-300")
_MOST_JSON_LEAVE: Final = len(
    '{"id":"12345678901234567890","seq":1234567890123456,"reason":"displaced"},'
)
_MOST_JSON_NUMBER: Final = len("-1.2345678901234567e-308")
_MOST_JSON_COUNT: Final = len('{"value":,"count":12345678},')
#: 256 bytes of control characters, six bytes each when escaped.
_MOST_STR_ID: Final = len('"",') + 6 * 256


class Keys(NamedTuple):
    """What a row of an answer holds besides its score: with ``rank`` or ``decay``."""

    rank: bool = False
    weight: bool = False


_NO_KEYS: Final = Keys()


def least_row_bytes(
    definition: Definition, include: Include, is_binary: bool, keys: Keys = _NO_KEYS
) -> int:
    """A row of an answer to a search takes at least this."""
    total = _least(definition, include, is_binary) + (4 if is_binary else _LEAST_JSON_SCORE)
    if keys.rank:
        total += 8 if is_binary else len(',"rank":1.0')
    if keys.weight:
        total += len("1.0,") if is_binary else len(',"weight":1.0')
    return total


def least_found_bytes(definition: Definition, include: Include) -> int:
    """A row of an answer to ``get`` takes at least this."""
    return _least(definition, include, is_binary=False)


def _least(definition: Definition, include: Include, is_binary: bool) -> int:
    vector_bytes = _LEAST_ELEMENT * definition.dim if include.vector else 0
    if is_binary:
        id_bytes = len('"a",') if definition.ids == "str" else 8
        return id_bytes + 8 + vector_bytes + (len("{},") if include.metadata else 0)
    metadata_bytes = _LEAST_JSON_METADATA if include.metadata else 0
    if include.vector:
        vector_bytes += _LEAST_JSON_VECTOR
    return _LEAST_JSON_ROW + metadata_bytes + vector_bytes


def max_hits(
    definition: Definition,
    include: Include,
    is_binary: bool,
    queries: int,
    limits: Limits,
    keys: Keys = _NO_KEYS,
) -> int:
    """How many rows the largest reply to a search can hold; more cannot fit."""
    around = HEADER_BYTES + 8 + 4 * queries if is_binary else len('{"id":0,"ok":{}}')
    room = limits.max_message_bytes - around
    return max(0, room // least_row_bytes(definition, include, is_binary, keys))


def plain_results_bytes(queries: int, rows: int) -> int:
    """RESULTS of so many rows, with numbers for ids and nothing included, takes at most this."""
    return HEADER_BYTES + 8 + 4 * queries + (8 + 8 + 4) * rows + 2 * (ALIGNMENT - 1)


def most_row_bytes(
    definition: Definition,
    include: Include,
    is_binary: bool,
    max_metadata_bytes: int,
    keys: Keys = _NO_KEYS,
) -> int:
    """A row of any answer takes at most this, padding aside."""
    total = len(',"metadata":') + max_metadata_bytes if include.metadata else 0
    total += _keys_bytes(is_binary, keys)
    if definition.ids == "str":
        total += _MOST_STR_ID
    if is_binary:
        return total + 20 + (4 * definition.dim if include.vector else 0)
    if include.vector:
        total += len(',"vector":[]') + _MOST_JSON_ELEMENT * definition.dim
    return total + _MOST_JSON_ROW


def usual_row_bytes(
    definition: Definition, include: Include, is_binary: bool, keys: Keys = _NO_KEYS
) -> int:
    """What a row of a push takes as a rule, metadata aside."""
    total = _keys_bytes(is_binary, keys)
    if is_binary:
        return total + 20 + (4 * definition.dim if include.vector else 0)
    return total + _USUAL_JSON_ROW + (_USUAL_JSON_ELEMENT * definition.dim if include.vector else 0)


def _keys_bytes(is_binary: bool, keys: Keys) -> int:
    """What keys take of a row at most."""
    total = 0
    if keys.rank:
        total += 8 if is_binary else len(',"rank":') + _MOST_JSON_F64
    if keys.weight:
        total += len(',"weight":') + _MOST_JSON_ELEMENT
    return total


def most_push_bytes(
    definition: Definition,
    include: Include,
    is_binary: bool,
    k: int,
    max_metadata_bytes: int,
    keys: Keys = _NO_KEYS,
) -> int:
    """The largest push of a live query: k rows leave and k others enter."""
    k = min(k, definition.capacity)
    leave_bytes = 9
    if not is_binary:
        leave_bytes = _MOST_JSON_LEAVE + (_MOST_STR_ID if definition.ids == "str" else 0)
    enter_bytes = most_row_bytes(definition, include, is_binary, max_metadata_bytes, keys)
    return ENVELOPE_BYTES + k * (leave_bytes + enter_bytes)


def counts_bytes(
    definition: Definition, by: str | None, limit: int, max_metadata_bytes: int
) -> int:
    """Counts by value take at most this: a value is part of a row's metadata."""
    if by is None:
        return ENVELOPE_BYTES
    is_text = definition.columns[by] == "str"
    value_bytes = max_metadata_bytes if is_text else _MOST_JSON_NUMBER
    return ENVELOPE_BYTES + min(limit, definition.capacity) * (_MOST_JSON_COUNT + value_bytes)


def added_bytes(definition: Definition, rows: int) -> int:
    """The acknowledgement of so many rows, all of them left out, takes at most this."""
    id_bytes = _MOST_STR_ID if definition.ids == "str" else len('"12345678901234567890",')
    return ENVELOPE_BYTES + rows * (id_bytes + len("12345,"))


def description_bytes(definition: Definition) -> int:
    """About as much as the description of a collection takes."""
    return DESCRIPTION_BYTES + _COLUMN_BYTES * len(definition.columns)
