"""What holds for all collections holds for those of several shards: grants, ttl, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.raw import client, running, settings
from tests.server.sharding.test_shards import both, drawn
from tests.server.tokens import token, with_secret

MINE = {"owner": "me"}
WRITER = {"rights": ["read", "write"], "filter": MINE, "stamp": MINE}


async def test_rows_of_all_shards_expire() -> None:
    async with both(3, ttl=60) as (raw, clock):
        rows = drawn(np.random.default_rng(1), list(range(30)))
        await raw.ok("add", collection="many", rows=rows)
        clock.move(61)
        count = 30
        while count:
            count = (await raw.ok("count", collection="many"))["count"]


async def test_a_collection_that_finds_no_room_for_every_shard_takes_none() -> None:
    async with Server(settings(max_memory_bytes=64 << 20)) as server, client(server) as raw:
        budget = server.context.catalog.budget
        taken = budget.taken_bytes
        code = await raw.code("create", collection="many", dim=128, capacity=400_000, shards=4)
        assert code == "quota"
        assert budget.taken_bytes == taken
        await raw.create("many", dim=128, capacity=40_000, shards=4)
        await raw.ok("drop", collection="many")
        await raw.create("many", dim=128, capacity=40_000, shards=3)
        await raw.ok("drop", collection="many")
        await eventually(lambda: budget.taken_bytes == taken)


async def test_a_token_reaches_its_rows_of_all_shards_and_no_others(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        async with client(server, token=token()) as root:
            fields: dict[str, Any] = {"dim": 2, "capacity": 99, "columns": {"owner": "str"}}
            await root.ok("create", collection="many", shards=4, **fields)
            rows = [
                {"id": n, "vector": [n, 1.0], "metadata": {"owner": "me" if n % 3 else "you"}}
                for n in range(1, 31)
            ]
            await root.ok("add", collection="many", rows=rows)
        mine = {n for n in range(1, 31) if n % 3}
        to: dict[str, Any] = {"collection": "many"}
        async with client(server, token=token(WRITER)) as raw:
            found = await raw.ok("search", vector=[1.0, 1.0], k=50, **to)
            assert {row["id"] for row in found["results"]} == mine
            got = (await raw.ok("get", ids=[3, 4], **to))["rows"]
            assert [row and row["id"] for row in got] == [None, 4]
            assert (await raw.ok("count", by="owner", **to))["by"] == [{"value": "me", "count": 20}]
            described = await raw.ok("describe", **to)
            assert (described["rows"], described["bytes"]) == (20, None)
            assert (await raw.ok("stats", **to))["rows"] == 20
            assert (await raw.ok("list"))["collections"][0]["rows"] == 20
            assert await raw.code("search", like=3, **to) == "not_found"
            assert (await raw.ok("delete", ids=[3, 6], **to))["deleted"] == 0
            error = await raw.error("add", rows=[rows[0], rows[2]], **to)
            assert (error["code"], error["row"]) == ("forbidden", 1)
            await raw.ok("add", rows=[{"id": 99, "vector": [1.0, 1.0]}], **to)
            assert await raw.code("drop", **to) == "forbidden"
            kind = {"kind": "novel", "below": 0.5, **to}
            assert await raw.code("subscribe", **kind) == "unsupported"
        async with client(server, token=token({"rights": ["write"]})) as raw:
            assert await raw.code("search", vector=[1.0, 1.0], **to) == "forbidden"
            assert await raw.code("subscribe", kind="feed", **to) == "forbidden"
