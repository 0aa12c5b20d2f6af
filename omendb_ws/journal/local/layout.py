"""How a payload lies: its JSON, then its arrays, each padded to 8 bytes; in both directions, pure.

The arrays follow in a fixed order: ``seqs``, ``times_us``, ``ids``, ``vectors``, the columns in the
order of the JSON, the lengths of the payloads of rows (2**32 - 1: none), these themselves.
docs/journal.md says which record has which. Decoded arrays are views on what was read; whatever
does not fit to the last byte is refused with Malformed, although checksums make that a fault of the
writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.model.packed import NO_PAYLOAD, PackedPayloads
from omendb_core.model.types import Column, Ids, StrColumn

from .files import Buffer
from .records import ALIGNMENT, Body, Header, Type, padding

_COLUMN_DTYPES: Final = {"f64": "<f8", "i64": "<i8", "bool": "|u1"}
_COLUMN_TYPES: Final = {np.dtype(code): name for name, code in _COLUMN_DTYPES.items()}
Array: TypeAlias = bytes | NDArray[Any]


class Malformed(ValueError):
    """A payload that is whole, and is not what its header says."""


def parts_of_rows(
    ids: Ids | None,
    vectors: NDArray[np.float32] | None,
    columns: Mapping[str, Column],
    payloads: PackedPayloads | None,
) -> tuple[dict[str, Any], list[Array]]:
    """The JSON and the arrays that rows of any record have in common."""
    json: dict[str, Any] = {}
    arrays: list[Array] = []
    if isinstance(ids, list):
        json["ids"] = ids
    elif ids is not None:
        json["ids"] = "u64"
        arrays.append(ids)
    if vectors is not None:
        arrays.append(vectors)
    if columns:
        json["columns"] = {name: _column_json(column) for name, column in columns.items()}
        arrays += [
            column.codes if isinstance(column, StrColumn) else column for column in columns.values()
        ]
    if payloads is not None:
        json["payloads"] = True
        arrays += [payloads.lengths, payloads.data]
    return json, arrays


def _column_json(column: Column) -> str | tuple[str, ...]:
    if isinstance(column, StrColumn):
        return column.dictionary
    return _COLUMN_TYPES[column.dtype]


def lay_out(
    type_: Type,
    version: int,
    json: dict[str, Any],
    arrays: Sequence[Array],
    n: int = 0,
    dim: int = 0,
    seq: int = 0,
    time_us: int = 0,
) -> Body:
    """A record's payload of these, and what its header says."""
    # A copy: what orjson returns keeps 4 KiB more, and this waits for the disk.
    text = bytes(memoryview(orjson.dumps(json))) if json else b""
    buffers: list[Buffer] = [text + padding(len(text))] if text else []
    total = len(text) + len(padding(len(text)))
    for array in arrays:
        view = array if isinstance(array, bytes) else _bytes_of(array)
        zeros = padding(len(view))
        buffers += [view, zeros] if zeros else [view]
        total += len(view) + len(zeros)
    return Body(type_, version, buffers, total, len(text), n, dim, seq, time_us)


def _bytes_of(array: NDArray[Any]) -> Buffer:
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""


class PayloadReader:
    """Takes a payload apart from front to back."""

    def __init__(self, header: Header, payload: memoryview) -> None:
        self._payload = payload
        self._at = 0
        self._n = header.n
        text = self._take(header.json_bytes)
        try:
            self.json: Any = orjson.loads(text) if header.json_bytes else {}
        except orjson.JSONDecodeError as error:
            raise Malformed(f"its JSON: {error}") from error
        if not isinstance(self.json, dict):
            raise Malformed("its JSON is no object")

    def array(self, dtype: str, count: int) -> NDArray[Any]:
        """The next array."""
        return np.frombuffer(self._take(count * np.dtype(dtype).itemsize), dtype)

    def vectors(self, dim: int) -> NDArray[np.float32]:
        """The next array, float32 (n, dim)."""
        return self.array("<f4", self._n * dim).reshape(self._n, dim)

    def ids(self) -> Ids | None:
        """Ids of the rows; None where they have none of their own."""
        kind = self.json.get("ids")
        if kind is None:
            return None
        if kind == "u64":
            return self.array("<u8", self._n)
        if not isinstance(kind, list) or len(kind) != self._n:
            raise Malformed("its ids are not one for each row")
        return kind

    def columns(self) -> dict[str, Column]:
        """The columns, in their order."""
        found: dict[str, Column] = {}
        for name, kind in self.json.get("columns", {}).items():
            if isinstance(kind, list):
                found[name] = StrColumn(self.array("<u4", self._n), tuple(kind))
            else:
                found[name] = self.array(_COLUMN_DTYPES[kind], self._n)
        return found

    def payloads(self) -> PackedPayloads | None:
        """Each row's payload; None if there are none at all."""
        if "payloads" not in self.json:
            return None
        lengths = self.array("<u4", self._n).copy()
        size = int(lengths[lengths != NO_PAYLOAD].sum(dtype=np.int64))
        return PackedPayloads(bytes(self._take(size)), lengths)

    def finish(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._payload):
            raise Malformed(f"{len(self._payload) - self._at} bytes that nothing accounts for")

    def _take(self, size: int) -> memoryview:
        found = self._payload[self._at : self._at + size]
        padded = size + -size % ALIGNMENT
        if any(self._payload[self._at + size : self._at + padded]):
            raise Malformed("padding that is not zero")
        self._at += padded
        if self._at > len(self._payload):
            raise Malformed("a payload shorter than its parts")
        return found
