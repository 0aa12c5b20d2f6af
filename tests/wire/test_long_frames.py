"""A binary message with much JSON is read in pieces as in one: the same request, or refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import OmenError
from omendb_core.model.types import StrColumn

from omendb_ws.wire import binary, long_frames, long_rows, rows
from omendb_ws.wire.frames import PADDING, Header, read_header
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.long_metadata import load_rows
from omendb_ws.wire.long_text import most_containers
from omendb_ws.wire.messages import Add, Refusal, Search
from omendb_ws.wire.opcodes import HEADER
from tests.examples import examples

from .plain import same
from .test_long_text import drained

LIMITS = Limits(max_metadata_bytes=60)


def add_of(count: int, metadata: list[Any] | None, **more: Any) -> bytes:
    return binary.encode_add(7, 1, RowBatch(np.ones((count, 2), np.float32), metadata=metadata,
                                            **more))  # fmt: skip


def with_json(frame: bytes, section: bytes) -> bytes:
    """``frame`` with another JSON section."""
    header = read_header(frame)
    arrays = frame[32 + -(-header.json_bytes // 8) * 8 :]
    changed: Header = header._replace(json_bytes=len(section))
    return HEADER.pack(*changed) + section + PADDING[len(section) % 8] + arrays


def check_same(frame: bytes, piece: int) -> Any:
    whole = binary.decode_request(frame, LIMITS, lambda _: {"shop": "str"})
    decoded = drained(
        long_frames.decode(frame, LIMITS, lambda _: {"shop": "str"}, piece_characters=piece)
    )
    found = decoded.request
    if isinstance(whole, Refusal):
        assert isinstance(found, Refusal), found
        assert (found.id, found.error.code, found.error.row) == (
            whole.id, whole.error.code, whole.error.row
        )  # fmt: skip
        if "not JSON" not in whole.error.message:  # where a fault shows depends on the piece
            assert found.error.message == whole.error.message
        return whole
    assert same(found, whole), (found, whole)
    if isinstance(whole, Add) and isinstance(whole.rows, RowBatch):
        assert isinstance(found, Add)
        assert isinstance(found.rows, RowBatch)
        one = outcome(lambda: rows.complete_payloads(whole.rows, LIMITS))  # type: ignore[arg-type]
        many = outcome(lambda: drained(long_rows.complete_payloads(found.rows, LIMITS)))  # type: ignore[arg-type,union-attr]
        assert same(many, one)
    return whole


def outcome(call: Callable[[], Any]) -> Any:
    """What it returns, or what is wrong."""
    try:
        return call()
    except OmenError as error:
        return [error.code, error.message, error.row]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner,
                                                               max_size=3),
    max_leaves=5,
)  # fmt: skip
OBJECTS = st.dictionaries(st.text(max_size=4), VALUES, max_size=3)
METADATA = st.lists(st.none() | OBJECTS, min_size=1, max_size=12)


@settings(max_examples=examples(150), deadline=None)
@given(metadata=METADATA, piece=st.integers(1, 80), ids=st.booleans(), columns=st.booleans())
def test_adds(metadata: list[Any], piece: int, *, ids: bool, columns: bool) -> None:
    count = len(metadata)
    more: dict[str, Any] = {"ids": [f"row {n}" for n in range(count)]} if ids else {}
    if columns:
        codes = np.arange(count, dtype=np.uint32) % 2
        more["columns"] = {"shop": StrColumn(codes, ("a", "b" * 55))}
    frame = add_of(count, [None] * count, **more)
    header = read_header(frame)
    body = orjson.loads(frame[32 : 32 + header.json_bytes])
    section = json.dumps({**body, "metadata": metadata}).encode()
    check_same(with_json(frame, section), piece)


SECTIONS = [
    b"{}", b"[]", b"1", b"{", b'{"metadata":[{}]}', b'{"metadata":[{"a":1e400}]}',
    b'{"metadata":[{"a":123456789012345678901234567890}]}', b'{"metadata":[{"a":-1e400},{}]}',
    b'{"metadata":[1]}', b'{"metadata":[null,null]}', b'{"metadata":{}}', b'{"unknown":[[],[]]}',
    b'{"metadata":[{"a":"\xff"}]}', b'{"metadata":[{"a":"\xc3\xa4"}]}', b'{"producer":"p"}',
    b'{"metadata":[{"a":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}]}',
    b'{"metadata":[{"a":"' + b"x" * 99 + b'"}]}', b'{"metadata":[{}],"metadata":[null]} x',
]  # fmt: skip


@pytest.mark.parametrize("piece", [1, 7, 100])
@pytest.mark.parametrize("section", SECTIONS)
def test_sections(section: bytes, piece: int) -> None:
    check_same(with_json(add_of(1, [None]), section), piece)


def test_what_is_wrong_with_the_frame_comes_before_its_json() -> None:
    frame = with_json(add_of(1, [None]), b"{")
    assert check_same(frame + bytes(8), 3).error.code == "bad_frame"
    search = binary.encode_search(7, 1, np.ones((1, 2), np.float32), k=3, filter={"a": {"$gt": 1}})
    check_same(search, 5)
    check_same(with_json(search, b'{"filter":[]}'), 5)
    check_same(with_json(search, b'{"filter"'), 5)


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_examples_of_a_search(piece: int) -> None:
    vectors = [np.arange(3, dtype=np.float32), np.full(3, 1e-40, np.float32)]
    search = binary.encode_search(
        7, 1, None, 3, shaping={"positive": [1, *vectors, "9"], "negative": vectors, "exclude": [4]}
    )
    request = check_same(search, piece)
    assert isinstance(request, Search)
    assert request.vectors is None
    assert [isinstance(one, np.ndarray) for one in request.positive or ()] == [0, 1, 1, 0]
    for section in (
        b'{"positive":[[1,2],[3,"4"],[5]]}', b'{"positive":[[1,2]],"negative":[[1,2],true]}',
        b'{"positive":[' + b"[1]," * 64 + b"2]}", b'{"positive":1}', b"[[1],[2],[3]]",
    ):  # fmt: skip
        check_same(with_json(search, section), piece)


def test_there_may_be_so_many_lists_and_no_more() -> None:
    limits = Limits(max_rows=1)
    most = most_containers(limits)
    for more, code in ((0, "bad_metadata"), (1, "bad_request")):
        lists = b",".join([b"[]"] * (most - 2 + more))
        frame = with_json(add_of(1, [None]), b'{"metadata":[' + lists + b"]}")
        assert long_frames.is_long(frame)
        found = drained(long_frames.decode(frame, limits)).request
        error = found.error if isinstance(found, Refusal) else found.rows  # type: ignore[union-attr]
        assert isinstance(error, OmenError)
        assert (found.id, error.code) == (7, code)


def test_only_requests_with_much_json_are_long() -> None:
    assert not long_frames.is_long(add_of(20_000, None))
    metadata = [{"note": "n" * 40}] * 2000
    frame = add_of(2000, metadata)
    assert long_frames.is_long(frame)
    assert not long_frames.is_long(frame[:40_000])  # its JSON does not lie within it
    assert not long_frames.is_long(b"x" * 100_000)


@pytest.mark.parametrize(
    "row",
    [
        {"note": "n" * 30},
        {"note": "},{" * 9},  # a cut may come within a string
        {"rows": [{}, {"a": 1}, {"b": [{}, {}]}]},  # or within a list
        {"metadata": [{"a": 1}]},
        {'a":"metadata': "[1]"},
    ],
)
def test_rows_that_look_as_if_they_ended(row: dict[str, Any]) -> None:
    for count in (1, 2, 30):
        for piece in (10, 40, 100):
            check_same(with_json(add_of(count, None), orjson.dumps({"metadata": [row] * count})),
                       piece)  # fmt: skip


@pytest.mark.parametrize(
    "section",
    [
        b'{"metadata":[{"a":"%b"},{"a":2},{"a":3}]}' % (b"x" * 40),
        b'{"ids":["a","b","c"],"metadata":[{"a":"%b"},{"a":2},{"a":3}],"batch":1}' % (b"x" * 40),
    ],
)
def test_what_our_clients_write_is_cut_between_rows(section: bytes) -> None:
    loaded = drained(load_rows(section, 99, 30))
    assert loaded is not None
    assert loaded.value == orjson.loads(section)
    assert loaded.entered[0].counts == [1, 2]


@pytest.mark.parametrize(
    "section",
    [
        b'{"metadata":[{"a":1},{"a":2},]}',
        b'{"metadata":[{"a":1},{"a":2}],"metadata":[{"a":3},{"a":4}]}',
        b'{"metadata":[],"ids":[{"metadata":[{"a":1},{"a":2}]}]}',
        b'{"ids":[{"metadata":[{"a":1},{"a":2}]}],"metadata":[]}',
        b'{"a\\":\\"metadata":[{"a":1},{"a":2}]}',
        b'{"columns":{"metadata":[{"a":1},{"a":2}]}}',
        b'{"metadata":[{"a":1},{"a":2}]',
        b'{"metadata":[{"a":"},{},{},{},{"},{"a":"},{},{},{},{"}]}',
        b'{"metadata":[[],[],[],[],[],[],[],[],[],[],[],[],[],[]]}',
    ],
)
def test_everything_else_is_read_by_its_commas(section: bytes) -> None:
    for piece in (12, 30, 1000):
        assert drained(load_rows(section, 10, piece)) is None
