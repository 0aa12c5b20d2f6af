"""What comes from a server, odd bytes too: a reply, an event, or one error of the tree.

A client must not be ended by a server that sends rubbish. What is read of a binary message is no
longer than that, and written again it is the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from omendb_core.model.errors import BY_CODE, OmenError

from omendb_ws.wire import binary_replies, text_replies
from omendb_ws.wire.messages import (
    Added,
    ErrorReply,
    Event,
    Live,
    Reply,
    Results,
    Rows,
    SnapshotBytes,
)
from tests.fuzz.json_mutating import mutated_json
from tests.fuzz.target import Target
from tests.wire.cases import CASES
from tests.wire.plain import same


def binary(data: bytes) -> None:
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        try:
            found = binary_replies.decode_incoming(data)
        except OmenError as error:
            refused = error
        else:
            check_again(found)
            return
    assert 0 < len(refused.message) < 1000


def check_again(found: tuple[int, Added | Results | SnapshotBytes] | Rows | Live) -> None:
    if isinstance(found, Live):
        return  # these are written many at once, for many subscriptions
    if isinstance(found, Rows):
        if not isinstance(found.hits.ids, list) and found.hits.near is not None:
            return  # large ids in JSON are texts, which the client reads once it knows the kind
        again = binary_replies.encode_rows(found)
    elif isinstance(found[1], Added):
        again = binary_replies.encode_added(*found)  # type: ignore[arg-type]
    elif isinstance(found[1], SnapshotBytes):
        id, (data, is_last) = found[0], (found[1].data, found[1].is_last)
        again = b"".join(binary_replies.encode_snapshot_in_parts(id, [data], is_last))
    elif found[1].to_seq is not None:
        return  # written of match queries that begin, which have neither rows nor a time
    else:
        again = binary_replies.encode_results(*found)  # type: ignore[arg-type]
    assert same(binary_replies.decode_incoming(again), found), found


def text(data: bytes) -> None:
    try:
        found = text_replies.decode_incoming(data)
    except OmenError as error:
        refused = error
    else:
        assert isinstance(found, Reply | ErrorReply | Event)
        if isinstance(found, ErrorReply):
            assert BY_CODE[found.error.code] is type(found.error)
        return
    assert 0 < len(refused.message) < 1000


def made(*, is_binary: bool) -> Mapping[str, bytes]:
    return {
        f"{number}-{case.name}": case.data
        for number, case in enumerate(CASES)
        if case.sent_by == "server" and case.is_binary == is_binary
    }


WORDS = [b'"metadata":', b'"ids":', b'"near":', b'"skipped":', b'"subs":', b'"weights":', b'"at":']
TEXT_WORDS = [b"id", b"ok", b"error", b"event", b"code", b"message", b"retry", b"row", b"sub"]
TARGETS = [
    Target("binary_replies", binary, words=WORDS, made=lambda: made(is_binary=True)),
    Target("text_replies", text, mutated_json, TEXT_WORDS, lambda: made(is_binary=False)),
]
