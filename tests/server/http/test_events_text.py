"""Pushes as server-sent events: what a page reads is what the WebSocket says; no sockets."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import Hits

from omendb_ws.engine.model.rows import gap
from omendb_ws.http import events_text
from omendb_ws.http.events_query import STREAM_KINDS, fields_of_body, fields_of_query
from omendb_ws.http.events_text import Place, parse_place
from omendb_ws.wire import live, text_replies
from omendb_ws.wire.encoded import Message, text
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.messages import LivePushes, Refusal, Results, Rows, Subscribe
from omendb_ws.wire.text import decode_request
from tests.server.http.event_reader import EventReader, Read

ODD = '{"note":"a\\nb\\r\\n\u2028: id: 7\\u0000 \\"event\\":\\"gap\\""}'.encode()


def hits(*seqs: int, metadata: bytes | None = None) -> Hits:
    seqs_ = np.array(seqs, np.uint64)
    payloads = None if metadata is None else [metadata] * len(seqs)
    return Hits(seqs_, seqs_, np.ones(len(seqs), np.float32), payloads)


def read(data: bytes) -> list[Read]:
    return EventReader().feed(data)


def one(message: Message) -> tuple[str, str, Any]:
    """The only event that ``message`` becomes, which holds it whole."""
    (found,) = read(events_text.event(message, "e1"))
    assert found.data.encode() == message.data
    return found.name, found.id, orjson.loads(found.data)


@pytest.mark.parametrize("kind", ["feed", "match", "novel"])
def test_rows_are_an_event_with_their_progress_as_id(kind: Any) -> None:
    rows = Rows(1, kind, 13, 103, hits(101, 103, metadata=ODD))
    name, id_, body = one(text(text_replies.encode_rows(rows)))
    assert (name, id_, body["to_seq"], len(body["rows"])) == (kind, "e1:103", 103, 2)
    name, id_, body = one(text(text_replies.encode_rows(Rows(1, kind, 13, 110, hits()))))
    assert (name, id_, body["rows"]) == (kind, "e1:110", [])


def test_a_message_in_two_parts_is_one_event() -> None:
    whole = text_replies.encode_rows(Rows(1, "feed", 13, 103, hits(103)))
    message = Message((whole[:24], memoryview(whole)[24:]), True)
    assert one(message)[:2] == ("feed", "e1:103")


def test_a_gap_has_the_id_of_its_end() -> None:
    assert one(gap(1, 90, 140, "evicted"))[:2] == ("gap", "e1:140")


def test_a_live_push_has_the_version_of_the_view_as_id() -> None:
    ids = np.array([4], np.uint64)
    pushes = LivePushes(13, [1], [1], [4], ids, np.zeros(1, np.uint8), [1], hits(101, metadata=ODD))
    (data,) = live.encode_text(pushes)
    name, id_, body = one(text(data))
    assert (name, id_, body["version"]) == ("live", "e1:13", 13)


def test_the_end_says_by_its_id_that_nothing_comes_any_more() -> None:
    ended = text(text_replies.encode_event("ended", {"sub": 1, "reason": "dropped"}))
    assert one(ended)[:2] == ("ended", "e1:ended")
    assert parse_place("e1:ended") == Place("e1", None)


@pytest.mark.parametrize("event", ["stats", "expiring", "error"])
def test_what_has_no_place_keeps_the_id_before(event: str) -> None:
    reader = EventReader()
    reader.feed(events_text.event(gap(1, 1, 7, "slow"), "e1"))
    message = text(text_replies.encode_event(event, {"sub": 1, "at": 1.5, "to_seq": 3}))
    (found,) = reader.feed(events_text.event(message, "e1"))
    assert (found.name, found.id) == (event, "e1:7")


def test_a_live_stream_begins_with_the_reply_as_its_snapshot() -> None:
    results = Results(12, np.array([2], np.uint32), hits(9, 8, metadata=ODD), at=1.5)
    reply = live.encode_snapshot(1, results, {"sub": 1, "epoch": "0a"})
    reader = EventReader()
    ok = reply[len(b'{"id":1,"ok":') : -1]
    begun = events_text.begin("live", ok, 2500)
    (first,) = reader.feed(begun.first)
    assert (begun.epoch, first.name, first.id, reader.retry_ms) == ("0a", "snapshot", "0a:12", 2500)
    assert first.data.encode() == ok


@pytest.mark.parametrize("kind", ["feed", "match", "novel"])
def test_other_streams_begin_with_an_empty_push_of_where_they_start(kind: str) -> None:
    ok = {"sub": 1, "epoch": "0a", "version": 12, "to_seq": 41}
    begun = events_text.begin(kind, orjson.dumps(ok), 1)
    (first,) = read(begun.first)
    assert (begun.epoch, first.name, first.id) == ("0a", kind, "0a:41")
    empty = text_replies.encode_rows(Rows(1, kind, 12, 41, hits()))  # type: ignore[arg-type]
    assert first.data.encode() == empty


def test_statistics_begin_with_the_first_of_them() -> None:
    ok = {"sub": 1, "epoch": "0a", "version": 12}
    reader = EventReader()
    begun = events_text.begin("stats", orjson.dumps(ok), 7)
    assert reader.feed(begun.first) == []
    assert (begun.epoch, reader.last_id, reader.retry_ms) == ("0a", "", 7)


def test_a_comment_is_no_event() -> None:
    reader = EventReader()
    assert reader.feed(events_text.COMMENT) == []
    assert reader.comments == 1


@given(st.from_regex(r"[0-9A-Za-z-]{1,64}", fullmatch=True), st.integers(0, 2**53 - 1) | st.none())
def test_every_id_is_read_as_it_was_written(epoch: str, to_seq: int | None) -> None:
    assert parse_place(str(Place(epoch, to_seq))) == Place(epoch, to_seq)


@pytest.mark.parametrize(
    "said", ["", "e1", "e1:", ":1", "e1:-1", "e1:01", "e1:1.5", "e1: 1", "e1:1\n", "e:1:1",
             f"e1:{2**53}", f"e1:{10**30}", "e1:Ended", "x" * 65 + ":1", "é:1"]
)  # fmt: skip
def test_what_is_no_id_is_refused(said: str) -> None:
    with pytest.raises(BadRequest, match="Last-Event-ID"):
        parse_place(said)


def test_a_stream_goes_on_behind_the_last_event() -> None:
    given_ = {"filter": {}, "from_seq": 1, "epoch": "old"}
    assert events_text.resumed("feed", given_, Place("e1", 0)) == {
        "filter": {}, "from_seq": 1, "epoch": "e1",
    }  # fmt: skip
    assert events_text.resumed("match", given_, Place("e1", 7))["from_seq"] == 8
    assert events_text.resumed("novel", given_, None) == given_
    assert events_text.resumed("live", {"k": 3}, Place("e1", 7)) == {"k": 3}


# -- query strings ------------------------------------------------------------------------------

FIELDS: dict[str, dict[str, Any]] = {
    "live": {
        "vector": [0.5, -1, 1e-3], "k": 3, "filter": {"price": {"$lt": 10}}, "min_score": 0.25,
        "include": ["metadata", "vector"], "every": 200, "exclude": [1, "18446744073709551615"],
        "decay": {"half_life": 60}, "group": {"by": "category", "size": 2},
    },
    "match": {"vector": [1, 2], "min_score": 0.5, "from_seq": 7, "epoch": "12"},
    "feed": {"filter": {}, "include": ["metadata"], "from_seq": 1, "epoch": "null"},
    "novel": {"below": 0.9, "last": 100, "include": []},
    "stats": {"every": 250},
}  # fmt: skip


def as_query(fields: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, value if isinstance(value, str) else orjson.dumps(value).decode())
        for name, value in fields.items()
    ]


def decoded(kind: str, fields: dict[str, Any]) -> Subscribe:
    body = {"id": 1, "op": "subscribe", "kind": kind, "collection": "items", **fields}
    request = decode_request(orjson.dumps(body), Limits())
    assert not isinstance(request, Refusal), request
    assert isinstance(request, Subscribe)
    return request


@pytest.mark.parametrize("kind", STREAM_KINDS)
def test_a_query_string_says_what_a_body_says(kind: str) -> None:
    fields = FIELDS[kind]
    assert fields_of_query(kind, as_query(fields)) == fields == fields_of_body(kind, fields)
    request = decoded(kind, fields)
    assert (request.kind, request.collection) == (kind, "items")


def test_a_list_of_words_is_json_or_words() -> None:
    both = ["metadata", "vector"]
    for query in (
        [("include", '["metadata","vector"]')],
        [("include", "metadata,vector")],
        [("include", "metadata"), ("include", "vector")],
        [("include", '["metadata"]'), ("include", "vector")],
    ):
        assert fields_of_query("feed", query) == {"include": both}
    assert fields_of_query("feed", [("include", "")]) == {"include": []}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("live", "k", "abc"), ("live", "k", "1.0"), ("live", "k", ""), ("live", "vector", "1,2"),
     ("live", "vector", "[1,"), ("live", "filter", "price"), ("live", "min_score", "NaN"),
     ("feed", "from_seq", "0"), ("feed", "from_seq", "1e3"), ("feed", "include", "ids"),
     ("feed", "include", "[1"), ("stats", "every", "99"), ("match", "min_score", "null")]
)  # fmt: skip
def test_what_is_wrong_in_a_query_string_is_named_by_its_field(
    kind: str, name: str, value: str
) -> None:
    given_ = as_query({**FIELDS[kind], "epoch": "e"} if kind == "feed" else FIELDS[kind])
    fields = fields_of_query(kind, [(n, v) for n, v in given_ if n != name] + [(name, value)])
    body = {"id": 1, "op": "subscribe", "kind": kind, "collection": "items", **fields}
    request = decode_request(orjson.dumps(body), Limits())
    assert isinstance(request, Refusal), request
    assert request.error.message.startswith(f"{name}:")


@pytest.mark.parametrize("name", ["collection", "encoding", "kind", "op", "id", "sub", "X", "ks"])
@pytest.mark.parametrize("kind", STREAM_KINDS)
def test_fields_that_are_not_of_a_stream_are_refused(kind: str, name: str) -> None:
    with pytest.raises(BadRequest, match=f"^{name}: unknown field"):
        fields_of_query(kind, [(name, "1")])
    with pytest.raises(BadRequest, match=f"^{name}: unknown field"):
        fields_of_body(kind, {name: 1})


def test_a_field_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"^k: given twice"):
        fields_of_query("live", [("k", "1"), ("k", "1")])
    with pytest.raises(BadRequest, match=r"^include: given twice"):
        fields_of_query("feed", [("include", '["metadata"]'), ("include", "[]")])


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(BadRequest, match="JSON object"):
        fields_of_body("feed", body)
