"""What is wrong with a text request, and how it is told (PROTOCOL sections 2 to 6, 9)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omendb_ws.wire.messages import Add, Count, Create, Refusal, Search, Subscribe
from omendb_ws.wire.opcodes import OPS, Limits
from omendb_ws.wire.text import decode_request

LIMITS = Limits(max_rows=3, max_k=20, max_queries=2, max_ids=3, max_dim=64, max_capacity=500)


def decode(text: str) -> Any:
    return decode_request(text, LIMITS)


def ask(op: str, **fields: Any) -> Any:
    return decode(json.dumps({"id": 5, "op": op, **fields}))


def search(**fields: Any) -> Any:
    return ask("search", **{"collection": "a", "vector": [1.0, 2.0], **fields})


def create(**fields: Any) -> Any:
    return ask("create", **{"collection": "a", "dim": 2, "capacity": 10, **fields})


def feed(**fields: Any) -> Any:
    return ask("subscribe", **{"kind": "feed", "collection": "a", **fields})


def refused(message: Any, code: str, names: str, row: int | None = None) -> None:
    assert isinstance(message, Refusal), message
    assert message.id == 5
    assert message.error.code == code, message.error.message
    assert names in message.error.message
    assert message.error.row == row


# -- no id ----------------------------------------------------------------------------------------

WITHOUT_ID = {
    "empty": "",
    "blank": "  ",
    "no JSON": "hello",
    "cut": '{"id":5,"op":"pi',
    "trailing": '{"id":5,"op":"ping"}}',
    "two": '{"id":5,"op":"ping"}{"id":6,"op":"ping"}',
    "list": '[{"id":5,"op":"ping"}]',
    "number": "5",
    "null": "null",
    "no id": '{"op":"ping"}',
    "id null": '{"id":null,"op":"ping"}',
    "id true": '{"id":true,"op":"ping"}',
    "id float": '{"id":5.0,"op":"ping"}',
    "id exponent": '{"id":5e0,"op":"ping"}',
    "id text": '{"id":"5","op":"ping"}',
    "id negative": '{"id":-1,"op":"ping"}',
    "id over u32": '{"id":4294967296,"op":"ping"}',
    "id huge": '{"id":123456789012345678901234567890,"op":"ping"}',
    "NaN": '{"id":5,"op":"search","collection":"a","vector":[NaN]}',
    "Infinity": '{"id":5,"op":"search","collection":"a","vector":[-Infinity]}',
    "lone surrogate": '{"id":5,"op":"open","collection":"\\ud800"}',
    "raw lone surrogate": '{"id":5,"op":"open","collection":"\ud800"}',
    "deep": '{"id":5,"op":"ping","x":' + "[" * 2000 + "]" * 2000 + "}",
    "deep objects": '{"id":5,"op":"ping","x":' + '{"a":' * 2000 + "1" + "}" * 2001,
    "byte order mark": '\ufeff{"id":5,"op":"ping"}',
    "control character": '{"id":5,"op":"open","collection":"\x01"}',
    "deep and too large a number": "[" * 100_000 + "1e999",
    "too large a number, no id": '{"op":"ping","x":1e999}',
    "too large a number, not ended": '{"id":5,"x":1e999',
}


@pytest.mark.parametrize("text", WITHOUT_ID.values(), ids=WITHOUT_ID.keys())
def test_a_text_without_an_id_is_answered_by_the_event(text: str) -> None:
    refusal = decode(text)
    assert isinstance(refusal, Refusal)
    assert refusal.id is None
    assert refusal.error.code == "bad_request"
    assert len(refusal.error.message) < 200


def test_a_text_that_is_not_utf8_is_answered_by_the_event() -> None:
    refusal = decode_request(b'{"id":5,"op":"auth","token":"\xff"}', LIMITS)
    assert isinstance(refusal, Refusal)
    assert (refusal.id, refusal.error.code) == (None, "bad_request")


@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀"])
def test_the_limit_on_text_counts_bytes_of_utf8(letter: str) -> None:
    frame = '{"id":5,"op":"auth","token":""}'
    size = len(frame) + 100 * len(letter.encode())
    text = frame.replace('""', f'"{letter * 100}"')
    fits, short = Limits(max_text_bytes=size), Limits(max_text_bytes=size - 1)
    for form in (text, text.encode()):
        assert not isinstance(decode_request(form, fits), Refusal)
        refusal = decode_request(form, short)
        assert isinstance(refusal, Refusal)
        assert (refusal.id, refusal.error.code) == (None, "too_large")


def test_a_text_over_the_limit_stays_unread() -> None:
    refusal = decode_request("{" * 100, Limits(max_text_bytes=99))
    assert isinstance(refusal, Refusal)
    assert refusal.error.code == "too_large"


def test_a_number_beyond_a_double_is_refused_with_its_messages_id() -> None:
    refused(decode('{"id":5,"op":"search","collection":"a","vector":[1e999]}'), "non_finite", "")
    refused(decode('{"id":5,"op":"count","collection":"a","filter":{"x":-1e999}}'),
            "non_finite", "")  # fmt: skip


# -- ops and fields -------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["", "Ping", "nothing", "__class__", "hello", "x" * 10_000])
def test_an_unknown_op_is_refused_in_few_words(op: str) -> None:
    message = ask(op)
    refused(message, "bad_request", "op")
    assert len(message.error.message) < 100


@pytest.mark.parametrize("op", [None, 3, ["ping"], {"op": "ping"}])
def test_an_op_that_is_no_string_is_refused(op: Any) -> None:
    refused(decode(json.dumps({"id": 5, "op": op})), "bad_request", "op")


def test_a_request_without_an_op_is_refused() -> None:
    refused(decode('{"id":5}'), "bad_request", "op: missing")


@pytest.mark.parametrize("op", sorted(OPS))
def test_an_unknown_field_is_refused_by_its_name(op: str) -> None:
    refused(ask(op, colection="a"), "bad_request", "colection: unknown field")


@pytest.mark.parametrize(
    ("op", "field"),
    [(op.name, field.name) for op in OPS.values() for field in op.fields if field.required],
)
def test_a_missing_field_is_refused_by_its_name(op: str, field: str) -> None:
    good: dict[str, Any] = {
        "token": "t", "collection": "a", "dim": 2, "capacity": 2, "rows": [{}], "ids": [],
        "kind": "feed", "sub": 1, "vector": [1.0], "node": "one",
    }  # fmt: skip
    fields = {one.name: good[one.name] for one in OPS[op].fields if one.required}
    if op in ("search", "move"):
        fields["vector"] = [1.0]
    if op == "subscribe":
        fields["collection"] = "a"
    assert not isinstance(ask(op, **fields), Refusal)
    del fields[field]
    refused(ask(op, **fields), "bad_request", f"{field}: missing")


WRONG = (True, 1.5, None, {"a": [1]}, [[]], [None])
#: What of ``WRONG`` a field may be, by its type.
RIGHT: dict[str, tuple[Any, ...]] = {
    "ttl": (1.5, None),
    "ids": ([[]], [None]),
    "rows": ([[]], [None]),
    "filter": ({"a": [1]},),
    "columns": (),
}


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        (op.name, field.name, value)
        for op in OPS.values()
        if op.name not in ("subscribe", "search", "move")
        for field in op.fields
        for value in WRONG
        if (op.name, field.name) != ("add", "rows") and value not in RIGHT.get(field.type, ())
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_fields_name(
    op: str, field: str, value: Any
) -> None:
    good: dict[str, Any] = {
        "token": "t", "collection": "a", "dim": 2, "capacity": 2, "rows": [{}], "ids": [],
        "sub": 1, "vector": [1.0], "producer": "p", "batch": 1, "node": "one",
    }  # fmt: skip
    wanted = {one.name for one in OPS[op].fields if one.required} | (
        {"producer", "batch"} if op == "add" else set()
    )
    fields = {name: good[name] for name in wanted}
    fields[field] = value
    code = {"filter": "bad_filter", "vector": "bad_vector"}.get(field, "bad_request")
    refused(ask(op, **fields), code, field)


def test_the_last_of_duplicate_keys_counts() -> None:
    assert decode('{"id":1,"op":"ping","op":"list","id":9}').id == 9
    refused(decode('{"id":1,"id":5,"op":"search","collection":"a","vector":[1],"k":1,"k":0}'),
            "bad_k", "k")  # fmt: skip


# -- create ---------------------------------------------------------------------------------------


def test_create_has_the_protocols_defaults() -> None:
    assert create() == Create(5, "a", 2, 10, "cosine", "u64", {}, None, None, "error")


@pytest.mark.parametrize("name", ["a", "0", "A.b_c-d", "9" * 64])
def test_a_good_name_is_taken(name: str) -> None:
    assert create(collection=name).collection == name
    assert create(columns={name: "f64"}).columns == {name: "f64"}


@pytest.mark.parametrize("name", ["", ".a", "-a", "_a", "a b", "a/b", "ä", "a\n", "a" * 65, "a\0"])
def test_a_bad_name_is_refused(name: str) -> None:
    refused(create(collection=name), "bad_name", "collection")
    refused(ask("open", collection=name), "bad_name", "collection")
    refused(create(columns={name: "f64"}), "bad_name", "columns")


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"dim": 0}, "bad_request", "dim"),
        ({"dim": -1}, "bad_request", "dim"),
        ({"dim": 2.0}, "bad_request", "dim"),
        ({"dim": 65}, "too_large", "max_dim"),
        ({"dim": 2**64}, "bad_request", "dim"),
        ({"capacity": 0}, "bad_request", "capacity"),
        ({"capacity": 501}, "too_large", "max_capacity"),
        ({"metric": "euclid"}, "bad_request", "metric"),
        ({"ids": "int"}, "bad_request", "ids"),
        ({"columns": {"a": "float"}}, "bad_request", "columns.a"),
        ({"columns": {"a": None}}, "bad_request", "columns.a"),
        ({"columns": {f"c{n}": "f64" for n in range(65)}}, "too_large", "columns"),
        ({"ttl": 0}, "bad_request", "ttl"),
        ({"ttl": -0.5}, "bad_request", "ttl"),
        ({"ttl": True}, "bad_request", "ttl"),
        ({"ttl": 1e300}, "bad_request", "ttl"),
        ({"ttl": "1"}, "bad_request", "ttl"),
        ({"durability": "forever"}, "bad_request", "durability"),
        ({"if_exists": "replace"}, "bad_request", "if_exists"),
    ],
)
def test_a_bad_definition_is_refused(fields: Any, code: str, names: str) -> None:
    refused(create(**fields), code, names)


def test_sixty_four_columns_and_the_largest_numbers_are_taken() -> None:
    columns = {f"c{n}": "str" for n in range(64)}
    made = create(columns=columns, dim=64, capacity=500, ttl=0.001)
    assert (len(made.columns), made.dim, made.capacity, made.ttl) == (64, 64, 500, 0.001)


# -- search ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, -1, 21, 2**64, 10.0, 1.5, True, False, "10", None, [10], {}])
def test_a_k_that_is_no_integer_in_range_is_bad_k(k: Any) -> None:
    refused(search(k=k), "bad_k", "k")


def test_a_k_with_an_exponent_is_bad_k() -> None:
    text = '{"id":5,"op":"search","collection":"a","vector":[1],"k":1e1}'
    refused(decode(text), "bad_k", "k")


@pytest.mark.parametrize("k", [1, 20])
def test_a_k_in_range_is_taken(k: int) -> None:
    assert search(k=k).k == k


@pytest.mark.parametrize(
    "fields",
    [
        {"vector": [1.0], "vectors": [[1.0]]},
        {"vector": [1.0], "like": 3},
        {"vectors": [[1.0]], "like": 3},
        {"vector": [1.0], "vectors": [[1.0]], "like": 3},
        {},
    ],
)
def test_a_search_has_exactly_one_question(fields: Any) -> None:
    refused(ask("search", collection="a", **fields), "bad_request", "vector, vectors, like")


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"last": 0}, "bad_request", "last"),
        ({"last": -5}, "bad_request", "last"),
        ({"last": 5.0}, "bad_request", "last"),
        ({"last": "5"}, "bad_request", "last"),
        ({"min_score": "0.5"}, "bad_request", "min_score"),
        ({"min_score": True}, "bad_request", "min_score"),
        ({"min_score": None}, "bad_request", "min_score"),
        ({"include": "metadata"}, "bad_request", "include"),
        ({"include": ["metadata", "score"]}, "bad_request", "include"),
        ({"include": [["vector"]]}, "bad_request", "include"),
        ({"include": {"vector": True}}, "bad_request", "include"),
        ({"filter": []}, "bad_filter", "filter"),
        ({"filter": None}, "bad_filter", "filter"),
        ({"filter": "price < 3"}, "bad_filter", "filter"),
        ({"collection": 3}, "bad_request", "collection"),
        ({"took_us": 3}, "bad_request", "took_us"),
    ],
)
def test_a_bad_field_of_a_search_is_refused_by_its_name(fields: Any, code: str, names: str) -> None:
    refused(search(**fields), code, names)


@pytest.mark.parametrize("like", [None, True, 1.5, [1], {"id": 1}])
def test_like_takes_an_id(like: Any) -> None:
    refused(ask("search", collection="a", like=like), "bad_id", "like")


def test_like_and_one_vector_are_answered_by_one_list() -> None:
    assert ask("search", collection="a", like=0).single
    assert search().single
    assert not ask("search", collection="a", vectors=[[1.0]]).single


def test_include_says_what_answers_carry() -> None:
    assert search(include=[]).include == (False, False)
    assert search(include=["vector", "metadata", "vector"]).include == (True, True)


def test_a_window_of_the_newest_rows_may_be_larger_than_any() -> None:
    assert search(last=2**53 - 1).last == 2**53 - 1


@pytest.mark.parametrize(
    ("vectors", "code", "row"),
    [
        ([], "bad_vector", None),
        ("[[1]]", "bad_vector", None),
        (None, "bad_vector", None),
        ([1.0, 2.0], "bad_vector", 0),
        ([[1.0], 2.0], "bad_vector", 1),
        ([[1.0], [None]], "bad_vector", 1),
        ([[1.0], [1.0, 2.0]], "dim_mismatch", 1),
        ([[1.0]] * 3, "too_large", None),
    ],
)
def test_bad_query_vectors_are_refused_with_their_row(
    vectors: Any, code: str, row: int | None
) -> None:
    refused(ask("search", collection="a", vectors=vectors), code, "vectors", row)


# -- changes --------------------------------------------------------------------------------------


def test_faults_of_rows_stand_in_their_place() -> None:
    """A repeated batch is answered before its rows are looked at."""
    for rows, code in [([], "bad_request"), ([{}] * 4, "too_large"), ("x", "bad_request")]:
        add = ask("add", collection="a", rows=rows, producer="p", batch=1)
        assert isinstance(add, Add)
        assert isinstance(add.rows, Exception)
        assert add.rows.code == code
        assert (add.producer, add.batch) == ("p", 1)


def test_rows_of_an_add_stay_as_they_came() -> None:
    assert ask("add", collection="a", rows=[{"id": 1}, 3, None]).rows == [{"id": 1}, 3, None]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"producer": "p"}, "batch: missing"),
        ({"batch": 1}, "producer: missing"),
        ({"producer": "", "batch": 1}, "producer"),
        ({"producer": "x" * 65, "batch": 1}, "producer"),
        ({"producer": "é" * 33, "batch": 1}, "producer"),
        ({"producer": 7, "batch": 1}, "producer"),
        ({"producer": "p", "batch": 0}, "batch"),
        ({"producer": "p", "batch": -1}, "batch"),
        ({"producer": "p", "batch": 1.0}, "batch"),
        ({"producer": "p", "batch": "1"}, "batch"),
        ({"producer": "p", "batch": True}, "batch"),
        ({"producer": "p", "batch": 2**53}, "batch"),
    ],
)
def test_faults_of_producer_and_batch_are_refused_before_the_rows(fields: Any, names: str) -> None:
    refused(ask("add", collection="a", rows=[], **fields), "bad_request", names)


def test_the_longest_producer_and_largest_batch_are_taken() -> None:
    add = ask("add", collection="a", rows=[{}], producer="é" * 32, batch=2**53 - 1)
    assert (add.producer, add.batch) == ("é" * 32, 2**53 - 1)


@pytest.mark.parametrize("op", ["get", "delete"])
def test_ids_are_a_list_of_limited_length(op: str) -> None:
    assert ask(op, collection="a", ids=[]).ids == []
    assert ask(op, collection="a", ids=[1, "2", None]).ids == [1, "2", None]
    refused(ask(op, collection="a", ids=[1] * 4), "too_large", "max_ids")
    refused(ask(op, collection="a", ids={"a": 1}), "bad_request", "ids")


def test_an_update_has_rows() -> None:
    refused(ask("update", collection="a", rows=[]), "bad_request", "rows")
    refused(ask("update", collection="a", rows=[{}] * 4), "too_large", "max_rows")


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"limit": 5}, "limit: says how many values of by are listed"),
        ({"limit": 0, "by": "a"}, "limit: at least 1"),
        ({"limit": 1001, "by": "a"}, "limit: at most 1000"),
        ({"limit": 5.0, "by": "a"}, "limit: must be an integer"),
        ({"limit": True, "by": "a"}, "limit: must be an integer"),
        ({"limit": None, "by": "a"}, "limit: must be an integer"),
        ({"by": 5}, "by: must be a string"),
        ({"by": None}, "by: must be a string"),
        ({"by": ["a"]}, "by: must be a string"),
        ({"others": 3}, "others: unknown field"),
    ],
)
def test_a_bad_count_is_refused(fields: Any, names: str) -> None:
    refused(ask("count", collection="a", **fields), "bad_request", names)


def test_a_count_lists_a_hundred_values_unless_asked_otherwise() -> None:
    assert ask("count", collection="a") == Count(5, "a")
    assert ask("count", collection="a", by="kind") == Count(5, "a", None, "kind", 100)
    assert ask("count", collection="a", by="kind", limit=1000).limit == 1000


# -- subscriptions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"kind": "all"}, "bad_request", "kind"),
        ({"kind": None}, "bad_request", "kind"),
        ({"kind": "live"}, "bad_request", "vector: missing"),
        ({"kind": "match", "vector": [1]}, "bad_request", "min_score: missing"),
        ({"vector": [1]}, "bad_request", "vector: unknown field"),
        ({"k": 3}, "bad_request", "k: unknown field"),
        ({"every": 3}, "bad_request", "every: unknown field"),
        ({"from_seq": 3}, "bad_request", "epoch: missing"),
        ({"from_seq": 0, "epoch": "e"}, "bad_request", "from_seq"),
        ({"from_seq": 1.0, "epoch": "e"}, "bad_request", "from_seq"),
        ({"from_seq": 1, "epoch": 3}, "bad_request", "epoch"),
        ({"encoding": "xml"}, "bad_request", "encoding"),
        ({"kind": "count", "every": 99}, "bad_request", "every"),
        ({"kind": "count", "limit": 9}, "bad_request", "limit: says how many"),
        ({"kind": "count", "by": "a", "limit": 1001}, "bad_request", "limit"),
        ({"kind": "count", "by": 3}, "bad_request", "by"),
        ({"by": "a"}, "bad_request", "by: unknown field"),
        ({"kind": "stats", "every": 99}, "bad_request", "every"),
        ({"kind": "stats", "every": 60_001}, "bad_request", "every"),
        ({"kind": "stats", "every": 1000.0}, "bad_request", "every"),
        ({"kind": "live", "vector": [1], "every": -1}, "bad_request", "every"),
        ({"kind": "live", "vector": [1], "k": 0}, "bad_k", "k"),
        ({"kind": "live", "vector": [True]}, "bad_vector", "vector"),
        ({"kind": "map", "sample": 99}, "bad_request", "sample"),
        ({"kind": "map", "sample": 20_001}, "bad_request", "sample"),
    ],
)
def test_a_bad_subscription_is_refused(fields: Any, code: str, names: str) -> None:
    refused(feed(**fields), code, names)


def test_subscriptions_have_their_kinds_fields() -> None:
    assert ask("subscribe", kind="stats") == Subscribe(5, "stats")
    count = feed(kind="count", by="a", limit=7, every=100, filter={"a": 1})
    assert (count.by, count.limit, count.every_ms, count.filter) == ("a", 7, 100, {"a": 1})
    assert (feed(kind="count").by, feed(kind="count").limit) == (None, 100)
    assert feed(from_seq=1, epoch="e").from_seq == 1
    live = feed(kind="live", vector=[1], every=60_000)
    assert (live.every_ms, live.k, live.vectors.shape) == (60_000, 10, (1, 1))


@pytest.mark.parametrize("sub", [-1, 2**32, 1.0, True, "3", None])
def test_a_sub_is_a_u32(sub: Any) -> None:
    refused(ask("unsubscribe", sub=sub), "bad_request", "sub")


def test_a_search_may_be_asked_in_bytes_too() -> None:
    found = decode_request(b'{"id":5,"op":"search","collection":"a","vector":[1]}', LIMITS)
    assert isinstance(found, Search)
