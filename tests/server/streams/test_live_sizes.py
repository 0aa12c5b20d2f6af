"""The largest push of a live query is never longer than what its subscribe was refused by."""

from __future__ import annotations

from sys import getsizeof
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.types import Definition

from omendb_ws.wire import reply_bounds as sizes
from omendb_ws.wire.messages import Include
from tests.patience import eventually
from tests.server.live_view import live
from tests.server.raw import client, running

K = 700
DIM = 1
METADATA_BYTES = 64
#: -1.17549449e-38 and its like are the longest a float32 gets.
LONG = [float(x) for x in np.float32([-1.1754945e-38, -1.2345678e-30, -3.4028235e15, -0.12345678])]


def worst_row(kind: str, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"vector": LONG[:DIM], "metadata": {"n": ""}}
    spare = METADATA_BYTES - len(orjson.dumps(row["metadata"]))
    row["metadata"]["n"] = "\u00e4" * (spare // 2) + "x" * (spare % 2)
    assert len(orjson.dumps(row["metadata"])) == METADATA_BYTES
    if kind == "u64":
        row["id"] = str(2**64 - 1 - number)
    elif kind == "str":
        row["id"] = chr(1 + number % 7) * 254 + chr(1 + number // 64) + chr(1 + number % 30)
    return row


@pytest.mark.parametrize("ids", ["u64", "str", "auto"])
@pytest.mark.parametrize("encoding", ["json", "binary"])
@pytest.mark.parametrize("include", [[], ["metadata"], ["vector"], ["metadata", "vector"]])
async def test_no_push_is_longer_than_the_bound(
    ids: str, encoding: str, include: list[str]
) -> None:
    wanted = Include(metadata="metadata" in include, vector="vector" in include)
    bound = sizes.most_push_bytes(
        Definition(DIM, K, "dot", ids), wanted, encoding == "binary", K, METADATA_BYTES
    )
    async with running(max_metadata_bytes=METADATA_BYTES) as server, client(server) as raw:
        await raw.create(capacity=K, dim=DIM, ids=ids)
        query = [1.0] + [0.0] * (DIM - 1)
        view = await live(raw, query, k=K, encoding=encoding, include=include, id_kind=ids)
        longest = 0
        receive = raw.socket.recv

        async def measured() -> Any:
            nonlocal longest
            data = await receive()
            longest = max(longest, len(data))
            return data

        for turn in range(2):
            given = [worst_row(ids, K * turn + number) for number in range(K)]
            await raw.ok("add", collection="items", rows=given)
            raw.socket.recv = measured  # type: ignore[method-assign]
            await view.step()
            raw.socket.recv = receive  # type: ignore[method-assign]
            assert len(view.entered) == K
        assert len(view.leaves) == K
        assert bound / 4 < longest <= bound


@pytest.mark.parametrize("k", [1, 10])
async def test_long_ids_that_readers_were_told_are_charged(k: int) -> None:
    """By what they take: 64 bytes of an id, and what it is longer, until another row is told."""
    async with running() as server, client(server) as raw:
        await raw.create(ids="str", capacity=100)
        budget = server.context.catalog.budget
        rows = [{"id": f"{number:0250d}", "vector": [number, 1]} for number in range(10)]
        await raw.ok("add", collection="items", rows=rows)
        ok = await raw.ok("subscribe", kind="live", collection="items", vector=[1, 0], k=k)
        (session,) = server._sessions.values()
        query: Any = session.subscriptions[ok["sub"]].stream  # type: ignore[attr-defined]
        long_bytes = sum(max(0, getsizeof(one) - 96) for one in query.told.values())
        assert query.texts.taken_bytes == long_bytes >= k * (250 - 96)
        rows = [{"id": f"short-{number}", "vector": [number, 1]} for number in range(20, 20 + k)]
        await raw.ok("add", collection="items", rows=rows)
        await raw.event(lambda one: len(one["enter"]) == k)
        assert query.texts.taken_bytes == 0, "ids that left are charged still"
        rows = [{"id": f"{number:0250d}", "vector": [number, 1]} for number in range(40, 40 + k)]
        await raw.ok("add", collection="items", rows=rows)
        await raw.event(lambda one: len(one["enter"]) == k)
        assert query.texts.taken_bytes == k * (getsizeof("0" * 250) - 96)
        del query
        before = budget.taken_bytes
        await raw.ok("unsubscribe", sub=ok["sub"])
        await eventually(lambda: budget.taken_bytes <= before - k * (250 - 96))
