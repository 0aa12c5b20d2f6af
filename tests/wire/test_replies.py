"""What a server writes and a client reads: numbers to the bit, errors, hostile servers."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.errors import (
    BY_CODE,
    BadFrame,
    BadRequest,
    Internal,
    OmenError,
    WrongEpoch,
)
from omendb_core.model.types import Hits, Include

from omendb_ws.wire import binary, binary_replies, text, text_replies
from omendb_ws.wire.hits import array_text, number_texts
from omendb_ws.wire.messages import ErrorReply, Reply, Results, Search

from .by_hand import f32, frame, u32, u64


def bits(values: Any) -> list[int]:
    return np.asarray(values, np.float64).astype(np.float32).view(np.uint32).tolist()


def test_a_score_in_json_gives_its_bits_back() -> None:
    """Any pattern of bits that is a finite float32; the extremes; the one that rounds twice."""
    random = np.random.default_rng(7)
    some = random.integers(0, 2**32, 300_000, dtype=np.uint32)
    edges = np.array([0, 1, 0x7F7FFFFF, 0x00800000, 0x007FFFFF, 363742205], np.uint32)
    patterns = np.concatenate([some, edges, edges | 1 << 31])
    scores = patterns.view(np.float32)
    scores = scores[np.isfinite(scores)]
    parsed = orjson.loads(array_text(scores))
    assert bits(parsed) == scores.view(np.uint32).tolist()


def test_the_float32_that_would_round_twice_is_written_longer() -> None:
    value = np.array([363742205, 363742205 | 1 << 31], np.uint32).view(np.float32)
    assert number_texts(value) == [b"7.0385307e-26", b"-7.0385307e-26"]
    request = text.encode_request(Search(1, "a", value.reshape(1, 2), single=True))
    assert bits(orjson.loads(request)["vector"]) == value.view(np.uint32).tolist()


def test_that_texts_of_metadata_are_left_alone() -> None:
    payload = b'{"note":"7.038531e-26","x":7.038531e-26}'
    hits = Hits(np.ones(1, np.uint64), np.ones(1, np.uint64), np.ones(1, np.float32), [payload])
    reply = text_replies.encode_results(1, Results(1, np.ones(1, np.uint32), hits), single=True)
    assert payload in reply


def test_scores_are_short() -> None:
    scores = np.array([0.93, 1, 0, -2.5, 0.1], np.float32)
    assert number_texts(scores) == [b"0.93", b"1.0", b"0.0", b"-2.5", b"0.1"]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_only_ids_above_a_double_are_strings(count: int) -> None:
    ids = np.array([0, 2**53 - 1, 2**53, 2**64 - 1, 17][:count], np.uint64)
    seqs = np.arange(1, count + 1, dtype=np.uint64)
    hits = Hits(ids, seqs, np.zeros(count, np.float32))
    reply = text_replies.encode_results(
        1, Results(1, np.array([count], np.uint32), hits), single=True
    )
    found = [one["id"] for one in orjson.loads(reply)["ok"]["results"]]
    assert found == [0, 2**53 - 1, "9007199254740992", "18446744073709551615", 17][:count]


def test_empty_answers_are_empty_lists() -> None:
    nothing = Hits(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.float32), [],
                   np.empty((0, 3), np.float32))  # fmt: skip
    counts = np.zeros(2, np.uint32)
    single = orjson.loads(
        text_replies.encode_results(1, Results(1, counts[:1], nothing), single=True)
    )
    several = orjson.loads(
        text_replies.encode_results(1, Results(1, counts, nothing), single=False)
    )
    assert single["ok"]["results"] == []
    assert several["ok"]["results"] == [[], []]
    request_id, results = binary_replies.decode_incoming(
        binary_replies.encode_results(1, Results(1, counts, nothing))
    )  # type: ignore[misc]
    assert request_id == 1
    assert results.hits.vectors.shape == (0, 3)
    assert results.hits.metadata == []


def test_answers_may_be_slices_of_larger_ones() -> None:
    ids, seqs = np.arange(10, dtype=np.uint64), np.arange(10, 20, dtype=np.uint64)
    scores, vectors = np.arange(10, dtype=np.float32), np.ones((10, 3), np.float32)
    part = slice(3, 6)
    hits = Hits(ids[part], seqs[part], scores[part], None, vectors[part])
    results = Results(1, np.array([3], np.uint32), hits)
    decoded: Any = binary_replies.decode_incoming(binary_replies.encode_results(1, results))[1]  # type: ignore[index]
    assert decoded.hits.ids.tolist() == [3, 4, 5]
    assert decoded.hits.seqs.tolist() == [13, 14, 15]
    found = orjson.loads(text_replies.encode_results(1, results, single=True))["ok"]["results"]
    assert [one["score"] for one in found] == [3, 4, 5]


def test_a_long_search_is_told_as_the_longest() -> None:
    hits = Hits(np.ones(1, np.uint64), np.ones(1, np.uint64), np.ones(1, np.float32))
    results = Results(1, np.ones(1, np.uint32), hits, took_us=2**40)
    decoded: Any = binary_replies.decode_incoming(binary_replies.encode_results(1, results))
    assert decoded[1].took_us == 2**32 - 1


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_comes_back_as_itself(code: str) -> None:
    error = BY_CODE[code]("what: happened", row=3, expected=7)
    for request_id in (None, 5):
        data = text_replies.encode_error(request_id, error)
        body = orjson.loads(data)
        assert ("event" in body) == (request_id is None)
        told = body if request_id is None else body["error"]
        assert told["retry"] is error.retry
        reply = text_replies.decode_incoming(data)
        assert isinstance(reply, ErrorReply)
        assert type(reply.error) is type(error)
        assert (reply.id, reply.error.message) == (request_id, "what: happened")
        assert (reply.error.row, reply.error.details) == (3, {"expected": 7})


def test_the_current_epoch_comes_with_its_error() -> None:
    reply = text_replies.decode_incoming(
        text_replies.encode_error(1, WrongEpoch("other", epoch="e9"))
    )
    assert isinstance(reply, ErrorReply)
    assert reply.error.details == {"epoch": "e9"}


def test_an_error_of_a_newer_server_is_an_internal_one() -> None:
    data = b'{"id":1,"error":{"code":"teapot","message":"short","retry":true,"row":[1]}}'
    reply = text_replies.decode_incoming(data)
    assert isinstance(reply, ErrorReply)
    assert isinstance(reply.error, Internal)
    assert "teapot" in reply.error.message
    assert reply.error.row is None


@pytest.mark.parametrize(
    "data",
    ["", "[]", "3", "{", "{}", '{"id":1}', '{"id":1,"ok":3}', '{"id":"1","ok":{}}',
     '{"id":1,"error":"x"}', '{"ok":{}}', '{"event":3}'],
)  # fmt: skip
def test_a_client_refuses_text_that_is_nothing_of_the_protocol(data: str) -> None:
    with pytest.raises(BadRequest):
        text_replies.decode_incoming(data)


def test_a_client_takes_an_unknown_field() -> None:
    assert text_replies.decode_incoming('{"id":1,"ok":{"new":1},"newer":2}') == Reply(1, {"new": 1})


GOOD = {"id": 5, "n": 1, "k": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xdb\x01",
        b"\xdb\x02" + bytes(30),
        frame(1, u64(1), f32(1), flags=1, n=1, dim=1),
        frame(3, f32(1), n=1, dim=1, k=1),
        frame(11),
        frame(4, u64(1), u32(1), u64(1), u64(1), f32(1), **GOOD)[:-1],
        frame(4, u64(1), u32(1), u64(1), u64(1), f32(1), **GOOD) + bytes(8),
        frame(4, u64(1), u32(1), u64(1), f32(1), json=b'{"ids":["a","b"]}', **GOOD),
        frame(4, u64(1), u32(1), u64(1), f32(1), json=b'{"ids":"a"}', **GOOD),
        frame(4, u64(1), u32(1), u64(1), u64(1), f32(1), json=b'{"metadata":[]}', **GOOD),
        frame(4, u64(1), u32(1), u64(1), u64(1), f32(1), json=b"[]", **GOOD),
        frame(4, u64(1), u32(1), u64(1), u64(1), f32(1), json=b"{", **GOOD),
        frame(4, json_bytes=2**32 - 1, **GOOD),
    ],
)
def test_a_client_refuses_a_frame_that_is_none(data: bytes) -> None:
    with pytest.raises(BadFrame):
        binary_replies.decode_incoming(data)


def test_what_has_no_json_is_refused_before_it_is_sent() -> None:
    vector = np.ones((1, 1), np.float32)
    for filter_ in ({"a": object()}, {"a": "\ud800"}, {"a": 2**64}):
        with pytest.raises(BadRequest):
            text.encode_request(Search(1, "a", vector, single=True, filter=filter_))
        with pytest.raises(BadRequest):
            binary.encode_search(1, 1, vector, filter=filter_)


def test_numpy_numbers_may_stand_in_filters_and_metadata() -> None:
    vector = np.ones((1, 1), np.float64)
    filter_ = {"a": {"$lt": np.float64(0.5)}, "b": np.int64(3)}
    data = binary.encode_search(1, 1, vector.astype(np.float32), filter=filter_)
    assert b'{"a":{"$lt":0.5},"b":3}' in data
    assert b'"filter":{"a":{"$lt":0.5},"b":3}' in text.encode_request(
        Search(1, "a", vector, single=True, filter=filter_, include=Include())
    )


def test_no_error_message_is_empty() -> None:
    for cls in BY_CODE.values():
        assert issubclass(cls, OmenError)
        assert cls.when
