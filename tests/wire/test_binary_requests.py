"""What is wrong with a binary request, and how it is told (PROTOCOL section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import OmenError
from omendb_core.model.types import StrColumn

from omendb_ws.wire.binary import decode_request, encode_add, encode_search
from omendb_ws.wire.messages import Add, Move, Refusal, Search
from omendb_ws.wire.opcodes import KINDS, Limits

from .by_hand import f32, f64, frame, i64, u8, u32, u64

LIMITS = Limits(max_rows=4, max_k=20, max_queries=3, max_dim=8)
ADD, SEARCH, SUBSCRIBE, MOVE, RESTORE = 1, 3, 7, 8, 10
LIVE = b'{"kind":"live"}'


def decode(data: bytes, columns_of: Any = None) -> Any:
    return decode_request(data, LIMITS, columns_of)


def add(*sections: bytes, **header: Any) -> Any:
    return decode(frame(ADD, *sections, **{"id": 5, "handle": 1, "n": 2, "dim": 1, **header}))


def search(*sections: bytes, **header: Any) -> Any:
    fields = {"id": 5, "handle": 1, "n": 1, "dim": 2, "k": 3, **header}
    return decode(frame(SEARCH, *(sections or (f32(1, 2),)), **fields))


def refused(message: Any, code: str, names: str = "", id: int | None = 5) -> None:
    assert isinstance(message, Refusal), message
    assert message.error.code == code, message.error.message
    assert message.id == id
    assert names in message.error.message


def faulty(message: Any, code: str, names: str = "", row: int | None = None) -> None:
    """The rows are at fault, in an otherwise good ADD."""
    assert isinstance(message, Add), message
    assert isinstance(message.rows, OmenError), message.rows
    assert message.rows.code == code, message.rows.message
    assert names in message.rows.message
    assert message.rows.row == row


# -- header ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"", b"\xdb", b"\xdb\x01\x03\x00\x05\x00\x00", b"\xda\x01" + bytes(30),
     b"\xdb\x02" + bytes(30), b"\xdb\x00" + bytes(30), b'{"id":5,"op":"ping"}', bytes(64)],
)  # fmt: skip
def test_what_has_no_id_is_answered_by_the_event(data: bytes) -> None:
    refused(decode(data), "bad_frame", id=None)


@pytest.mark.parametrize("length", [8, 9, 31])
def test_a_header_cut_after_the_id_is_refused_with_it(length: int) -> None:
    refused(decode(frame(SEARCH, id=5)[:length]), "bad_frame")


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {ADD, SEARCH, SUBSCRIBE, MOVE, RESTORE}))
def test_kinds_that_clients_do_not_send_are_refused(kind: int) -> None:
    refused(decode(frame(kind, f32(1, 2), id=5, handle=1, n=1, dim=2, k=3)), "bad_frame", "kind")


@pytest.mark.parametrize("kind", [ADD, SEARCH, SUBSCRIBE, MOVE, RESTORE])
def test_unknown_flags_are_refused(kind: int) -> None:
    known = KINDS[kind].flag_bits
    for bit in (1 << place for place in range(8)):
        if not bit & known:
            data = frame(kind, f32(1, 2), id=5, handle=1, n=1, dim=2, flags=bit)
            refused(decode(data), "bad_frame", "flags")


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (ADD, "k"), (ADD, "took_us"), (SEARCH, "took_us"), (SUBSCRIBE, "took_us"),
        (MOVE, "k"), (MOVE, "took_us"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [1, 2**31, 2**32 - 1])
def test_reserved_fields_are_zero(kind: int, field: str, value: int) -> None:
    header = {"id": 5, "handle": 1, "n": 1, "dim": 2, field: value}
    refused(decode(frame(kind, f32(1, 2), **header)), "bad_frame", field)


@pytest.mark.parametrize("json", [b'{"k":3}', b'{"sub":1}', b'{"decay":{}}', b'{"rank":1}'])
def test_a_move_changes_no_other_fields(json: bytes) -> None:
    refused(decode(frame(MOVE, f32(1, 2), id=5, handle=1, n=1, dim=2, json=json)), "bad_request")


def test_a_move_needs_no_vector_where_something_else_changes() -> None:
    found = decode(frame(MOVE, id=5, handle=1, json=b'{"min_score":null}'))
    assert found == Move(5, 1, keeps_min_score=False, binary=True)
    found = decode(frame(MOVE, id=5, handle=1, json=b'{"positive":[7],"exclude":[]}'))
    assert found == Move(5, 1, positive=[7], exclude=[], binary=True)
    refused(decode(frame(MOVE, id=5, handle=1, json=b"{}")), "bad_frame", "n")
    with_both = frame(MOVE, f32(1, 2), id=5, handle=1, n=1, dim=2, json=b'{"positive":[7]}')
    refused(decode(with_both), "bad_frame", "n")


@pytest.mark.parametrize("kind", [ADD, SEARCH, SUBSCRIBE, MOVE])
def test_a_request_has_at_least_one_row(kind: int) -> None:
    json = LIVE if kind == SUBSCRIBE else b""
    refused(decode(frame(kind, id=5, handle=1, dim=2, json=json)), "bad_frame", "n")


@pytest.mark.parametrize("n", [2, 3, 2**32 - 1])
def test_a_move_takes_one_vector(n: int) -> None:
    vectors = f32(*range(2 * n)) if n < 4 else f32(1, 2)
    refused(decode(frame(MOVE, vectors, id=5, handle=1, n=n, dim=2)), "bad_frame")


@pytest.mark.parametrize("kind", [ADD, SEARCH, SUBSCRIBE, MOVE])
@pytest.mark.parametrize(
    ("n", "dim"),
    [
        (2**32 - 1, 2**32 - 1), (2**16, 2**16), (2**30, 1), (1, 2**30), (2**31, 2**31),
        (2**32 - 1, 2), (2**31, 2), (2**29, 8), (1, 3), (1, 5), (3, 1),
    ],
)  # fmt: skip
def test_lengths_are_computed_without_overflow(kind: int, n: int, dim: int) -> None:
    """Modulo 2**32, or 2**64, several of these would be the length that the message has."""
    json = LIVE if kind == SUBSCRIBE else b""
    k = 3 if kind in (SEARCH, SUBSCRIBE) else 0
    for vectors in (b"", f32(1, 2)):
        data = frame(kind, vectors, id=5, handle=1, n=n, dim=dim, k=k, json=json)
        refused(decode(data), "bad_frame", "length")


@pytest.mark.parametrize("extra", [b"\0", bytes(4), bytes(8), b"x" * 8, bytes(1000)])
def test_trailing_bytes_are_refused(extra: bytes) -> None:
    refused(decode(encode_search(5, 1, np.ones((1, 2), np.float32)) + extra), "bad_frame", "length")


@pytest.mark.parametrize("json_bytes", [1, 7, 8, 1000, 2**31, 2**32 - 1])
def test_a_json_section_lies_within_the_message(json_bytes: int) -> None:
    refused(search(json_bytes=json_bytes), "bad_frame", "length")


def test_padding_is_zero_everywhere() -> None:
    types = orjson.dumps({"columns": {"on": "bool", "up": "bool"}})
    sections = [u64(1, 2, 3), f32(1, 2, 3), u8(0, 1, 0), u8(1, 1, 1)]
    good = frame(ADD, *sections, id=5, handle=1, n=3, dim=1, flags=3, json=types)
    assert isinstance(decode(good).rows, RowBatch)
    filled = {len(types), *(len(part) for part in sections)}
    assert any(length % 8 for length in filled)
    ends, at = [], 32
    for part in (types, *sections):
        ends.append((at + len(part), at + len(part) + -len(part) % 8))
        at = ends[-1][1]
    gaps = [place for start, stop in ends for place in range(start, stop)]
    assert len(gaps) > 10
    for place in gaps:
        bad = bytearray(good)
        bad[place] = 1
        refused(decode(bytes(bad)), "bad_frame", "padding")


# -- JSON section ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "json",
    [b"[]", b"3", b"null", b'"x"', b"{", b"{}{}", b"{'a':1}", b"\xff", b'{"last":NaN}', b" ",
     b"[" * 2000, b'{"filter":{"a":"\\ud800"}}'],
)  # fmt: skip
def test_a_json_section_is_an_object(json: bytes) -> None:
    refused(search(json=json), "bad_request", "JSON section")


@pytest.mark.parametrize(
    ("json", "code", "names"),
    [
        (b'{"k":3}', "bad_request", "k: unknown field"),
        (b'{"like":3}', "bad_request", "like: unknown field"),
        (b'{"id":3}', "bad_request", "id: unknown field"),
        (b'{"last":0}', "bad_request", "last"),
        (b'{"last":1.0}', "bad_request", "last"),
        (b'{"min_score":"1"}', "bad_request", "min_score"),
        (b'{"include":["all"]}', "bad_request", "include"),
        (b'{"filter":[]}', "bad_filter", "filter"),
    ],
)
def test_bad_fields_of_a_search_are_refused_by_name(json: bytes, code: str, names: str) -> None:
    refused(search(json=json), code, names)


@pytest.mark.parametrize("k", [0, 21, 2**32 - 1])
def test_a_k_out_of_range_is_bad_k(k: int) -> None:
    refused(search(k=k), "bad_k", "k")
    data = frame(SUBSCRIBE, f32(1, 2), id=5, handle=1, n=1, dim=2, k=k, json=LIVE)
    refused(decode(data), "bad_k", "k")


def test_the_json_of_a_search_is_limited_as_text_is() -> None:
    json = orjson.dumps({"filter": {"a": "x" * 100}})
    data = frame(SEARCH, f32(1, 2), id=5, handle=1, n=1, dim=2, k=3, json=json)
    assert isinstance(decode_request(data, Limits(max_text_bytes=len(json))), Search)
    refused(decode_request(data, Limits(max_text_bytes=len(json) - 1)), "too_large", "json_bytes")


def test_too_many_or_too_long_queries_are_too_large() -> None:
    refused(search(f32(*range(8)), n=4), "too_large", "max_queries")
    refused(search(f32(*range(9)), dim=9), "too_large", "max_dim")
    assert isinstance(search(f32(*range(24)), n=3, dim=8), Search)


@pytest.mark.parametrize(
    "json", [b"", b"{}", b'{"kind":"feed"}', b'{"kind":"live","collection":"a"}',
             b'{"kind":"live","vector":[1,2]}', b'{"kind":"live","every":60001}']
)  # fmt: skip
def test_a_binary_subscription_is_a_live_one_of_its_handle(json: bytes) -> None:
    data = frame(SUBSCRIBE, f32(1, 2), id=5, handle=1, n=1, dim=2, k=3, json=json)
    refused(decode(data), "bad_request")


@pytest.mark.parametrize(
    ("json", "names"),
    [(b'{"kind":"match"}', "min_score"), (b'{"kind":"match","min_score":null}', "min_score"),
     (b'{"kind":"match","min_score":0.5,"every":10}', "every"),
     (b'{"kind":"match","min_score":0.5,"exclude":[4]}', "exclude"),
     (b'{"kind":"match","min_score":0.5,"rank":"$score"}', "rank"),
     (b'{"kind":"match","min_score":0.5,"from_seq":3}', "from_seq"),
     (b'{"kind":"match","min_score":0.5,"min_version":3}', "epoch")],
)  # fmt: skip
def test_or_a_match_one_with_the_fields_of_such(json: bytes, names: str) -> None:
    data = frame(SUBSCRIBE, f32(1, 2), id=5, handle=1, n=1, dim=2, json=json)
    refused(decode(data), "bad_request", names)


def test_a_binary_match_subscription_has_no_k_and_a_vector() -> None:
    json = b'{"kind":"match","min_score":0.5}'
    data = frame(SUBSCRIBE, f32(1, 2), id=5, handle=1, n=1, dim=2, k=3, json=json)
    refused(decode(data), "bad_frame", "k")
    refused(decode(frame(SUBSCRIBE, id=5, handle=1, json=json)), "bad_frame", "n")
    json = b'{"kind":"match","min_score":0.5,"positive":[3]}'
    refused(decode(frame(SUBSCRIBE, id=5, handle=1, json=json)), "bad_request", "positive")


def test_arrays_are_views_on_the_message() -> None:
    data = encode_add(5, 1, RowBatch(np.ones((2, 2), np.float32), np.array([1, 2], np.uint64)))
    rows = decode(data).rows
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    for array in (rows.vectors, rows.ids):
        assert start <= array.__array_interface__["data"][0] < start + len(data)
        assert not array.flags.writeable


# -- ADD ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "json",
    [b'{"producer":"p"}', b'{"batch":1}', b'{"producer":"","batch":1}',
     b'{"producer":"p","batch":0}', b'{"producer":"p","batch":1.0}',
     b'{"producer":3,"batch":1}', b'{"producer":"p","batch":9007199254740992}',
     b'{"row":3}', b'{"include":[]}'],
)  # fmt: skip
def test_faults_of_the_request_itself_are_refused(json: bytes) -> None:
    refused(add(f32(1, 2), json=json), "bad_request")


def test_faults_of_rows_stand_in_their_place() -> None:
    """A repeated batch is answered before its rows are looked at."""
    message = add(f32(*range(5)), n=5, json=b'{"producer":"p","batch":7}')
    faulty(message, "too_large", "max_rows")
    assert (message.producer, message.batch) == ("p", 7)
    faulty(add(f32(*range(18)), dim=9), "too_large", "max_dim")


def test_a_wrong_dim_is_for_the_engine() -> None:
    assert add(dim=0).rows.vectors.shape == (2, 0)
    assert add(f32(*range(8)), dim=4).rows.vectors.shape == (2, 4)


@pytest.mark.parametrize(
    ("ids", "row"),
    [
        ("a", None), (None, None), ({"a": 1}, None), (["a"], None), (["a", "b", "c"], None),
        ([], None), (["a", 1], 1), ([None, "a"], 0), (["", "a"], 0), (["a", "\0"], 1),
        (["a" * 257, "b"], 0), (["é" * 129, "b"], 0), ([True, "b"], 0), ([["a"], "b"], 0),
    ],
)  # fmt: skip
def test_bad_string_ids_are_faults_of_their_row(ids: Any, row: int | None) -> None:
    faulty(add(f32(1, 2), json=orjson.dumps({"ids": ids})), "bad_id", "ids", row)


def test_string_ids_are_taken() -> None:
    ids = ["é" * 128, "x"]
    assert add(f32(1, 2), json=orjson.dumps({"ids": ids})).rows.ids == ids


def test_ids_stand_in_one_place() -> None:
    faulty(add(u64(1, 2), f32(1, 2), flags=1, json=b'{"ids":["a","b"]}'), "bad_id", "ids")


@pytest.mark.parametrize(
    ("metadata", "row"),
    [
        ({}, None), ("x", None), (None, None), ([{}], None), ([{}, {}, {}], None),
        ([{}, 3], 1), ([[], {}], 0), (["x", None], 0), ([None, True], 1),
    ],
)  # fmt: skip
def test_bad_metadata_is_a_fault_of_its_row(metadata: Any, row: int | None) -> None:
    message = add(f32(1, 2), json=orjson.dumps({"metadata": metadata}))
    faulty(message, "bad_metadata", "metadata", row)


def columns(json: Mapping[str, Any], *arrays: bytes, flags: int = 2, **header: Any) -> Any:
    return add(f32(1, 2), *arrays, flags=flags, json=orjson.dumps(json), **header)


def test_a_key_in_metadata_and_columns_is_a_fault_of_its_row() -> None:
    for value in (1.5, None):
        json = {"columns": {"price": "f64"}, "metadata": [{"note": 1}, {"price": value}]}
        faulty(columns(json, f64(1, 2)), "bad_metadata", "metadata.price", row=1)


def test_columns_are_typed_arrays() -> None:
    json = {
        "columns": {"s": "str", "f": "f64", "i": "i64", "b": "bool", "ids": "f64"},
        "dictionaries": {"s": ["x"]},
    }
    batch = columns(json, u32(0, 2**32 - 1), f64(1, 2), i64(-1, 5), u8(1, 255), f64(3, 4)).rows
    assert {name: column.dtype.str for name, column in batch.columns.items() if name != "s"} == {
        "f": "<f8", "i": "<i8", "b": "|u1", "ids": "<f8"
    }  # fmt: skip
    assert isinstance(batch.columns["s"], StrColumn)
    assert batch.columns["s"].dictionary == ("x",)
    assert batch.columns["s"].codes.tolist() == [0, 2**32 - 1]
    assert batch.ids is None
    assert batch.columns["ids"].tolist() == [3, 4]


def test_columns_may_be_named_alone_where_the_collection_declares_them() -> None:
    declared = {"on": "bool", "price": "f64"}
    data = frame(
        ADD, f32(1, 2), f64(3, 4), u8(1, 0), id=5, handle=9, n=2, dim=1, flags=2,
        json=b'{"columns":["price","on"]}',
    )  # fmt: skip
    batch = decode(data, {9: declared}.get).rows
    assert {name: one.tolist() for name, one in batch.columns.items()} == {
        "price": [3, 4], "on": [1, 0]
    }  # fmt: skip
    refused(decode(data, {8: declared}.get), "not_found", "handle")
    refused(decode(data), "not_found", "handle")
    refused(decode(data, {9: {"on": "bool"}}.get), "bad_metadata", "columns.price")


@pytest.mark.parametrize(
    "value", [3, "price", None, {"price": "float"}, {"price": 3}, {"price": ["f64"]},
              ["price", "price"], ["price", 3], [["price"]]]
)  # fmt: skip
def test_columns_that_lay_out_nothing_are_refused(value: Any) -> None:
    data = frame(ADD, f32(1, 2), f64(3, 4), id=5, handle=9, n=2, dim=1, flags=2,
                 json=orjson.dumps({"columns": value}))  # fmt: skip
    refused(decode(data, lambda handle: {"price": "f64"}), "bad_request", "columns")


@pytest.mark.parametrize("form", [dict, list])
def test_more_columns_than_a_collection_can_have_are_not_laid_out(form: Any) -> None:
    types = {f"c{number}": "bool" for number in range(65)}
    arrays = [u8(1, 0)] * 65
    header = {"id": 5, "handle": 9, "n": 2, "dim": 1, "flags": 2}
    for count, code in ((64, None), (65, "too_large")):
        names = dict(list(types.items())[:count])
        json = orjson.dumps({"columns": names if form is dict else list(names)})
        data = frame(ADD, f32(1, 2), *arrays[:count], json=json, **header)
        message = decode(data, lambda handle: types)
        if code is None:
            assert len(message.rows.columns) == count
        else:
            refused(message, code, "columns")


def test_the_columns_flag_and_their_json_go_together() -> None:
    refused(columns({"columns": {"price": "f64"}}, f64(1, 2), flags=0), "bad_frame")
    refused(columns({"columns": {"price": "f64"}}, flags=0), "bad_frame", "columns")
    refused(columns({}, f64(1, 2)), "bad_frame", "columns")
    refused(columns({"columns": {}}, f64(1, 2)), "bad_frame", "length")
    assert columns({"columns": {}}).rows.columns == {}


@pytest.mark.parametrize("array", [b"", f64(1), f64(1, 2, 3), f64(1, 2) + bytes(8)])
def test_the_length_counts_columns_too(array: bytes) -> None:
    refused(columns({"columns": {"price": "f64"}}, array), "bad_frame", "length")


@pytest.mark.parametrize(
    "dictionaries", [None, [], {}, {"other": []}, {"s": [], "t": []}, {"s": "x"}, {"s": [1]},
                     {"s": ["x", None]}, {"s": {"x": 0}}]
)  # fmt: skip
def test_every_str_column_has_its_dictionary_and_no_other(dictionaries: Any) -> None:
    json = {"columns": {"s": "str"}, "dictionaries": dictionaries}
    faulty(columns(json, u32(0, 0)), "bad_metadata", "dictionaries")


def test_a_dictionary_may_be_left_out_where_no_column_needs_one() -> None:
    assert columns({"columns": {"on": "bool"}}, u8(1, 0)).rows.columns.keys() == {"on"}
    faulty(columns({"columns": {"s": "str"}}, u32(0, 0)), "bad_metadata", "dictionaries.s")
