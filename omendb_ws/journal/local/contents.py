"""What is inside a payload: changes, kept rows and checkpoints <-> JSON and arrays, to the bit.

Pure, both directions. The arrays of a payload follow its JSON in a fixed order, each padded to 8
bytes: ``seqs``, ``times_us``, ``ids``, ``vectors``, the columns in the order of the JSON, the
lengths of the payloads (2**32 - 1: none), the payloads themselves. docs/journal.md says which
record has which. Decoded arrays are views on what was read; whatever does not fit to the last byte
is refused with Malformed, although checksums make that a fault of the writer.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, get_args

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.model.change import AddChange, DeleteChange, ExpireChange, UpdateChange
from omendb_core.model.logged import Checkpoint, KeptRows
from omendb_core.model.packed import NO_PAYLOAD, PackedPayloads
from omendb_core.model.types import (
    Column,
    ColumnType,
    Definition,
    IdKind,
    Ids,
    Metric,
    StrColumn,
)

from ..interface import Durability, Facts, Logged
from .files import Buffer
from .records import ALIGNMENT, Body, Header, Type, padding

#: The length that stands for a row without a payload.
_COLUMN_DTYPES: Final = {"f64": "<f8", "i64": "<i8", "bool": "|u1"}
_COLUMN_TYPES: Final = {np.dtype(code): name for name, code in _COLUMN_DTYPES.items()}
_LOGGED: Final = frozenset({Type.ADD, Type.DELETE, Type.UPDATE, Type.EXPIRE, Type.KEEP})
_Array: TypeAlias = bytes | NDArray[Any]


class Malformed(ValueError):
    """A payload that is whole, and is not what its header says."""


class Previous(NamedTuple):
    """The segment before: its number, where its records end, the seed in its name if known."""

    number: int
    end: int
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What a segment begins with: all that is to be known of what came before it.

    ``number`` of the segment; ``previous`` is None if there is none before; ``boot_id`` of the
    machine's run that wrote it, "" if unknown; ``missing_to``: rows up to that seq were lost in a
    repair. ``made_bytes``: how long its file was made; ``has_note``: whether the log has a note
    (``notes.py``). Logs of 0.1.0's first days say neither, nor a seed.
    """

    facts: Facts
    checkpoint: Checkpoint
    number: int
    previous: Previous | None
    boot_id: str
    missing_to: int = 0
    made_bytes: int = 0
    has_note: bool = False


# -- encoding -----------------------------------------------------------------------------------


def body_of(logged: Logged) -> Body:
    """The record of a change, or of kept rows."""
    match logged:
        case AddChange():
            return _add_body(logged)
        case DeleteChange():
            return _body(Type.DELETE, logged.version, {}, [logged.seqs], n=len(logged.seqs),
                         time_us=logged.time_us)  # fmt: skip
        case UpdateChange():
            return _update_body(logged)
        case ExpireChange():
            return _body(Type.EXPIRE, logged.version, {}, [], seq=logged.first_seq,
                         time_us=logged.time_us)  # fmt: skip
        case KeptRows():
            return _keep_body(logged)


def _add_body(change: AddChange) -> Body:
    n, dim = change.vectors.shape
    json, arrays = _rows(change.ids, change.vectors, change.columns, change.payloads)
    if change.producer is not None:
        json |= {"producer": change.producer, "batch": change.batch}
    return _body(
        Type.ADD, change.version, json, arrays,
        n=n, dim=dim, seq=change.first_seq, time_us=change.time_us,
    )  # fmt: skip


def _update_body(change: UpdateChange) -> Body:
    json, arrays = _rows(None, None, change.columns, change.payloads)
    return _body(
        Type.UPDATE, change.version, json, [change.seqs, *arrays],
        n=len(change.seqs), time_us=change.time_us,
    )  # fmt: skip


def _keep_body(rows: KeptRows) -> Body:
    n, dim = rows.vectors.shape
    json, arrays = _rows(rows.ids, rows.vectors, rows.columns, rows.payloads)
    json["last_seq"] = rows.last_seq
    return _body(
        Type.KEEP, rows.version, json, [rows.seqs, rows.times_us, *arrays],
        n=n, dim=dim, seq=rows.first_seq,
    )  # fmt: skip


def opening_body(opening: Opening) -> Body:
    """The record that a segment opens with."""
    facts, checkpoint = opening.facts, opening.checkpoint
    definition = facts.definition
    seed = None if opening.previous is None else opening.previous.seed
    json = {
        "tenant": facts.tenant,
        "collection": facts.name,
        "dim": definition.dim,
        "capacity": definition.capacity,
        "metric": definition.metric,
        "ids": definition.ids,
        "columns": dict(definition.columns),
        "ttl": definition.ttl_seconds,
        "durability": facts.durability,
        "epoch": facts.epoch,
        "segment": opening.number,
        "previous": opening.previous and opening.previous[:2],
        "previous_seed": None if seed is None else f"{seed:016x}",
        "made_bytes": opening.made_bytes,
        "has_note": opening.has_note,
        "boot_id": opening.boot_id,
        "missing_to": opening.missing_to,
        "first_seq": checkpoint.first_seq,
        "producers": checkpoint.producers,
    }
    return _body(
        Type.OPEN, checkpoint.version, json, [],
        dim=definition.dim, seq=checkpoint.last_seq, time_us=checkpoint.time_us,
    )  # fmt: skip


def _rows(
    ids: Ids | None,
    vectors: NDArray[np.float32] | None,
    columns: Mapping[str, Column],
    payloads: PackedPayloads | None,
) -> tuple[dict[str, Any], list[_Array]]:
    """The JSON and the arrays that rows of any record have in common."""
    json: dict[str, Any] = {}
    arrays: list[_Array] = []
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


def _body(
    type_: Type,
    version: int,
    json: dict[str, Any],
    arrays: Sequence[_Array],
    n: int = 0,
    dim: int = 0,
    seq: int = 0,
    time_us: int = 0,
) -> Body:
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


# -- decoding -----------------------------------------------------------------------------------


def is_logged(header: Header) -> bool:
    """Whether the record is a change, or kept rows."""
    return header.type in _LOGGED


def logged_of(header: Header, payload: memoryview) -> Logged:
    """The change, or kept rows, of a record. Raises Malformed."""
    reader = _Reader(header, payload)
    try:
        found: Logged = _DECODERS[header.type](header, reader)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"a record of type {header.type.name}: {error}") from error
    reader.finish()
    return found


def opening_of(header: Header, payload: memoryview) -> Opening:
    """What a segment opens with. Raises Malformed."""
    reader = _Reader(header, payload)
    json = reader.json
    try:
        facts = _facts_of(json)
        producers = tuple(
            (name, batch, tuple((first, last) for first, last in seqs))
            for name, batch, seqs in json["producers"]
        )
        checkpoint = Checkpoint(
            header.version, json["first_seq"], header.seq, header.time_us, producers
        )
        previous = None
        if json["previous"] is not None:
            number, end = json["previous"]
            seed = json.get("previous_seed")
            previous = Previous(
                operator.index(number),
                operator.index(end),
                None if seed is None else int(seed, 16),
            )
        opening = Opening(
            facts,
            checkpoint,
            operator.index(json["segment"]),
            previous,
            json["boot_id"],
            json["missing_to"],
            operator.index(json.get("made_bytes", 0)),
            json.get("has_note", False) is True,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Malformed(f"the opening of a segment: {error}") from error
    reader.finish()
    return opening


def _facts_of(json: Mapping[str, Any]) -> Facts:
    """What an opening says of its collection. ValueError, KeyError, TypeError."""
    dim, capacity, ttl = operator.index(json["dim"]), operator.index(json["capacity"]), json["ttl"]
    columns = json["columns"]
    texts = [json[key] for key in ("tenant", "collection", "epoch")]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a name that is no text")
    if min(dim, capacity) < 1 or (ttl is not None and not 0 < float(ttl) < math.inf):
        raise ValueError("a definition that no collection has")
    for value, known in (
        (json["metric"], get_args(Metric)),
        (json["ids"], get_args(IdKind)),
        (json["durability"], get_args(Durability)),
        *((kind, get_args(ColumnType)) for kind in columns.values()),
    ):
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
    definition = Definition(dim, capacity, json["metric"], json["ids"], columns, ttl)
    return Facts(texts[0], texts[1], definition, json["durability"], texts[2])


class _Reader:
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


def _add_of(header: Header, reader: _Reader) -> AddChange:
    return AddChange(
        version=header.version,
        time_us=header.time_us,
        first_seq=header.seq,
        ids=reader.ids(),
        vectors=reader.vectors(header.dim),
        columns=reader.columns(),
        payloads=reader.payloads(),
        producer=reader.json.get("producer"),
        batch=reader.json.get("batch"),
    )


def _delete_of(header: Header, reader: _Reader) -> DeleteChange:
    return DeleteChange(header.version, header.time_us, reader.array("<u8", header.n))


def _update_of(header: Header, reader: _Reader) -> UpdateChange:
    seqs = reader.array("<u8", header.n)
    columns = reader.columns()
    payloads = reader.payloads()
    if payloads is None:
        raise Malformed("an update without payloads")
    return UpdateChange(header.version, header.time_us, seqs, columns, payloads)


def _expire_of(header: Header, reader: _Reader) -> ExpireChange:
    return ExpireChange(header.version, header.time_us, header.seq)


def _keep_of(header: Header, reader: _Reader) -> KeptRows:
    last_seq = reader.json["last_seq"]
    return KeptRows(
        version=header.version,
        first_seq=header.seq,
        last_seq=last_seq,
        seqs=reader.array("<u8", header.n),
        times_us=reader.array("<i8", last_seq - header.seq + 1),
        ids=reader.ids(),
        vectors=reader.vectors(header.dim),
        columns=reader.columns(),
        payloads=reader.payloads(),
    )


_DECODERS: Final[dict[Type, Any]] = {
    Type.ADD: _add_of,
    Type.DELETE: _delete_of,
    Type.UPDATE: _update_of,
    Type.EXPIRE: _expire_of,
    Type.KEEP: _keep_of,
}
