"""Pushes of ``live`` subscriptions, as JSON events and as LIVE messages (PROTOCOL sections 6, 7).

Thousands go out in one tick: what differs between subscribers is written by few calls each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
from omendb_core.model.types import MAX_SAFE_INTEGER, Hits

from .binary_replies import hit_arrays, hits_json
from .frames import PADDING
from .hits import row_objects
from .messages import LivePushes, Results
from .opcodes import (
    ALIGNMENT,
    FLAG_RANKS,
    FLAG_VECTORS,
    HEADER,
    LEAVE_REASONS,
    MAGIC,
    PROTOCOL_BYTE,
)

_LIVE: Final = 5
_VERSION: Final = struct.Struct("<Q")
_REASONS: Final = tuple(reason.encode() for reason in LEAVE_REASONS)


def encode_text(pushes: LivePushes) -> list[bytes]:
    """The event ``live`` for each subscription."""
    leaves = [
        b'{"id":%b,"seq":%d,"reason":"%b"}' % (_id(one), seq, _REASONS[reason])
        for one, seq, reason in zip(
            pushes.leave_ids,
            pushes.leave_seqs.tolist(),
            pushes.leave_reasons.tolist(),
            strict=True,
        )
    ]
    enters = row_objects(pushes.enter)
    versions = b"" if pushes.versions is None else b',"versions":%b' % orjson.dumps(pushes.versions)
    return [
        b'{"event":"live","sub":%d,"version":%d%b,"leave":[%b],"enter":[%b]}'
        % (sub, pushes.version, versions, b",".join(leaves[leave]), b",".join(enters[enter]))
        for sub, leave, enter in _parts(pushes)
    ]


def encode_snapshot(request_id: int, results: Results, head: Mapping[str, Any]) -> bytes:
    """The JSON answer to ``subscribe`` or ``move``: ``head``, version, ``at``, and results."""
    stated: dict[str, Any] = {} if results.at is None else {"at": results.at}
    if results.versions is not None:
        stated["versions"] = results.versions
    fields = orjson.dumps({**head, "version": results.version, **stated})[:-1]
    rows = b",".join(row_objects(results.hits))
    return b'{"id":%d,"ok":%b,"results":[%b]}}' % (request_id, fields, rows)


def encode_binary(pushes: LivePushes) -> list[bytes]:
    """The message LIVE for each subscription."""
    enter, vectors = pushes.enter, pushes.enter.vectors
    flags, dim = (FLAG_VECTORS, vectors.shape[1]) if vectors is not None else (0, 0)
    if enter.ranks is not None:
        flags |= FLAG_RANKS
    version = _VERSION.pack(pushes.version)
    # A slice of bytes costs a fifth of a slice of an array.
    rows = [(array.tobytes(), array.nbytes // max(1, len(array))) for array in hit_arrays(enter)]
    leave_seqs, leave_reasons = pushes.leave_seqs.tobytes(), pushes.leave_reasons.tobytes()
    messages = []
    for sub, leave, here in _parts(pushes):
        count, gone = here.stop - here.start, leave.stop - leave.start
        json = _json_of(enter, here, pushes.versions)
        header = (MAGIC, PROTOCOL_BYTE, _LIVE, flags, sub, 0, count, dim, gone, len(json), 0)
        pieces = [HEADER.pack(*header), json, PADDING[len(json) % ALIGNMENT], version]
        for data, row_bytes in rows:
            pieces.append(data[here.start * row_bytes : here.stop * row_bytes])
            pieces.append(PADDING[count * row_bytes % ALIGNMENT])
        pieces.append(leave_seqs[8 * leave.start : 8 * leave.stop])
        pieces.append(leave_reasons[leave])
        pieces.append(PADDING[gone % ALIGNMENT])
        messages.append(b"".join(pieces))
    return messages


def _parts(pushes: LivePushes) -> Iterator[tuple[int, slice, slice]]:
    """Each sub, and where what leaves it and enters it lies."""
    left = entered = 0
    for sub, leaves, enters in zip(
        pushes.subs, pushes.leave_counts, pushes.enter_counts, strict=True
    ):
        yield sub, slice(left, left + leaves), slice(entered, entered + enters)
        left += leaves
        entered += enters


def _json_of(hits: Hits, rows: slice, versions: list[int] | None) -> bytes:
    if hits.metadata is None and not isinstance(hits.ids, list) and versions is None:
        return b""
    metadata = hits.metadata[rows] if hits.metadata is not None else None
    own = Hits(hits.ids[rows], hits.seqs[rows], metadata=metadata)
    return hits_json(own, None, versions=versions)


def _id(one: int | str) -> bytes:
    if isinstance(one, str):
        return orjson.dumps(one)
    return b"%d" % one if one <= MAX_SAFE_INTEGER else b'"%d"' % one
