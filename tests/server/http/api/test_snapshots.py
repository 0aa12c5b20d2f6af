"""Whole collections over HTTP: a snapshot is one answer, a restore one request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.patience import eventually
from tests.server.raw import settings, with_keys

from .served import client_of, fault_of, served, served_client

ROWS, DIM = 3000, 256  # three pieces
OCTETS = {"Content-Type": "application/octet-stream"}
ITEMS, COPY = "/v1/collections/items/snapshot", "/v1/collections/copy/snapshot"


async def fill(client: httpx.AsyncClient, **fields: Any) -> None:
    made = await client.post(
        "/v1/collections",
        json={"collection": "items", "dim": DIM, "capacity": ROWS, "ids": "auto", **fields},
    )
    assert made.status_code == 200, made.text
    vectors = np.random.default_rng(1).normal(size=(ROWS, DIM)).astype("<f4")
    added = await client.post(
        f"/v1/collections/items/rows?dim={DIM}", content=vectors.tobytes(), headers=OCTETS
    )
    assert added.status_code == 200, added.text


async def names(client: httpx.AsyncClient) -> list[str]:
    listed = (await client.get("/v1/collections")).json()["collections"]
    return sorted(one["collection"] for one in listed)


async def hits(client: httpx.AsyncClient, name: str) -> Any:
    asked = {"vector": [1.0] * DIM, "k": 50}
    found = (await client.post(f"/v1/collections/{name}/search", json=asked)).json()
    return found["results"], found["version"]


async def test_a_snapshot_is_one_answer_and_a_collection_is_made_of_it_by_one_request() -> None:
    async with served_client() as client:
        await fill(client)
        got = await client.get(ITEMS)
        assert got.status_code == 200
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["content-disposition"] == 'attachment; filename="items-1.snapshot"'
        assert len(got.content) > ROWS * DIM * 4
        made = await client.put(COPY, content=got.content, headers=OCTETS)
        assert made.status_code == 200, made.text
        assert (made.json()["collection"], made.json()["rows"]) == ("copy", ROWS)
        assert await hits(client, "copy") == await hits(client, "items")
        again = await client.put(COPY, content=got.content, headers=OCTETS)
        assert (again.status_code, fault_of(again)["code"]) == (409, "exists")
        head = await client.head(ITEMS)
        assert head.status_code == 200
        assert head.headers["etag"] == got.headers["etag"]


async def test_it_goes_from_server_to_server_as_it_comes() -> None:
    async with served_client() as one, served_client() as other:
        await fill(one)
        async with one.stream("GET", ITEMS) as coming:
            made = await other.put(COPY, content=coming.aiter_bytes(10_000), headers=OCTETS)
        assert made.status_code == 200, made.text
        assert await hits(other, "copy") == await hits(one, "items")


async def test_a_body_that_is_no_snapshot_leaves_nothing() -> None:
    async with served_client() as client:
        await fill(client)
        whole = (await client.get(ITEMS)).content
        altered = bytearray(whole)
        altered[len(whole) // 2] ^= 1
        for body in (b"", b"x" * 100, whole[:-1], whole[: len(whole) // 2], bytes(altered)):
            refused = await client.put(COPY, content=body, headers=OCTETS)
            assert refused.status_code == 400, body[:20]
            assert fault_of(refused)["code"] == "bad_request"
            assert await names(client) == ["items"]
        for headers in ({"Content-Type": "text/plain"}, {**OCTETS, "Content-Encoding": "gzip"}):
            refused = await client.put(COPY, content=whole, headers=headers)
            assert refused.status_code == 415
        durable = await client.put(f"{COPY}?durability=always", content=whole, headers=OCTETS)
        assert (durable.status_code, fault_of(durable)["code"]) == (501, "unsupported")
        wrong = await client.put(f"{COPY}?durability=never", content=whole, headers=OCTETS)
        assert wrong.status_code == 400
        none = await client.get("/v1/collections/none/snapshot")
        assert (none.status_code, fault_of(none)["code"]) == (404, "not_found")
        # The name was free all along.
        made = await client.put(COPY, content=whole, headers=OCTETS)
        assert made.status_code == 200, made.text


async def test_rights_are_those_of_the_ops(tmp_path: Path) -> None:
    async with served(with_keys(tmp_path)) as server:
        async with client_of(server, "token-root") as root:
            await fill(root)
            whole = (await root.get(ITEMS)).content
        for name in ("reader", "writer", "boss", "keeper"):
            async with client_of(server, f"token-{name}") as client:
                refused = [
                    await client.get(ITEMS),
                    await client.put(COPY, content=whole, headers=OCTETS),
                ]
                assert [one.status_code for one in refused] == [403, 403], name
        async with client_of(server, "token-other") as client:
            assert (await client.get(ITEMS)).status_code == 404
            assert (await client.put(ITEMS, content=whole, headers=OCTETS)).status_code == 200
        async with client_of(server) as client:
            assert (await client.get(ITEMS)).status_code == 401


async def test_whoever_goes_away_ends_what_was_begun() -> None:
    async with served() as server, client_of(server) as client:
        await fill(client)
        whole = (await client.get(ITEMS)).content
        catalog = server.node.context.catalog
        shard = catalog.find("default", "items").shard
        async with client_of(server) as leaving, leaving.stream("GET", ITEMS) as coming:
            pieces = coming.aiter_raw(1000)
            await anext(pieces)
            assert len(shard.snapshots) == 1
        await eventually(lambda: not shard.snapshots)

        async def half() -> AsyncIterator[bytes]:
            yield whole[: len(whole) // 2]
            await asyncio.Event().wait()

        async with client_of(server) as leaving:
            putting = asyncio.create_task(leaving.put(COPY, content=half(), headers=OCTETS))
            await eventually(lambda: catalog.held.of("default"))
            taken = await client.put(COPY, content=whole, headers=OCTETS)
            assert (taken.status_code, fault_of(taken)["code"]) == (503, "unavailable")
            putting.cancel()
        await eventually(lambda: not catalog.held.of("default"))
        assert (await client.put(COPY, content=whole, headers=OCTETS)).status_code == 200


async def test_rates_set_the_pace_and_refuse_nothing() -> None:
    async with served_client() as client:
        await fill(client)
        whole = (await client.get(ITEMS)).content
    slow = settings(max_messages_per_second=20, max_message_bytes=1 << 17)
    async with served(slow) as server, client_of(server) as client:
        refusals = server.node.context.metrics.requests
        made = await client.put(COPY, content=whole, headers=OCTETS)
        assert made.status_code == 200, made.text
        assert refusals["refused"] > 0
        got = httpx.Response(429)
        while got.status_code == 429:  # the first message of it may be refused, as any other
            got = await client.get(COPY)
        assert got.content[:8] == b"OMENSNAP"
        assert abs(len(got.content) - len(whole)) < 10_000
