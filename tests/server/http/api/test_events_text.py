"""Pushes as server-sent events: what a page reads is what the WebSocket says; no sockets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import Hits

from omendb_ws.engine.model.rows import gap
from omendb_ws.http.api import events_text
from omendb_ws.http.api.events_text import Place, parse_place
from omendb_ws.wire import live, text_replies
from omendb_ws.wire.encoded import Message, text
from omendb_ws.wire.messages import LivePushes, Results, Rows
from tests.server.http.api.event_reader import EventReader, Read

#: A shard that is a whole collection.
WHOLE: Any = SimpleNamespace(place=None)
ODD = '{"note":"a\\nb\\r\\n\u2028: id: 7\\u0000 \\"event\\":\\"gap\\""}'.encode()


def hits(*seqs: int, metadata: bytes | None = None) -> Hits:
    seqs_ = np.array(seqs, np.uint64)
    payloads = None if metadata is None else [metadata] * len(seqs)
    return Hits(seqs_, seqs_, np.ones(len(seqs), np.float32), payloads)


def read(data: bytes) -> list[Read]:
    return EventReader().feed(data)


def one(message: Message) -> tuple[str, str, Any]:
    """The only event that ``message`` becomes, which holds it whole."""
    (found,) = read(events_text.event(message.data, "e1"))
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
    assert one(gap(1, 90, 140, "evicted", WHOLE))[:2] == ("gap", "e1:140")


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
    reader.feed(events_text.event(gap(1, 1, 7, "slow", WHOLE).data, "e1"))
    message = text(text_replies.encode_event(event, {"sub": 1, "at": 1.5, "to_seq": 3}))
    (found,) = reader.feed(events_text.event(message.data, "e1"))
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


def test_a_stream_goes_on_behind_the_last_event_whatever_its_body_says() -> None:
    place = Place("e1", 7)
    for body in ("{}", " { } \n", '{"filter":{}}', '{"from_seq":1,"epoch":"old","include":[]}\n'):
        fields = orjson.loads(events_text.behind(body, place))
        assert fields == {**orjson.loads(body), "from_seq": 8, "epoch": "e1"}


@given(
    st.recursive(
        st.sampled_from(["1", '"}"', "null"]),
        lambda inner: (
            st.lists(inner, max_size=3).map(lambda ones: "[" + ",".join(ones) + "]")
            | st.lists(inner, max_size=3).map(
                lambda ones: "{" + ",".join(f'"{n}":{one}' for n, one in enumerate(ones)) + "}"
            )
        ),
        max_leaves=6,
    ),
    st.sampled_from(["", "}", "{", ",", "]", " ", "\x0b", '"']),
    st.integers(0, 3),
)
def test_a_body_that_is_no_object_stays_none(text: str, more: str, cut: int) -> None:
    body = text[: len(text) - cut] + more
    try:
        before = orjson.loads(body)
    except orjson.JSONDecodeError:
        before = None
    if not isinstance(before, dict):
        try:
            after = orjson.loads(events_text.behind(body, Place("e1", 7)))
        except orjson.JSONDecodeError:
            after = None
        assert not isinstance(after, dict)
