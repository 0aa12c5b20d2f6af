"""What is inside the records of a log: changes and kept rows <-> JSON and arrays, to the bit.

Pure, both directions; ``layout.py`` is how they lie, ``openings.py`` what a segment begins with.
"""

from __future__ import annotations

from typing import Any, Final

from omendb_core.model.change import AddChange, DeleteChange, ExpireChange, UpdateChange
from omendb_core.model.logged import KeptRows

from ..interface import Logged
from .layout import Malformed, PayloadReader, lay_out, parts_of_rows
from .records import Body, Header, Type

_LOGGED: Final = frozenset({Type.ADD, Type.DELETE, Type.UPDATE, Type.EXPIRE, Type.KEEP})

# -- encoding -----------------------------------------------------------------------------------


def body_of(logged: Logged) -> Body:
    """The record of a change, or of kept rows."""
    match logged:
        case AddChange():
            return _add_body(logged)
        case DeleteChange():
            return lay_out(Type.DELETE, logged.version, {}, [logged.seqs], n=len(logged.seqs),
                           time_us=logged.time_us)  # fmt: skip
        case UpdateChange():
            return _update_body(logged)
        case ExpireChange():
            return lay_out(Type.EXPIRE, logged.version, {}, [], seq=logged.first_seq,
                           time_us=logged.time_us)  # fmt: skip
        case KeptRows():
            return _keep_body(logged)


def _add_body(change: AddChange) -> Body:
    n, dim = change.vectors.shape
    json, arrays = parts_of_rows(change.ids, change.vectors, change.columns, change.payloads)
    if change.producer is not None:
        json |= {"producer": change.producer, "batch": change.batch}
    return lay_out(
        Type.ADD, change.version, json, arrays,
        n=n, dim=dim, seq=change.first_seq, time_us=change.time_us,
    )  # fmt: skip


def _update_body(change: UpdateChange) -> Body:
    json, arrays = parts_of_rows(None, None, change.columns, change.payloads)
    return lay_out(
        Type.UPDATE, change.version, json, [change.seqs, *arrays],
        n=len(change.seqs), time_us=change.time_us,
    )  # fmt: skip


def _keep_body(rows: KeptRows) -> Body:
    n, dim = rows.vectors.shape
    json, arrays = parts_of_rows(rows.ids, rows.vectors, rows.columns, rows.payloads)
    json["last_seq"] = rows.last_seq
    return lay_out(
        Type.KEEP, rows.version, json, [rows.seqs, rows.times_us, *arrays],
        n=n, dim=dim, seq=rows.first_seq,
    )  # fmt: skip


# -- decoding -----------------------------------------------------------------------------------


def is_logged(header: Header) -> bool:
    """Whether the record is a change, or kept rows."""
    return header.type in _LOGGED


def logged_of(header: Header, payload: memoryview) -> Logged:
    """The change, or kept rows, of a record. Raises Malformed."""
    reader = PayloadReader(header, payload)
    try:
        found: Logged = _DECODERS[header.type](header, reader)
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(f"a record of type {header.type.name}: {error}") from error
    reader.finish()
    return found


def _add_of(header: Header, reader: PayloadReader) -> AddChange:
    if not header.n and "producer" not in reader.json:
        raise Malformed("an add of nothing, and of no batch")
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


def _delete_of(header: Header, reader: PayloadReader) -> DeleteChange:
    return DeleteChange(header.version, header.time_us, reader.array("<u8", header.n))


def _update_of(header: Header, reader: PayloadReader) -> UpdateChange:
    seqs = reader.array("<u8", header.n)
    columns = reader.columns()
    payloads = reader.payloads()
    if payloads is None:
        raise Malformed("an update without payloads")
    return UpdateChange(header.version, header.time_us, seqs, columns, payloads)


def _expire_of(header: Header, reader: PayloadReader) -> ExpireChange:
    return ExpireChange(header.version, header.time_us, header.seq)


def _keep_of(header: Header, reader: PayloadReader) -> KeptRows:
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
