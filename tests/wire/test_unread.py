"""The id of a message that nobody reads: the one that reading it would find, or none."""

from __future__ import annotations

import random

import orjson
import pytest

from omendb_ws.wire import text
from omendb_ws.wire.limits import Limits
from omendb_ws.wire.opcodes import MAX_U32
from omendb_ws.wire.unread import (
    BEGINNING_CHARACTERS,
    START_BYTES,
    WHOLE_CHARACTERS,
    id_of,
    start_of,
)

from .cases import CASES

LONG = [0.5] * WHOLE_CHARACTERS


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.sent_by == "client"], ids=lambda case: case.name
)
def test_every_request_has_its_id(case: object) -> None:
    data = case.data  # type: ignore[attr-defined]
    message = data if data[:1] == b"\xdb" else data.decode()
    assert id_of(message) == case.decoded.id  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(50))
def test_scalars_may_stand_before_the_id_of_a_long_text(seed: int) -> None:
    numbers = random.Random(seed)
    values = [True, False, None, 1, -2.5e9, "a, {b}: [c]", "ä", "", 0]
    fields = {f"f{place}": numbers.choice(values) for place in range(numbers.randrange(12))}
    wanted = numbers.randrange(MAX_U32 + 1)
    body = {**fields, "id": wanted, "vector": LONG}
    for spaced in (orjson.dumps(body), orjson.dumps(body, option=orjson.OPT_INDENT_2)):
        assert id_of(spaced.decode()) == wanted


@pytest.mark.parametrize("indented", [False, True])
@pytest.mark.parametrize("begins", [{"id": MAX_U32, "op": "add"}, {"op": "add", "id": 0}])
def test_a_text_that_begins_with_its_id_and_its_op_is_known_by_its_start(
    begins: dict[str, object], indented: bool
) -> None:
    option = orjson.OPT_INDENT_2 if indented else None
    for more in ({}, {"x": "}"}, {"rows": [{"id": 7, "op": "ping"}]}, {"vector": LONG}):
        data = orjson.dumps({**begins, **more}, option=option)
        assert start_of(data[:START_BYTES]) == (begins["id"], "add")


@pytest.mark.parametrize("seed", range(20))
def test_a_start_tells_what_the_whole_says_or_nothing(seed: int) -> None:
    numbers = random.Random(seed)
    values = [True, None, 7, 1.5, "a", "a,b", '","id":1,"op":"x"', "\u0041", [1, 2], [], {}]
    values += [{"id": 3, "op": "get"}, [{"id": 3, "op": "get"}], MAX_U32 + 1, -1]
    known = 0
    for _ in range(500):
        names = numbers.sample(("id", "op", "x", "y", "a,b"), numbers.randrange(2, 6))
        body = {name: numbers.choice(values) for name in names}
        if numbers.random() < 0.7:
            named = {"id": numbers.randrange(100), "op": numbers.choice(("get", "a,b", 'a"b'))}
            body = {**named, **body} if numbers.random() < 0.5 else body | named
        data = orjson.dumps(body)
        found = start_of(data[: numbers.randrange(len(data) + 1)])
        assert found in (None, (body.get("id"), body.get("op")))
        known += found is not None
    assert known > 5


@pytest.mark.parametrize(
    "start",
    [
        b"", b",", b",,", b"[1,2,3", b"{}", b'{"id":1}', b'{"id":true,"op":"get",', b"\xff,\xff,",
        b'{"id":1.0,"op":"get"}', b'{"id":01,"op":"get"}', b'{"id":1,"op":null}', b'"id","op"',
        b'{"id":4294967296,"op":"get"}', b'{"id":-1,"op":"get"}', b'[["id",1],"op",',
    ],
)  # fmt: skip
def test_what_has_no_id_and_op_at_its_start_is_not_known_by_it(start: bytes) -> None:
    assert start_of(start) is None


NONE = {
    "no JSON": "x" * 9000,
    "cut off": '{"id":',
    "a list": "[" * 9000,
    "a list with an object": '[{"id":1}]' + " " * 9000,
    "no id": orjson.dumps({"op": "list", "x": LONG}).decode(),
    "behind a list": orjson.dumps({"x": LONG, "id": 1}).decode(),
    "within an object": orjson.dumps({"x": {"id": 1}, "y": LONG}).decode(),
    "within text": '{"x":"\\"id\\":1,"' + " " * 9000,
    "too far in": orjson.dumps({"x": "y" * BEGINNING_CHARACTERS, "id": 1, "z": LONG}).decode(),
    "text": orjson.dumps({"id": "1", "x": LONG}).decode(),
    "negative": orjson.dumps({"id": -1, "x": LONG}).decode(),
    "a fraction": orjson.dumps({"id": 1.5, "x": LONG}).decode(),
    "too large": orjson.dumps({"id": MAX_U32 + 1, "x": LONG}).decode(),
    "digits of others": '{"id":\u0661,' + " " * 9000,
    "many digits": '{"id":' + "9" * 9000,
    "short and negative": '{"id":-1}',
    "short and a list": "[1]",
    "short and true": '{"id":true}',
    "nothing": "",
    "an empty frame": b"",
    "a short frame": b"\xdb\x01\x01\x00\x01\x00\x00",
    "another protocol": b"\xdb\x02" + bytes(30),
}


@pytest.mark.parametrize("name", NONE)
def test_no_id_is_made_up(name: str) -> None:
    assert id_of(NONE[name]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_noise_raises_nothing_and_agrees_with_reading_it(seed: int) -> None:
    numbers = random.Random(seed)
    for _ in range(200):
        pieces = ["{", '"id"', ":", "7", ",", '"a"', "}", "[", "]", '"', "\\", " ", "1e9", "null"]
        noise = "".join(numbers.choices(pieces, k=numbers.randrange(30)))
        found = id_of(noise + " " * numbers.choice((0, WHOLE_CHARACTERS)))
        read = text.decode_request(noise, Limits()).id
        assert found == read or read is None or noise.count('"id"') > 1, noise
