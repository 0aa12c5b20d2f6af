"""A long text is read in pieces as it is in one: the same request, the same refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from itertools import pairwise
from typing import Any, TypeVar

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omendb_core.model.errors import OmenError
from omendb_core.model.types import Definition

from omendb_ws.wire import long_json, long_rows, long_text, rows, text
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.long_json import MAX_LEVELS, NotJson, load
from omendb_ws.wire.messages import Add, Refusal, Update
from tests.examples import examples

from .plain import same

LIMITS = Limits(max_text_bytes=2000, max_metadata_bytes=60)
Result = TypeVar("Result")


def drained(steps: Generator[None, None, Result]) -> Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def outcome(call: Callable[[], Any]) -> Any:
    """What it returns, or what is wrong."""
    try:
        return call()
    except OmenError as error:
        return error.code, error.message, error.row, error.details


def definition(ids: Any) -> Definition:
    return Definition(2, 10, "dot", ids)


def check_same(message: str, piece: int) -> None:
    """Hold the decoders to each other over ``message``, and the readers of its rows."""
    whole = text.decode_request(message, LIMITS)
    decoded = drained(long_text.decode(message, LIMITS, piece))
    found = decoded.request
    if isinstance(whole, Refusal):
        assert isinstance(found, Refusal), found
        assert found.id == whole.id
        was, now = whole.error, found.error
        assert (now.code, now.row) == (was.code, was.row)
        if not was.message.startswith("not JSON"):  # where a fault shows depends on the piece
            assert now.message == was.message
        else:
            assert now.message.startswith("not JSON")
    else:
        assert same(found, whole)
        assert decoded.loaded is not None
        if isinstance(whole, Add | Update) and isinstance(whole.rows, list):
            check_same_rows(whole, found, decoded.loaded.counts_of(found.rows))  # type: ignore[union-attr]
    if decoded.loaded is not None:
        drained(decoded.loaded.free())
        assert not any(one.container for one in decoded.loaded.entered)


def check_same_rows(whole: Any, found: Any, counts: list[int]) -> None:
    one, many = (
        (rows.parse_updates, long_rows.parse_updates)
        if isinstance(whole, Update)
        else (rows.parse_rows, long_rows.parse_rows)
    )
    for ids in ("u64", "auto", "str"):
        expected = outcome(lambda ids=ids: one(whole.rows, definition(ids), LIMITS))
        got = outcome(lambda ids=ids: drained(many(found.rows, counts, definition(ids), LIMITS)))
        assert same(got, expected), ids


NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30, 1e300]),
)
TEXTS = st.text('ab"\\,:[]{}é∂😀\n\x01', max_size=6)
LEAVES = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.integers(0, 9), st.sampled_from(["7", "a", "", -1, 2**60, None])),
        "vector": st.one_of(
            st.lists(NUMBERS, min_size=2, max_size=2),
            st.just([1, 2]), st.just([1.5, 2]), st.lists(VALUES, max_size=3), VALUES
        ),
        "metadata": st.one_of(st.dictionaries(TEXTS, VALUES, max_size=3), st.just({}), VALUES),
        "vecto": VALUES,
    },
)  # fmt: skip
GOOD_ROWS = st.fixed_dictionaries(
    {"id": st.integers(0, 99), "vector": st.just([1, 2.5])},
    optional={"metadata": st.dictionaries(st.text(max_size=2), LEAVES, max_size=2)},
)
GOOD_UPDATES = st.fixed_dictionaries(
    {"id": st.integers(0, 99), "metadata": st.dictionaries(st.text(max_size=2), LEAVES, max_size=2)}
)
EXAMPLES = st.one_of(
    VALUES, st.lists(st.one_of(NUMBERS, TEXTS, st.lists(NUMBERS, max_size=3)), max_size=5)
)
BODIES = st.one_of(
    st.fixed_dictionaries(
        {
            "id": st.just(5),
            "op": st.sampled_from(["add", "update"]),
            "collection": st.just("a"),
            "rows": st.one_of(
                st.lists(GOOD_ROWS, max_size=12),
                st.lists(GOOD_UPDATES, max_size=12),
                st.lists(ROWS, max_size=6),
                st.tuples(st.lists(GOOD_ROWS, min_size=1, max_size=6), ROWS, ROWS).map(
                    lambda some: [*some[0], *some[1:]]
                ),
                VALUES,
            ),
        },
        optional={"producer": TEXTS, "batch": NUMBERS, "metadata": VALUES},
    ),
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["search", "ping", "get", "count", "nonsense"]),
            "id": st.one_of(st.just(5), VALUES),
        },
        optional={
            "collection": st.just("a"), "vectors": st.lists(st.lists(NUMBERS, max_size=3)),
            "vector": VALUES, "ids": VALUES, "filter": VALUES, "k": NUMBERS,
            "positive": EXAMPLES, "negative": EXAMPLES, "exclude": VALUES, "rank": VALUES,
        },
    ),
    VALUES,
)  # fmt: skip
PIECES = st.sampled_from([1, 2, 3, 7, 30, 200])


@st.composite
def messages(draw: Any) -> str:
    """JSON as clients write it, and some that nobody should."""
    form = json.dumps(
        draw(BODIES), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1]))
    )
    if draw(st.booleans()):
        return form
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(form)))
        change = draw(st.integers(0, 3))
        if change == 0:
            form = form[:at]
        elif change == 1:
            form = form[:at] + form[at + 1 :]
        elif change == 2:
            odd = ["[", "]", "{", "}", ",", ":", '"', "\\", " ", "1e999", "-", "NaN", '"rows":[],']
            form = form[:at] + draw(st.sampled_from(odd)) + form[at:]
        else:
            other = draw(st.integers(0, len(form)))
            form = form[:at] + form[other : other + 9] + form[at:]
    return form


@given(messages(), PIECES)
@settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))
def test_the_same_in_pieces(message: str, piece: int) -> None:
    check_same(message, piece)


ODD = {
    "rows twice": '{"id":5,"op":"add","rows":[{"vector":[9]}],"collection":"a",'
    '"rows":[{"vector":[1,2]}]}',
    "an id twice": '{"id":5,"rows":[1,2,3],"op":"ping","id":6,"rows":[]}',
    "a key that is written in escapes": '{"id":5,"op":"add","collection":"a",'
    '"ro\\u0077s":[{"vector":[1,2]}]}',
    "quotes behind backslashes": r'{"id":5,"op":"open","collection":"\\\\\\\"],{\\"}',
    "one comma too many": '{"id":5,"op":"add","collection":"a","rows":[{"vector":[1,2]},]}',
    "commas alone": '{"id":5,"op":"add","collection":"a","rows":[,,]}',
    "another bracket": '{"id":5,"op":"add","collection":"a","rows":[{"vector":[1,2]}}]}',
    "a number right before a list": '{"id":5,"op":"add","rows":-[1,2]}',
    "a number right behind a list": '{"id":5,"op":"add","rows":[1,2].5}',
    "two lists": '{"id":5,"op":"add","rows":[1,2][3,4]}',
    "a value without a key": '{"id":5,[1,2,3]}',
    "a colon in a list": '{"id":5,"x":["a":[1,2,3]]}',
    "an integer that is too long": '{"id":5,"op":"add","collection":"a","rows":[{"vector":[1,2]},'
    '{"vector":[1,2],"metadata":{"a":123456789012345678901}}]}',
    "and one that is no double": '{"id":5,"op":"add","collection":"a","rows":[{"vector":[1,2]},'
    '{"vector":[1,2],"metadata":{"a":1e999}}]}',
    "both": '{"id":5,"op":"add","rows":[{"metadata":{"a":123456789012345678901}},'
    '{"vector":[1e999]}]}',
    "such a number outside metadata": '{"id":5,"op":"add","rows":[{"vector":[1e999,2]}]}',
    "vectors": '{"id":5,"op":"search","collection":"a","vectors":[[1,2],[3,4.5],[5,1e39]]}',
    "too many vectors": '{"id":5,"op":"search","collection":"a","vectors":['
    + "[1]," * 300
    + "[2]]}",
    "one longer vector": '{"id":5,"op":"search","collection":"a","vectors":[[1],[2],[3,4]]}',
    "vectors and a bad k": '{"id":5,"op":"search","collection":"a","vectors":[[1],["2"]],"k":0}',
    "empty vectors": '{"id":5,"op":"search","collection":"a","vectors":[[],[],[]]}',
    "examples": '{"id":5,"op":"search","collection":"a","positive":[1,[3,4.5],"7",[5,1e39]],'
    '"negative":[[1,2]],"exclude":[1,2,"3"],"rank":{"$add":[1,{"$neg":"$score"}]},"at":5}',
    "too many examples": '{"id":5,"op":"search","collection":"a","positive":['
    + "[1]," * 64
    + "[2]]}",
    "examples with a fault": '{"id":5,"op":"search","collection":"a","positive":[[1],[2,"3"],[4]],'
    '"negative":[[1],null]}',
    "negative examples alone": '{"id":5,"op":"search","collection":"a","negative":[[1],[2]]}',
    "examples that are none": '{"id":5,"op":"search","collection":"a","positive":{"a":[[1],[2]]}}',
    "examples of a ping": '{"id":5,"op":"ping","positive":[[1],[2],[3]]}',
    "two documents": '{"id":5,"op":"ping"} {"id":6,"op":"ping"}',
    "a text alone": '"' + "a" * 500 + '"',
    "too long only in bytes": '{"id":5,"op":"open","collection":"' + "é" * 990 + '"}',
    "half a surrogate": '{"id":5,"op":"open","collection":"\ud800"}',
}  # fmt: skip


@pytest.mark.parametrize("piece", [1, 4, 50])
@pytest.mark.parametrize("message", ODD.values(), ids=ODD.keys())
def test_odd_texts(message: str, piece: int) -> None:
    check_same(message, piece)


@pytest.mark.parametrize("levels", [MAX_LEVELS, MAX_LEVELS + 1])
@pytest.mark.parametrize(("begins", "ends"), [("[", "]"), ('{"a":', "}")])
def test_as_deep_as_in_one_piece(levels: int, begins: str, ends: str) -> None:
    message = begins * levels + "1" + ends * levels
    is_json = levels <= MAX_LEVELS
    for piece in (1, 100, 1 << 16):
        if not is_json:
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(message)
            with pytest.raises(NotJson):
                drained(load(message, orjson.loads, piece))
            continue
        orjson.loads(message)
        found = drained(load(message, orjson.loads, piece)).value
        for _ in range(levels):
            found = next(iter(found.values())) if isinstance(found, dict) else found[0]
        assert found == 1


@pytest.mark.parametrize(
    "message",
    [
        '{"rows":[' + '{"id":1,"vector":[1,2,3]},' * 2000 + "1]}",
        '{"rows":[' + "[]," * 20_000 + "1]}",
        '{"rows":[' + "[" + "1," * 30_000 + "1]" + ',{"a":{"b":[' + "1," * 20_000 + "1]}}]}",
        "{" + '"a":[1],' * 10_000 + '"b":1}',
        "[" * 900 + "[]," * 20_000 + "1" + "]" * 900,
        '{"a":' * 900 + "1" + "}" * 900 + " " * 20_000,
    ],
    ids=["rows", "small lists", "one long row", "members", "deep", "deep objects"],
)
def test_no_call_sees_much_more_than_two_pieces(message: str) -> None:
    seen: list[int] = []

    def parse(some: str) -> Any:
        seen.append(len(some))
        return orjson.loads(some)

    try:
        expected = orjson.loads(message)
    except orjson.JSONDecodeError:
        expected = None
    try:
        found = drained(load(message, parse, 4096)).value
    except NotJson:
        found = None
    assert found == expected
    assert max(seen, default=0) < 2 * 4096 + 64


def test_it_is_let_go_of_in_pieces() -> None:
    loaded = drained(load('{"rows":[' + "[1,2]," * 5000 + "1]}", orjson.loads, 1000))
    left = [len(loaded.value["rows"])]
    held = loaded.value["rows"]
    left += [len(held) for _ in loaded.free()]
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 400


def nested(containers: int, in_text: int = 0) -> str:
    """A text with so many lists and objects, and brackets that are none, in a string."""
    lists = ",".join(["[]"] * (containers - 2))
    return '{"id":7,"op":"ping","note":"' + "[" * in_text + '","rows":[' + lists + "]}"


@pytest.mark.parametrize("piece", [100, 64 << 10])
def test_a_text_may_have_so_many_lists_and_objects_and_no_more(piece: int) -> None:
    limits = Limits(max_rows=1)
    most = long_text.most_containers(limits)
    found = drained(long_text.decode(nested(most, in_text=9), limits, piece)).request
    assert isinstance(found, Refusal)
    assert "note" in found.error.message  # it was read: ``ping`` has no such field
    found = drained(long_text.decode(nested(most + 1), limits, piece)).request
    assert isinstance(found, Refusal)
    assert (found.id, found.error.code) == (7, "bad_request")
    assert found.error.message.startswith(f"more than {most} lists and objects")


def test_there_may_be_more_of_them_where_there_may_be_more_rows() -> None:
    assert long_text.most_containers(Limits()) == 16 * Limits().max_rows
    assert long_text.most_containers(Limits(max_rows=1)) == 1 << 16


@pytest.mark.parametrize("end", ["", "]", ",]}", "x"])
def test_what_was_read_of_a_text_that_is_none_is_let_go_of_in_pieces(end: str) -> None:
    text = '{"rows":[' + ",".join(["[[]]"] * 300) + end
    steps = load(text, piece_characters=64)
    turns: list[None] = []
    with pytest.raises(NotJson):
        turns.extend(steps)
    assert len(turns) > 1.5 * len(text) / 64  # as many to let go of it as to read it


def test_where_brackets_stand_close_pieces_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """And long where they do not."""
    scan, found = long_json._Scanner.scan, []

    def counted(self: Any, piece: bytes, start: int) -> Any:
        structure = scan(self, piece, start)
        found.append((len(piece), len(structure[0])))
        return structure

    monkeypatch.setattr(long_json._Scanner, "scan", counted)
    for written, most in (
        ("[" + ",".join(["[" * 900 + "]" * 900] * 300) + "]", long_json._STRUCTURE),
        ("[" + ",".join(["0.1234567890123"] * 40_000) + "]", long_json.PIECE_CHARACTERS),
    ):
        found.clear()
        for _ in load(written):
            pass
        assert max(count for _, count in found) <= long_json._STRUCTURE
        assert found[-2][0] == pytest.approx(most, rel=0.01)
