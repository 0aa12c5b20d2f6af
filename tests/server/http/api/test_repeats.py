"""``Idempotency-Key`` over HTTP: an add that is repeated is done once, and answered alike."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from omendb_ws.http.api.idempotency import KEY_BYTES
from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server import tokens
from tests.server.http.api.served import client_of, fault_of, served
from tests.server.raw import Clock, engine_held, queued, settings

ROWS = "/v1/collections/items/rows"
KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}
ROW = {"vector": [1.0, 2.0]}


async def made(web: httpx.AsyncClient, **fields: Any) -> None:
    body = {"collection": "items", "dim": 2, "capacity": 100, "ids": "auto", **fields}
    assert (await web.post("/v1/collections", json=body)).status_code == 200


async def rows_in(web: httpx.AsyncClient) -> int:
    found: int = (await web.get("/v1/collections/items")).json()["rows"]
    return found


async def test_a_repeated_add_is_done_once_and_answered_alike() -> None:
    async with served() as server, client_of(server) as web:
        await made(web)
        first = await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        again = await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        assert (first.status_code, again.status_code) == (200, 200)
        assert first.content == again.content
        assert await rows_in(web) == 1
        text = server.metrics_page().body
        assert b"omendb_repeated_adds_total 1.0" in text
        assert b"omendb_idempotency_keys 1.0" in text
        other = await web.post(ROWS, json={"rows": [ROW]}, headers={"Idempotency-Key": "another"})
        assert other.json()["version"] == 2


async def test_a_key_whose_time_is_over_is_charged_no_more_although_nobody_adds() -> None:
    clock = Clock()
    async with (
        Server(settings(http_port=0, idempotency_seconds=60), clock_us=clock) as server,
        client_of(server) as web,
    ):
        await made(web)
        memory = server.context.accounts.of("default").memory
        before = memory.taken_bytes
        await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        assert memory.taken_bytes - before > KEY_BYTES
        clock.move(61)
        await eventually(lambda: server.metrics.http.idempotency_keys == 0)
        assert memory.taken_bytes - before < KEY_BYTES


async def test_the_same_key_with_another_request_is_refused() -> None:
    array = np.ones((1, 2), np.float32)
    raw = {**KEY, "Content-Type": "application/octet-stream"}
    async with served() as server, client_of(server) as web:
        await made(web)
        await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        for other in (
            await web.post(ROWS, json={"rows": [ROW, ROW]}, headers=KEY),
            await web.post(ROWS, content=array.tobytes(), params={"dim": 2}, headers=raw),
            await web.post(
                ROWS, json={"rows": [ROW]}, params={"producer": "p", "batch": 1}, headers=KEY
            ),
        ):
            assert other.status_code == 409
            assert fault_of(other)["code"] == "exists"
            assert fault_of(other)["message"].startswith("Idempotency-Key:")
        assert await rows_in(web) == 1


@pytest.mark.parametrize("kind", ["application/octet-stream", "application/x-npy"])
async def test_arrays_are_added_once_too(kind: str) -> None:
    array = np.ones((5, 2), np.float32)
    file = io.BytesIO()
    np.save(file, array)
    body = array.tobytes() if kind.endswith("stream") else file.getvalue()
    params = {"dim": 2} if kind.endswith("stream") else {}
    async with served() as server, client_of(server) as web:
        await made(web)
        answers = [
            await web.post(ROWS, content=body, params=params, headers={**KEY, "Content-Type": kind})
            for _ in range(3)
        ]
        assert {answer.content for answer in answers} == {answers[0].content}
        assert await rows_in(web) == 5


async def test_what_was_refused_is_tried_again_and_may_differ() -> None:
    async with served() as server, client_of(server) as web:
        early = await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        assert early.status_code == 404
        await made(web)
        wrong = await web.post(ROWS, json={"rows": [{"vector": [1]}]}, headers=KEY)
        assert fault_of(wrong)["code"] == "dim_mismatch"
        right = await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        assert right.status_code == 200


async def test_who_repeats_it_meanwhile_is_answered_alike() -> None:
    async with served() as server, client_of(server) as web:
        await made(web)
        async with engine_held(server):
            asking = [
                asyncio.create_task(web.post(ROWS, json={"rows": [ROW]}, headers=KEY))
                for _ in range(4)
            ]
            await queued(server, 1)
        answers = [await one for one in asking]
        assert {answer.content for answer in answers} == {answers[0].content}
        assert await rows_in(web) == 1


async def test_who_repeats_it_hears_what_came_of_it_although_the_first_client_left() -> None:
    async with served() as server, client_of(server) as web:
        await made(web)
        async with engine_held(server):
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(web.post(ROWS, json={"rows": [ROW]}, headers=KEY))
                await queued(server, 1)
                asking.cancel()
            await eventually(lambda: not server._http.sessions())
            assert server.metrics.connections == 1, "it lasts as long as its add"
        again = await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        assert again.json()["version"] == 1
        assert await rows_in(web) == 1
        await web.aclose()
        await eventually(lambda: server.metrics.connections == 0)


async def test_a_server_that_leaves_finishes_what_nobody_waits_for_any_more() -> None:
    async with served() as server, client_of(server) as web:
        await made(web)
        async with engine_held(server):
            asking = asyncio.create_task(web.post(ROWS, json={"rows": [ROW]}, headers=KEY))
            await queued(server, 1)
            asking.cancel()
            await asyncio.wait([asking])
            leaving = asyncio.create_task(server.drain())
            await asyncio.sleep(0)
        await leaving
        assert server.metrics.connections == 0


async def test_a_server_that_leaves_does_not_wait_longer_than_it_may() -> None:
    async with served(drain_seconds=0.2) as server, client_of(server) as web:
        await made(web)
        async with engine_held(server):
            staying = asyncio.create_task(web.post(ROWS, json={"rows": [ROW]}, headers=KEY))
            await queued(server, 1)
            going = asyncio.create_task(
                web.post(ROWS, json={"rows": [ROW]}, headers={"Idempotency-Key": "another"})
            )
            await queued(server, 2)
            going.cancel()
            leaving = asyncio.create_task(server.drain())
            await eventually(lambda: server.metrics.connections == 0)
            with pytest.raises(httpx.RemoteProtocolError):
                await staying
        await leaving


async def test_a_key_goes_with_its_collection_its_principal_and_its_time(tmp_path: Path) -> None:
    clock = Clock()
    given = tokens.with_secret(tmp_path, http_port=0, idempotency_seconds=5)
    async with Server(given, clock_us=clock) as server:
        ann, ben = tokens.token(sub="ann"), tokens.token(sub="ben")
        async with client_of(server, ann) as web, client_of(server, ben) as other:
            await made(web)
            body = {"rows": [ROW]}
            versions = [
                (await one.post(ROWS, json=body, headers=KEY)).json()["version"]
                for one in (web, web, other, other, web)
            ]
            assert versions == [1, 1, 2, 2, 1]
            clock.move(5)
            assert (await web.post(ROWS, json=body, headers=KEY)).json()["version"] == 3
            await web.delete("/v1/collections/items")
            await made(web)
            assert (await web.post(ROWS, json=body, headers=KEY)).json()["version"] == 1


async def test_an_answer_is_for_who_may_still_write(tmp_path: Path) -> None:
    given = tokens.with_secret(tmp_path, http_port=0)
    async with Server(given) as server:
        async with client_of(server, tokens.token()) as web:
            await made(web)
            await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        narrower = tokens.token({"rights": ["read"]})
        async with client_of(server, narrower) as web:
            again = await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
            assert (again.status_code, fault_of(again)["code"]) == (403, "forbidden")


async def test_an_add_whose_token_ends_under_way_is_not_done_again(tmp_path: Path) -> None:
    given = tokens.with_secret(tmp_path, http_port=0, jwt_leeway_seconds=0.0)
    async with Server(given) as server, client_of(server, tokens.token()) as web:
        await made(web)
        short = tokens.token(exp=time.time() + 500)
        async with client_of(server, short) as going:
            async with engine_held(server):
                asking = asyncio.create_task(going.post(ROWS, json={"rows": [ROW]}, headers=KEY))
                await queued(server, 1)
                tokens.end_tokens(server, 550)
            answer = await asking
            assert (answer.status_code, fault_of(answer)["code"]) == (500, "internal")
        again = await web.post(ROWS, json={"rows": [ROW]}, headers=KEY)
        assert again.content == answer.content
        assert await rows_in(web) == 1


async def test_keys_are_charged_to_their_tenant_and_bounded() -> None:
    async with served(idempotency_keys=3) as server, client_of(server) as web:
        await made(web)
        memory = server.context.accounts.of("default").memory
        taken = []
        for number in range(6):
            await web.post(ROWS, json={"rows": [ROW]}, headers={"Idempotency-Key": f"k{number}"})
            taken.append(memory.taken_bytes)
        assert taken[1] - taken[0] > 1000
        assert taken[5] - taken[4] < 1000
        await web.post(ROWS, json={"rows": [ROW]}, headers={"Idempotency-Key": "k5"})
        assert await rows_in(web) == 6
        await web.post(ROWS, json={"rows": [ROW]}, headers={"Idempotency-Key": "k0"})
        assert await rows_in(web) == 7


@pytest.mark.parametrize("keys", [[""], ["x" * 256], ["a", "b"], ["ä"]])
async def test_what_is_no_key_is_refused(keys: list[str]) -> None:
    async with served() as server, client_of(server) as web:
        await made(web)
        headers = [("Idempotency-Key", key.encode()) for key in keys]
        answer = await web.post(ROWS, json={"rows": [ROW]}, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 400
        assert fault_of(answer)["message"].startswith("Idempotency-Key:")
        assert await rows_in(web) == 0
