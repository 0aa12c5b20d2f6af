"""What HTTP answers is what the WebSocket answers, to the byte: the same session says it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from omendb_ws.wire.opcodes import OPS
from tests.server.raw import Raw
from tests.server.raw import client as raw_client

from .served import JSON, client_of, served

ITEMS = "/v1/collections/items"
COLUMNS = {"price": "f64", "shop": "str", "sold": "bool"}
#: What differs from one request to the next, whoever asks.
TIMES = ("took_us", "at")


def rows() -> list[dict[str, Any]]:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((40, 4)).round(3).tolist()
    return [
        {
            "id": n,
            "vector": vector,
            "metadata": {"price": n / 7, "shop": f"s{n % 3}", "sold": n % 2 == 0, "é": [n, None]},
        }
        for n, vector in enumerate(vectors)
    ]


class Both:
    """One server, asked in both ways."""

    def __init__(self, raw: Raw, client: httpx.AsyncClient) -> None:
        self.raw = raw
        self.client = client

    async def same(self, op: str, method: str, path: str, **fields: Any) -> None:
        """The same reply to both, refusals too; ``fields`` are those of the op."""
        reply = await self.raw.ask(op, **fields)
        body = {name: value for name, value in fields.items() if name != "collection"}
        content = json.dumps(body if path != "/v1/collections" else fields)
        answer = await self.client.request(
            method, path, **({} if method == "GET" else {"content": content, "headers": JSON})
        )
        if "error" in reply:
            assert answer.json() == {"error": reply["error"]}
            assert answer.status_code >= 400
            return
        assert answer.status_code == 200, answer.text
        assert without_times(answer.json()) == without_times(reply["ok"])


def without_times(answer: dict[str, Any]) -> str:
    """As text: 1 and 1.0 are not the same, nor are other orders of members."""
    return json.dumps({name: value for name, value in answer.items() if name not in TIMES})


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    async with served() as server, raw_client(server) as raw, client_of(server) as client:
        await raw.ok("create", collection="items", dim=4, capacity=100, columns=COLUMNS)
        await raw.ok("add", collection="items", rows=rows())
        yield Both(raw, client)


VECTOR = [0.5, -1, 0.25, 3e-5]
SEARCHES: list[dict[str, Any]] = [
    {"vector": VECTOR},
    {"vector": VECTOR, "k": 3, "include": ["metadata", "vector"]},
    {"vectors": [VECTOR, [1, 2, 3, 4]], "k": 2},
    {"like": 7, "last": 20},
    {"positive": [1, VECTOR], "negative": [2]},
    {"vector": VECTOR, "filter": {"shop": "s1", "price": {"$lt": 4}}, "min_score": -0.5},
    {"vector": VECTOR, "decay": {"half_life": 3600, "column": "price"}, "at": 1e9},
    {"vector": VECTOR, "rank": {"$mul": ["$score", "price"]}, "at": 1e9},
    {"vector": VECTOR, "group": {"by": "shop", "size": 2}},
    {"vector": VECTOR, "spread": {"max_similarity": 0.3}},
    {"vector": VECTOR, "mmr": {"lambda": 0.4}, "exclude": [3, 4]},
    # Refused, each by a code of its own.
    {},
    {"vector": [1, 2]},
    {"vector": VECTOR, "k": 0},
    {"vector": VECTOR, "filter": {"$what": 1}},
    {"vector": VECTOR, "rank": {"$what": 1}},
    {"vector": [0, 0, 0, 0]},
    {"vector": VECTOR, "like": 1},
    {"like": 4711},
    {"vector": VECTOR, "surprise": 1},
    {"vectors": [VECTOR] * 300},
]


@pytest.mark.parametrize("fields", SEARCHES, ids=lambda fields: "-".join(fields) or "nothing")
async def test_a_search_has_the_same_answer(both: Both, fields: dict[str, Any]) -> None:
    await both.same("search", "POST", f"{ITEMS}/search", collection="items", **fields)


async def test_reads_have_the_same_answer(both: Both) -> None:
    for include in ([], ["metadata"], ["vector", "metadata"], ["what"]):
        for ids in ([1, 2, 4711], [], ["x"], [-1], list(range(20_000))):
            fields = {"collection": "items", "ids": ids, "include": include}
            await both.same("get", "POST", f"{ITEMS}/rows/get", **fields)
    for fields in ({}, {"filter": {"sold": True}}, {"by": "shop"}, {"by": "x"}, {"limit": 3}):
        await both.same("count", "POST", f"{ITEMS}/count", collection="items", **fields)
    await both.same("describe", "GET", ITEMS, collection="items")
    await both.same("describe", "GET", "/v1/collections/none", collection="none")
    await both.same("list", "GET", "/v1/collections")


async def test_changes_have_the_same_answer(both: Both) -> None:
    """Each is refused, or changes nothing: it is asked twice."""
    add = "POST", f"{ITEMS}/rows"
    for wrong in (
        [],
        [{"vector": VECTOR}],
        [{"id": 1, "vector": [1, 2]}],
        [{"id": 1, "vector": VECTOR}, {"id": 2, "vector": ["a"]}],
        [{"id": "one", "vector": VECTOR}],
        [{"id": 1, "vector": VECTOR, "metadata": {"price": "much"}}],
        [{"id": 1, "vector": VECTOR, "more": 1}],
    ):
        await both.same("add", *add, collection="items", rows=wrong)
    await both.same("delete", "POST", f"{ITEMS}/rows/delete", collection="items", ids=[4711])
    await both.raw.ok("add", collection="items", rows=rows(), producer="p", batch=1)
    await both.same("add", *add, collection="items", rows=rows(), producer="p", batch=1)
    await both.same("add", *add, collection="items", rows=rows(), producer="p", batch=7)
    for fields in (
        {"collection": "items", "dim": 5, "capacity": 100},
        {"collection": "-", "dim": 4, "capacity": 100},
        {"collection": "other", "dim": 4},
        {"collection": "other", "dim": 0, "capacity": 1},
        {"collection": "other", "dim": 4, "capacity": 1, "metric": "hamming"},
        {"collection": "other", "dim": 4, "capacity": 1, "durability": "always"},
    ):
        await both.same("create", "POST", "/v1/collections", **fields)


#: Values of no field's type, or far outside its bounds.
WRONG = [None, True, -1, 2**63, 1.5, "", "x" * 300, [], [None], {}, {"a": 1}, [[]]]


@pytest.mark.parametrize("op", ["search", "count", "get", "delete", "add", "create"])
async def test_every_field_wrong_in_turn_is_refused_by_the_same_words(both: Both, op: str) -> None:
    base: dict[str, Any] = {
        "search": {"vector": VECTOR},
        "count": {},
        "get": {"ids": [1]},
        "delete": {"ids": [4711]},
        "add": {"rows": [{"id": 1, "vector": [0, 0, 0, 0]}]},
        "create": {"collection": "items", "dim": 4, "capacity": 100, "columns": {"no": "f64"}},
    }[op]
    path = {
        "search": f"{ITEMS}/search",
        "count": f"{ITEMS}/count",
        "get": f"{ITEMS}/rows/get",
        "delete": f"{ITEMS}/rows/delete",
        "add": f"{ITEMS}/rows",
        "create": "/v1/collections",
    }[op]
    if op != "create":
        base["collection"] = "items"
    for field in OPS[op].fields:
        if field.name == "collection" and op != "create":
            continue
        for value in WRONG:
            await both.same(op, "POST", path, **{**base, field.name: value})
