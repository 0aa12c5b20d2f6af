"""A binary message: a request, or one typed refusal with its id; the same in pieces, and again.

Arrays are views on the message, and nothing of it is read beyond its end. What the fast ways read
(plain searches, plain adds) is what the careful one reads.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from omendb_core.model.change import RowBatch
from omendb_core.model.types import ColumnType

from omendb_ws.wire import binary, long_frames, searches
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.messages import Add, Move, Refusal, Request, RestoreBytes, Search, Subscribe
from omendb_ws.wire.opcodes import HEADER_BYTES, OPS
from tests.fuzz.target import Bounds, Target
from tests.fuzz.targets.text_requests import check_refusal
from tests.wire.cases import CASES
from tests.wire.plain import same
from tests.wire.test_long_text import drained

LIMITS = Limits(
    max_text_bytes=2000, max_rows=64, max_k=50, max_queries=8, max_dim=64, max_metadata_bytes=80
)
COLUMNS: dict[int, Mapping[str, ColumnType]] = {
    1: {"price": "f64", "n": "i64", "on": "bool", "shop": "str"}, 2: {},
}  # fmt: skip
PIECES = (1, 6, 64)


def fuzz(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = binary.decode_request(data, LIMITS, COLUMNS.get)
        plain = searches.read_plain(data, LIMITS)
        if plain is not None:
            assert same(plain.whole(), decoded)
        if isinstance(decoded, Refusal):
            check_refusal(decoded)
            is_frame = len(data) >= 8 and data[:2] == b"\xdb\x01"
            assert (decoded.id is not None) == is_frame
        else:
            assert decoded.id == int.from_bytes(data[4:8], "little")
            check_views(decoded, len(data))
            check_again(decoded)
        if len(data) >= HEADER_BYTES and data[:2] == b"\xdb\x01":
            for piece in PIECES:
                check_pieces(data, decoded, piece)


def check_views(request: Request, size: int) -> None:
    """Nothing was copied that is as long as the message, and nothing is longer."""
    rows = request.rows if isinstance(request, Add) else None
    vectors = rows.vectors if isinstance(rows, RowBatch) else getattr(request, "vectors", None)
    if vectors is not None:
        assert vectors.nbytes <= size
        assert not vectors.flags.writeable


def check_pieces(data: bytes, whole: Request | Refusal, piece: int) -> None:
    header_says = int.from_bytes(data[24:28], "little")
    if header_says > len(data) - HEADER_BYTES:
        return  # ``long_frames.is_long`` hands on no such message
    found = drained(long_frames.decode(data, LIMITS, COLUMNS.get, piece)).request
    if isinstance(whole, Refusal):
        assert isinstance(found, Refusal), (whole, found)
        one, other = whole.error, found.error
        assert (found.id, other.code, other.row) == (whole.id, one.code, one.row)
        if "not JSON" not in one.message:
            assert other.message == one.message
    else:
        assert same(found, whole), (whole, found)


def check_again(request: Any) -> None:
    """Written and read it is the same."""
    if isinstance(request, Add):
        if not isinstance(request.rows, RowBatch):
            check_refusal(Refusal(request.id, request.rows))  # type: ignore[arg-type]
            return
        again = binary.encode_add(
            request.id, request.collection, request.rows, request.producer, request.batch,  # type: ignore[arg-type]
            request.unless_near,
        )  # fmt: skip
    elif isinstance(request, Search):
        again = binary.encode_search(
            request.id, request.collection, request.vectors, request.k, request.filter,  # type: ignore[arg-type]
            request.min_score, request.include, request.last, shaping(request),
        )  # fmt: skip
    elif isinstance(request, Subscribe) and request.kind == "match":
        again = binary.encode_subscribe_match(
            request.id, request.collection, request.vectors, request.min_score, request.filter,  # type: ignore[arg-type]
            request.include, request.encoding,
        )  # fmt: skip
    elif isinstance(request, Subscribe):
        again = binary.encode_subscribe(
            request.id, request.collection, request.vectors, request.k, request.filter,  # type: ignore[arg-type]
            request.min_score, request.include, request.every_ms, request.encoding,
            shaping(request),
        )  # fmt: skip
    elif isinstance(request, RestoreBytes):
        again = binary.encode_restore(request.id, request.restore, request.data)
    else:
        assert isinstance(request, Move)
        changes = shaping(request) | {"filter": request.filter}
        if not request.keeps_min_score:
            changes["min_score"] = request.min_score
        again = binary.encode_move(request.id, request.sub, request.vectors, changes)
    found = binary.decode_request(again, LIMITS, COLUMNS.get)
    if isinstance(found, Refusal) and found.error.code == "too_large":
        return  # 1e300 is longer written out
    assert same(found, request), (request, found)


SHAPING = ("positive", "negative", "exclude", "decay", "rank", "group", "spread", "mmr", "at")


def shaping(request: Any) -> dict[str, Any]:
    found = {name: getattr(request, name, None) for name in SHAPING}
    return {name: value for name, value in found.items() if value is not None}


def made() -> Mapping[str, bytes]:
    golden = {case.name: case.data for case in CASES if case.is_binary and case.sent_by == "client"}
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    plain = binary.encode_add(1, 1, RowBatch(rows, np.arange(3, dtype=np.uint64)))
    return {**golden, "plain-add": plain, "plain-search": binary.encode_search(1, 1, rows[:2], 5)}


NAMES = sorted({one.name for op in OPS.values() for one in op.fields})
WORDS = [f'"{name}":'.encode() for name in (*NAMES, "columns", "dictionaries", "metadata", "ids")]
TARGET = Target("frames", fuzz, words=WORDS, made=made, bounds=Bounds(15_000, 150))
