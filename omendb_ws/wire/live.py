"""Pushes of ``live`` subscriptions, as JSON events and as LIVE messages (PROTOCOL sections 6, 7).

Thousands go out in one tick: what differs between subscribers is written by one format each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from omendb_core.types import MAX_SAFE_INTEGER

from .binary import hit_arrays, hits_json
from .frames import Header, pack
from .hits import row_objects
from .messages import Live, Results
from .opcodes import FLAG_VECTORS, LEAVE_REASONS, MAGIC, PROTOCOL_BYTE

_LIVE: Final = 5
_REASONS: Final = tuple(reason.encode() for reason in LEAVE_REASONS)


def encode_text(live: Live) -> bytes:
    """The event ``live``; ``leave_ids`` must be there."""
    leaves = b",".join(
        b'{"id":%b,"seq":%d,"reason":"%b"}' % (_id(one), seq, _REASONS[reason])
        for one, seq, reason in zip(
            live.leave_ids or [],
            live.leave_seqs.tolist(),
            live.leave_reasons.tolist(),
            strict=True,
        )
    )
    enters = b",".join(row_objects(live.enter))
    return b'{"event":"live","sub":%d,"version":%d,"leave":[%b],"enter":[%b]}' % (
        live.sub,
        live.version,
        leaves,
        enters,
    )


def encode_snapshot(request_id: int, results: Results, head: Mapping[str, Any]) -> bytes:
    """The JSON answer to ``subscribe`` or ``move``: ``head``, version and results."""
    fields = orjson.dumps({**head, "version": results.version})[:-1]
    rows = b",".join(row_objects(results.hits))
    return b'{"id":%d,"ok":%b,"results":[%b]}}' % (request_id, fields, rows)


def encode_binary(live: Live) -> bytes:
    """The message LIVE."""
    json = hits_json(live.enter, None)
    vectors = live.enter.vectors
    flags, dim = (FLAG_VECTORS, vectors.shape[1]) if vectors is not None else (0, 0)
    header = Header(
        MAGIC, PROTOCOL_BYTE, _LIVE, flags, live.sub, 0,
        len(live.enter.seqs), dim, len(live.leave_seqs), len(json), 0,
    )  # fmt: skip
    version = np.array([live.version], "<u8")
    leave: list[NDArray[Any]] = [live.leave_seqs, live.leave_reasons]
    return pack(header, json, [version, *hit_arrays(live.enter), *leave])


def _id(one: int | str) -> bytes:
    if isinstance(one, str):
        return orjson.dumps(one)
    return b"%d" % one if one <= MAX_SAFE_INTEGER else b'"%d"' % one
