"""A text message: a request, or one typed refusal; the same read in pieces; and written again.

A refusal holds the id where the text has one, and says something. A request that is written as
JSON, or as the same JSON in other bytes, is the same request.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from omendb_core.model.errors import BY_CODE

from omendb_ws.wire import long_text, text, unread
from omendb_ws.wire.messages import Add, Refusal, Update
from omendb_ws.wire.opcodes import OPS
from tests.fuzz.json_mutating import mutated_json
from tests.fuzz.target import Bounds, Target
from tests.wire.cases import TEXT_REQUESTS
from tests.wire.plain import same
from tests.wire.test_long_text import LIMITS, check_same, drained

PIECES = (1, 5, 64)


def fuzz(data: bytes) -> None:
    try:
        message = data.decode()
    except UnicodeDecodeError:
        assert isinstance(text.decode_request(data, LIMITS), Refusal)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = text.decode_request(message, LIMITS)
        assert same(text.decode_request(data, LIMITS), decoded)
        for piece in PIECES:
            check_same(message, piece)
        if isinstance(decoded, Refusal):
            check_refusal(decoded)
            if decoded.id is not None and len(message) <= unread.WHOLE_CHARACTERS:
                assert unread.id_of(message) in (decoded.id, None)
        else:
            check_again(decoded)


def check_refusal(refusal: Refusal) -> None:
    """It is of the tree, and says what is wrong."""
    error = refusal.error
    assert BY_CODE[error.code] is type(error)
    assert error.code != "internal"
    assert 0 < len(error.message) < 1000
    assert "\n" not in error.message
    assert error.row is None or error.row >= 0


def check_again(request: Any) -> None:
    """Written and read it is the same."""
    assert request.op in OPS
    if isinstance(request, Add) and not isinstance(request.rows, list):
        return  # a fault stands where they were
    if not is_finite(request):
        return  # beyond float32; refused once the collection is known, and has no JSON
    again = text.encode_request(request)
    found = text.decode_request(again, LIMITS)
    if len(again) > LIMITS.max_text_bytes and isinstance(found, Refusal):
        return  # 1e300 is longer written out
    assert same(found, request), (request, found)
    if isinstance(request, Add | Update):
        pieces = drained(long_text.decode(again.decode(), LIMITS, 7)).request
        assert same(pieces, request)


def is_finite(request: Any) -> bool:
    """Whether all of its vectors are."""
    examples = [
        *(getattr(request, "positive", ()) or ()),
        *(getattr(request, "negative", ()) or ()),
    ]
    found = [getattr(request, "vectors", None), *examples]
    return all(np.isfinite(one).all() for one in found if isinstance(one, np.ndarray))


def made() -> Mapping[str, bytes]:
    return {f"{number}-{case.name}": case.data for number, case in enumerate(TEXT_REQUESTS)}


FIELDS = sorted({one.name for op in OPS.values() for one in op.fields})
WORDS = [name.encode() for name in (*FIELDS, *OPS, "items", "live", "cosine", "u64", "f64")]
TARGET = Target(
    "text_requests", fuzz, mutated_json, WORDS, made, most_bytes=3000, bounds=Bounds(20_000, 400)
)
