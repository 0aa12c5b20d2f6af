"""The prototype's five calls over HTTP, on the real engine (PROTOCOL section 10)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.server import tokens
from tests.server.http.api.served import client_of, fault_of, served, served_client
from tests.server.raw import client

A = {"id": "a", "vector": [1.0, 0.0, 0.0], "metadata": {"title": "first", "year": 2020}}
B = {"id": "b", "vector": [0.6, 0.8, 0.0], "metadata": {"title": "second"}}
C = {"id": "c", "vector": [0.0, 0.0, 1.0]}


async def test_the_calls_of_its_page_in_their_order() -> None:
    async with served_client() as web:
        health = await web.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        assert (await web.get("/stats")).json()["rows"] == 0
        assert (await web.post("/search", json={"vector": [1, 0, 0], "k": 3})).json()[
            "results"
        ] == []

        added = await web.post("/vectors/add", json=A)
        assert added.json() == {"version": 1, "first_seq": 1, "last_seq": 1}
        added = await web.post("/vectors/batch", json={"vectors": [B, C]})
        assert added.json() == {"version": 2, "first_seq": 2, "last_seq": 3}

        found = (await web.post("/search", json={"vector": [1, 0, 0], "k": 2})).json()
        assert found["results"] == [
            {"id": "a", "seq": 1, "score": 1.0}, {"id": "b", "seq": 2, "score": 0.6},
        ]  # fmt: skip
        asked = {"vector": [1, 0, 0], "k": 1, "include_metadata": True}
        found = (await web.post("/search", json=asked)).json()
        assert found["results"][0]["metadata"] == A["metadata"]

        stats = (await web.get("/stats")).json()
        assert (stats["collection"], stats["rows"], stats["dim"]) == ("default", 3, 3)


async def test_the_collection_is_one_like_any_other() -> None:
    async with served(http_default_capacity=2) as server, client_of(server) as web:
        await web.post("/vectors/batch", json={"vectors": [A, B, C]})
        refused = await web.post("/vectors/batch", json={"vectors": [A, B, C]})
        assert fault_of(refused)["code"] == "too_large"
        await web.post("/vectors/batch", json={"vectors": [A, B]})
        await web.post("/vectors/add", json=C)
        described = (await web.get("/v1/collections/default")).json()
        assert (described["capacity"], described["ids"], described["dim"]) == (2, "str", 3)
        assert (described["metric"], described["rows"]) == ("cosine", 2)
        async with client(server) as raw:
            found = await raw.ok("search", collection="default", vector=[0, 0, 1], k=1)
            assert found["results"][0]["id"] == "c"


async def test_a_row_with_an_id_that_is_there_replaces_it() -> None:
    async with served_client() as web:
        for _ in range(2):
            await web.post("/vectors/add", json=A)
        assert (await web.get("/stats")).json()["rows"] == 1


async def test_first_adds_at_once_make_one_collection() -> None:
    async with served() as server:
        webs = [client_of(server) for _ in range(6)]
        answers = await asyncio.gather(
            *(
                web.post("/vectors/add", json={"id": f"{n}", "vector": [1.0] * (2 + n % 2)})
                for n, web in enumerate(webs)
            )
        )
        for web in webs:
            await web.aclose()
        codes = [answer.status_code for answer in answers]
        assert codes.count(200) == 3
        refused = [fault_of(answer)["code"] for answer in answers if answer.status_code != 200]
        assert set(refused) == {"dim_mismatch"}


async def test_only_who_may_make_collections_may_add_first(tmp_path: Path) -> None:
    given = tokens.with_secret(tmp_path, http_port=0)
    writer = tokens.token({"rights": ["read", "write"]})
    async with served(given) as server, client_of(server, writer) as web:
        for path, body in (("/vectors/add", A), ("/vectors/batch", {"vectors": [A]})):
            refused = await web.post(path, json=body)
            assert (refused.status_code, fault_of(refused)["code"]) == (403, "forbidden")
        assert (await web.post("/search", json={"vector": [1]})).json()["results"] == []
        async with client_of(server, tokens.token()) as root:
            assert (await root.post("/vectors/add", json=A)).status_code == 200
        assert (await web.post("/vectors/add", json=B)).status_code == 200
        async with client_of(server, tokens.token({"rights": ["read"]})) as reader:
            assert (await reader.get("/stats")).json()["rows"] == 2
            assert (await reader.post("/vectors/add", json=C)).status_code == 403
        async with client_of(server, tokens.token({"rights": ["write"]})) as writes:
            for answer in (
                await writes.get("/stats"),
                await writes.post("/search", json={"vector": [1]}),
            ):
                assert answer.status_code == 403
        async with client_of(server, tokens.token(tenant="umbrella")) as other:
            assert (await other.get("/stats")).json()["rows"] == 0
        async with client_of(server) as nobody:
            assert (await nobody.post("/vectors/add", json=A)).status_code == 401


WRONG: list[tuple[str, Any, int, str, str]] = [
    ("/vectors/add", [], 400, "bad_request", "the body"),
    ("/vectors/add", {"id": "x"}, 400, "bad_request", "vector"),
    ("/vectors/add", {"vector": [1, 0, 0]}, 400, "bad_id", "id"),
    ("/vectors/add", {"id": 5, "vector": [1, 0, 0]}, 400, "bad_id", "id"),
    ("/vectors/add", {**A, "score": 1}, 400, "bad_request", "score"),
    ("/search", {"vector": [1, 0]}, 400, "dim_mismatch", ""),
    ("/vectors/add", {"id": "x", "vector": [0, 0, 0]}, 400, "zero_norm", "the vector"),
    ("/vectors/add", {"id": "x", "vector": ["a"]}, 400, "bad_vector", "vector"),
    ("/vectors/add", {**A, "metadata": 1}, 400, "bad_metadata", "metadata"),
    ("/vectors/batch", A, 400, "bad_request", "id"),
    ("/vectors/batch", {}, 400, "bad_request", "vectors"),
    ("/vectors/batch", {"vectors": {}}, 400, "bad_request", "vectors"),
    ("/vectors/batch", {"vectors": []}, 400, "bad_request", "vectors"),
    ("/vectors/batch", {"vectors": [A, A]}, 400, "duplicate_id", "id"),
    ("/vectors/batch", {"vectors": [A], "rows": [A]}, 400, "bad_request", "rows"),
    ("/search", {}, 400, "bad_request", "vector"),
    ("/search", {"vector": [1, 0, 0], "k": 0}, 400, "bad_k", "k"),
    ("/search", {"vector": [1, 0, 0], "top_k": 3}, 400, "bad_request", "top_k"),
    ("/search", {"vector": [1, 0]}, 400, "dim_mismatch", ""),
]  # fmt: skip


@pytest.mark.parametrize("is_there", [True, False])
async def test_what_is_wrong_is_named_and_changes_nothing(is_there: bool) -> None:
    async with served_client() as web:
        if is_there:
            await web.post("/vectors/add", json=B)
        for path, body, status, code, field in WRONG:
            answer = await web.post(path, json=body)
            if not is_there and code == "dim_mismatch":
                continue  # of the first one any dimension is right
            if not is_there and answer.status_code == 200:
                assert (path, code) == ("/search", "bad_k")
                assert answer.json()["results"] == []
                continue
            fault = fault_of(answer)
            assert (answer.status_code, fault["code"]) == (status, code), (path, body, fault)
            assert fault["message"].startswith(field), (path, body, fault)
        there = (await web.get("/v1/collections")).json()["collections"]
        assert [one["rows"] for one in there] == [1] * is_there


async def test_metadata_keeps_its_numbers_and_what_cannot_be_kept_is_refused() -> None:
    async with served_client() as web:
        text = '{"vectors":[{"id":"a","vector":[1,0],"metadata":{"n":%s}}]}'
        headers = {"Content-Type": "application/json"}
        for number, status in (("18446744073709551615", 200), ("18446744073709551616", 400)):
            answer = await web.post("/vectors/batch", content=text % number, headers=headers)
            assert answer.status_code == status
        asked = {"vector": [1, 0], "include_metadata": True}
        found = (await web.post("/search", json=asked)).json()
        assert found["results"][0]["metadata"] == {"n": 18446744073709551615}


async def test_a_batch_may_be_long() -> None:
    rows = [{"id": f"{n}", "vector": [1.0, n / 7]} for n in range(5_000)]
    async with served_client() as web:
        assert (await web.post("/vectors/batch", json={"vectors": rows})).json()[
            "last_seq"
        ] == 5_000
        assert (await web.get("/stats")).json()["rows"] == 5_000
