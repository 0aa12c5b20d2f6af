"""Every field that shapes an answer, wrong in turn, over sockets: a typed error that names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest

from omendb_ws.wire import binary
from omendb_ws.wire.opcodes import HEADER
from tests.server.raw import Raw, client, running
from tests.server.shaped import ask_binary

COLUMNS = {"price": "f64", "count": "i64", "on": "bool", "kind": "str"}
HALF_LIFE = {"half_life": 60}
DEEP: Any = "$score"
for _ in range(9):
    DEEP = {"$neg": DEEP}


@pytest.fixture
async def opened() -> AsyncIterator[tuple[Raw, int]]:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(columns=COLUMNS))["handle"]
        await raw.add(1, 2, 3)
        yield raw, handle


#: fields, code, how the message begins, row
WRONG: list[tuple[dict[str, Any], str, str, int | None]] = [
    ({"positive": 1}, "bad_request", "positive: must be a list", None),
    ({"positive": None}, "bad_request", "positive: must be a list", None),
    ({"positive": {}}, "bad_request", "positive: must be a list", None),
    ({"positive": "1"}, "bad_request", "positive: must be a list", None),
    ({"positive": []}, "bad_request", "positive: must not be empty", None),
    ({"positive": [1] * 65}, "bad_request", "positive: at most 64", None),
    ({"positive": [1, None]}, "bad_request", "positive: ", 1),
    ({"positive": [1, True]}, "bad_request", "positive: ", 1),
    ({"positive": [1, {}]}, "bad_request", "positive: ", 1),
    ({"positive": [1, 1.5]}, "bad_request", "positive: ", 1),
    ({"positive": [1, -1]}, "bad_id", "positive: ", 1),
    ({"positive": [1, "x"]}, "bad_id", "positive: ", 1),
    ({"positive": [1, 2**53]}, "bad_id", "positive: ", 1),
    ({"positive": [1, "18446744073709551616"]}, "bad_id", "positive: ", 1),
    ({"positive": [[1, 2], [1, "2"]]}, "bad_vector", "positive: ", 1),
    ({"positive": [[1, 2], [1, None]]}, "bad_vector", "positive: ", 1),
    ({"positive": [[1, 2], [[1, 2]]]}, "bad_vector", "positive: ", 1),
    ({"positive": [[1, 2], [1, 2, 3]]}, "dim_mismatch", "positive: ", 1),
    ({"positive": [[1, 2], []]}, "dim_mismatch", "positive: ", 1),
    ({"positive": [[1, 2], [1e39, 0]]}, "non_finite", "positive: ", 1),
    ({"positive": [[1, 2], [1e19, 0]]}, "non_finite", "positive: ", 1),
    ({"positive": [1, 4]}, "not_found", "positive: ", 1),
    ({"positive": [4], "negative": [5]}, "not_found", "positive: ", 0),
    ({"positive": [1], "negative": [1, 5]}, "not_found", "negative: ", 1),
    ({"positive": [1], "negative": 2}, "bad_request", "negative: must be a list", None),
    ({"positive": [1], "negative": None}, "bad_request", "negative: must be a list", None),
    ({"positive": [1], "negative": [2] * 65}, "bad_request", "negative: at most 64", None),
    ({"positive": [1], "negative": [2, False]}, "bad_request", "negative: ", 1),
    ({"positive": [1], "negative": [2, "x"]}, "bad_id", "negative: ", 1),
    ({"positive": [1], "negative": [2, [1]]}, "dim_mismatch", "negative: ", 1),
    ({"negative": [1]}, "bad_request", "negative: needs positive", None),
    ({"exclude": 1}, "bad_request", "exclude: must be a list", None),
    ({"exclude": None}, "bad_request", "exclude: must be a list", None),
    ({"exclude": {"1": 1}}, "bad_request", "exclude: must be a list", None),
    ({"exclude": [1, "x"]}, "bad_id", "exclude: ", 1),
    ({"exclude": [1, 1.0]}, "bad_id", "exclude: ", 1),
    ({"exclude": [1, None]}, "bad_id", "exclude: ", 1),
    ({"exclude": [1, [1]]}, "bad_id", "exclude: ", 1),
    ({"exclude": [1, -1]}, "bad_id", "exclude: ", 1),
    ({"decay": 60}, "bad_request", "decay: must be an object", None),
    ({"decay": None}, "bad_request", "decay: must be an object", None),
    ({"decay": [60]}, "bad_request", "decay: must be an object", None),
    ({"decay": {}}, "bad_request", "decay.half_life: missing", None),
    ({"decay": {"half_life": "60"}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": None}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": True}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": 0}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": -1}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": 1e-300}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": 1e300}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": 0.999e-3}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {"half_life": 1.001e12}}, "bad_request", "decay.half_life: ", None),
    ({"decay": {**HALF_LIFE, "column": "nope"}}, "bad_request", "decay.column: nope", None),
    ({"decay": {**HALF_LIFE, "column": "kind"}}, "bad_request", "decay.column: ", None),
    ({"decay": {**HALF_LIFE, "column": "on"}}, "bad_request", "decay.column: ", None),
    ({"decay": {**HALF_LIFE, "column": None}}, "bad_request", "decay.column: ", None),
    ({"decay": {**HALF_LIFE, "unit": "s"}}, "bad_request", "decay.unit: ", None),
    ({"decay": HALF_LIFE, "rank": 1}, "bad_request", "decay: ", None),
    ({"rank": None}, "bad_rank", "rank: ", None),
    ({"rank": True}, "bad_rank", "rank: ", None),
    ({"rank": []}, "bad_rank", "rank: ", None),
    ({"rank": {}}, "bad_rank", "rank: ", None),
    ({"rank": "nope"}, "bad_rank", "rank: ", None),
    ({"rank": "kind"}, "bad_rank", "rank: ", None),
    ({"rank": "__import__('os')"}, "bad_rank", "rank: ", None),
    ({"rank": {"$exec": 1}}, "bad_rank", "rank.$exec: ", None),
    ({"rank": {"$add": [1]}}, "bad_rank", "rank.$add: ", None),
    ({"rank": {"$add": [1] * 17}}, "bad_rank", "rank.$add: ", None),
    ({"rank": {"$add": [1, {"$log": []}]}}, "bad_rank", "rank.$add[1].$log: ", None),
    ({"rank": {"$if": [{"nope": 1}, 1, 2]}}, "bad_rank", "rank.$if[0]", None),
    ({"rank": {"$gt": ["$score", 1]}}, "bad_rank", "rank.$gt: ", None),
    ({"rank": DEEP}, "bad_rank", "rank.$neg.$neg", None),
    ({"rank": {"$add": [DEEP["$neg"]] * 9}}, "bad_rank", "rank.$add", None),
    ({"group": "kind"}, "bad_request", "group: must be an object", None),
    ({"group": None}, "bad_request", "group: must be an object", None),
    ({"group": {}}, "bad_request", "group.by: missing", None),
    ({"group": {"by": "nope"}}, "bad_request", "group.by: nope", None),
    ({"group": {"by": 1}}, "bad_request", "group.by: ", None),
    ({"group": {"by": "kind", "size": 0}}, "bad_request", "group.size: ", None),
    ({"group": {"by": "kind", "size": 1.0}}, "bad_request", "group.size: ", None),
    ({"group": {"by": "kind", "size": True}}, "bad_request", "group.size: ", None),
    ({"group": {"by": "kind", "most": 1}}, "bad_request", "group.most: ", None),
    ({"spread": 0.5}, "bad_request", "spread: must be an object", None),
    ({"spread": {}}, "bad_request", "spread.max_similarity: missing", None),
    ({"spread": {"max_similarity": "1"}}, "bad_request", "spread.max_similarity: ", None),
    ({"spread": {"max_similarity": None}}, "bad_request", "spread.max_similarity: ", None),
    ({"mmr": 1}, "bad_request", "mmr: must be an object", None),
    ({"mmr": {}}, "bad_request", "mmr.lambda: missing", None),
    ({"mmr": {"lambda": -0.1}}, "bad_request", "mmr.lambda: ", None),
    ({"mmr": {"lambda": 1.1}}, "bad_request", "mmr.lambda: ", None),
    ({"mmr": {"lambda": "1"}}, "bad_request", "mmr.lambda: ", None),
    ({"mmr": {"lambda": 1, "candidates": 9}}, "bad_request", "mmr.candidates: ", None),
    ({"mmr": {"lambda": 1, "candidates": 1001}}, "bad_request", "mmr.candidates: ", None),
    ({"mmr": {"lambda": 1, "candidates": 10.0}}, "bad_request", "mmr.candidates: ", None),
    ({"mmr": {"lambda": 1}, "spread": {"max_similarity": 1}}, "bad_request", "spread: ", None),
    ({"at": 5}, "bad_request", "at: needs decay or rank", None),
    ({"at": 5, "group": {"by": "kind"}}, "bad_request", "at: needs decay or rank", None),
    ({"at": None, "rank": 1}, "bad_request", "at: must be a number", None),
    ({"at": "5", "rank": 1}, "bad_request", "at: must be a number", None),
    ({"at": True, "decay": HALF_LIFE}, "bad_request", "at: must be a number", None),
]  # fmt: skip


def asked(fields: dict[str, Any]) -> dict[str, Any]:
    return fields if "positive" in fields else {"vector": [1, 0], **fields}


@pytest.mark.parametrize(("fields", "code", "begins", "row"), WRONG, ids=lambda one: str(one)[:60])
async def test_a_wrong_field_is_refused_by_name_in_text_and_in_binary(
    opened: tuple[Raw, int], fields: dict[str, Any], code: str, begins: str, row: int | None
) -> None:
    raw, handle = opened
    before = await raw.ok("search", collection="items", vector=[1, 0])
    error = await raw.error("search", collection="items", **asked(fields))
    assert (error["code"], error.get("row")) == (code, row), error
    assert error["message"].startswith(begins), error
    frame = binary_search(handle, raw.next_id(), asked(fields))
    await raw.send_binary(frame)
    reply = await raw.reply(raw._last_id)
    assert reply["error"] == error
    after = await raw.ok("search", collection="items", vector=[1, 0])
    assert (after["version"], after["results"]) == (before["version"], before["results"])


def binary_search(handle: int, id_: int, fields: dict[str, Any]) -> bytes:
    """A SEARCH whose JSON section is what it is: nothing is looked at on this side."""
    fields = dict(fields)
    vector = fields.pop("vector", None)
    section = orjson.dumps(fields)
    vectors = b"" if vector is None else np.array(vector, "<f4").tobytes()
    n, dim = (0, 0) if vector is None else (1, len(vector))
    header = HEADER.pack(0xDB, 1, 3, 0, id_, handle, n, dim, 10, len(section), 0)
    return header + section + bytes(-len(section) % 8) + vectors + bytes(-len(vectors) % 8)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"negative": [1]},
        {"vector": [1, 0], "like": 1},
        {"vector": [1, 0], "positive": [1]},
        {"vectors": [[1, 0]], "positive": [1]},
        {"like": 1, "positive": [1]},
        {"vector": [1, 0], "vectors": [[1, 0]], "like": 1, "positive": [1]},
    ],
    ids=str,
)
async def test_exactly_one_thing_is_searched_by(
    opened: tuple[Raw, int], fields: dict[str, Any]
) -> None:
    raw, _ = opened
    error = await raw.error("search", collection="items", **fields)
    assert error["code"] == "bad_request"
    assert "vector, vectors, like, positive" in error["message"]


async def test_in_binary_there_are_no_vectors_if_and_only_if_there_are_examples(
    opened: tuple[Raw, int],
) -> None:
    raw, handle = opened
    for fields in ({"vector": [1, 0], "positive": [1]}, {"exclude": [1]}, {}):
        await raw.send_binary(binary_search(handle, raw.next_id(), fields))
        error = (await raw.reply(raw._last_id))["error"]
        assert error["code"] == "bad_frame"
        assert error["message"].startswith("n: ")
    found = await ask_binary(raw, handle, positive=[1])
    assert found.hits.ids.tolist() == [3, 2]
    # a client that says the collection's dimension all the same
    frame = bytearray(binary_search(handle, raw.next_id(), {"positive": [1]}))
    frame[16:20] = (2).to_bytes(4, "little")
    await raw.send_binary(bytes(frame))
    assert (await raw.reply(raw._last_id)).hits.ids.tolist() == [3, 2]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
async def test_a_target_that_is_no_query_is_refused(metric: str) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(metric=metric)
        await raw.add(1, 2)
        fields: dict[str, Any] = {"positive": [[1, 0], [-1, 0]]}
        if metric == "cosine":
            error = await raw.error("search", collection="items", **fields)
            assert error["code"] == "zero_norm"
            assert error["message"].startswith("positive: ")
            error = await raw.error("search", collection="items", positive=[[0, 0]])
            assert (error["code"], error["row"]) == ("zero_norm", 0)
        else:
            assert len((await raw.ok("search", collection="items", **fields))["results"]) == 2
            large = [4.6e18, 0]
            fields = {"positive": [large], "negative": [[-4.6e18, 0]]}
            assert await raw.code("search", collection="items", **fields) == "non_finite"


async def test_under_l2_no_similarity_is_above_zero() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(metric="l2")
        await raw.add(1, 2, 3)
        fields = {"vector": [1, 1], "spread": {"max_similarity": 0.5}}
        error = await raw.error("search", collection="items", **fields)
        assert (error["code"], error["message"][:22]) == ("bad_request", "spread.max_similarity:")
        fields["spread"] = {"max_similarity": -1}
        found = await raw.ok("search", collection="items", **fields)
        assert [row["id"] for row in found["results"]] == [1, 3]


async def test_a_number_beyond_a_double_is_refused_with_its_id(opened: tuple[Raw, int]) -> None:
    raw, _ = opened
    for fields in ('"rank":1,"at":1e999', '"decay":{"half_life":1e999}', '"rank":1e999'):
        await raw.send_text(
            f'{{"id":77,"op":"search","collection":"items","vector":[1,0],{fields}}}'
        )
        assert (await raw.reply(77))["error"]["code"] == "non_finite"


async def test_fields_of_the_order_are_unknown_to_other_ops(opened: tuple[Raw, int]) -> None:
    raw, _ = opened
    for op, fields in (("count", {}), ("get", {"ids": [1]}), ("describe", {})):
        for name in ("positive", "exclude", "decay", "rank", "group", "spread", "mmr", "at"):
            given = {"collection": "items", **fields, name: 1}
            assert await raw.code(op, **given) == "bad_request"


async def test_a_shaped_reply_over_the_limit_is_refused_before_the_work() -> None:
    async with running(max_message_bytes=4096) as server, client(server) as raw:
        handle = (await raw.create(capacity=300, columns=COLUMNS))["handle"]
        for first in (0, 100, 200):
            await raw.add(*range(first, first + 100))
        fields: dict[str, Any] = {"vector": [1, 0], "decay": HALF_LIFE}
        frame = binary.encode_search(7, handle, np.ones((1, 2), np.float32), 130,
                                     shaping={"decay": HALF_LIFE})  # fmt: skip
        await raw.send_binary(frame)
        assert (await raw.reply(7))["error"]["code"] == "too_large"
        assert await raw.code("search", collection="items", k=60, **fields) == "too_large"
        assert len((await raw.ok("search", collection="items", k=20, **fields))["results"]) == 20
        # without ranks and weights as many rows fit
        assert len((await ask_binary(raw, handle, vector=[1, 0], k=150)).hits.seqs) == 150
