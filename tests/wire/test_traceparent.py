"""``traceparent`` in requests: where it is found, and how a client puts it there."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omendb_core.model.change import RowBatch

from omendb_ws.wire import binary, traceparent
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.messages import Add, Posted, Refusal, Search
from omendb_ws.wire.text import decode_request

LIMITS = Limits()
ONE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_it_is_found_wherever_it_stands_in_a_text_of_up_to_64_kib() -> None:
    for text in (
        f'{{"id":1,"op":"list","traceparent":"{ONE}"}}',
        f'{{"traceparent" : "{ONE}", "id":1,"op":"list"}}',
        f'{{"id":1,"op":"list","x":"{"y" * 60_000}","traceparent":"{ONE}"}}',
    ):
        assert traceparent.found_in(text) == ONE
        assert traceparent.found_in(Posted(text, {})) == ONE


def test_in_a_longer_one_it_is_found_within_the_first_512_characters() -> None:
    long = "y" * 70_000
    assert traceparent.found_in(f'{{"id":1,"traceparent":"{ONE}","x":"{long}"}}') == ONE
    assert traceparent.found_in(f'{{"id":1,"x":"{long}","traceparent":"{ONE}"}}') is None


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1,"op":"list"}',
        f'{{"id":1,"metadata":{{"traceparent":"{ONE}"}}}}',
        f'{{"id":1,"traceparent":"{ONE}"',
        f'["traceparent","{ONE}"]',
        '{"id":1,"traceparent":7}',
        '{"id":1,"traceparent":"00-1-2-3"}',
        "",
    ],
)
def test_elsewhere_and_malformed_it_is_none(text: str) -> None:
    assert traceparent.found_in(text) is None


def decoded(message: bytes) -> Add | Search:
    found = binary.decode_request(message, LIMITS)
    assert not isinstance(found, Refusal), found.error
    assert isinstance(found, Add | Search)
    return found


@given(st.integers(1, 5), st.integers(1, 9), st.booleans(), st.booleans())
def test_a_binary_request_with_it_says_the_same(n: int, dim: int, is_add: bool, more: bool) -> None:
    vectors = np.arange(n * dim, dtype=np.float32).reshape(n, dim) + 1
    if is_add:
        rows = RowBatch(vectors=vectors, ids=np.arange(n, dtype=np.uint64))
        message = binary.encode_add(7, 3, rows, *(("p", 4) if more else ()))
    else:
        message = binary.encode_search(7, 3, vectors, 5, {"price": 1} if more else None)
    with_it = traceparent.put_into(message, ONE)
    assert traceparent.found_in(message) is None
    assert traceparent.found_in(with_it) == ONE
    before, after = decoded(message), decoded(with_it)
    assert (after.id, after.collection) == (before.id, before.collection) == (7, 3)
    if is_add:
        assert isinstance(before, Add)
        assert isinstance(after, Add)
        assert isinstance(before.rows, RowBatch)
        assert isinstance(after.rows, RowBatch)
        assert np.array_equal(before.rows.vectors, after.rows.vectors)
        assert (after.producer, after.batch) == (before.producer, before.batch)
    else:
        assert isinstance(before, Search)
        assert isinstance(after, Search)
        assert np.array_equal(before.vectors, after.vectors)  # type: ignore[arg-type]
        assert (after.k, after.filter) == (before.k, before.filter)


def test_a_text_request_with_it_says_the_same() -> None:
    message = b'{"id":7,"op":"describe","collection":"items"}'
    with_it = traceparent.put_into(message, ONE)
    assert traceparent.found_in(with_it.decode()) == ONE
    assert decode_request(with_it, LIMITS) == decode_request(message, LIMITS)
    assert orjson.loads(with_it) == {**orjson.loads(message), "traceparent": ONE}


def test_what_has_no_place_for_it_stays_as_it_is() -> None:
    move = binary.encode_move(7, 3, np.ones((1, 2), np.float32))
    assert traceparent.put_into(move, ONE) == move
    assert traceparent.found_in(move) is None
    assert traceparent.found_in(b"") is traceparent.found_in(b"\xdb\x01") is None
