"""Whichever client asks, and wherever the server is: the same answers, to the bit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from tests.client.common.places import KINDS, PATIENCE_SECONDS, opened, vectors

#: What differs from server to server.
OWN = {"epoch", "took_us"}


def plain(given: Any) -> Any:
    """Values that can be compared; of arrays dtype, shape and bits."""
    if isinstance(given, np.ndarray):
        return given.dtype.str, given.shape, given.tobytes()
    if is_dataclass(given) and not isinstance(given, type):
        return {name: plain(value) for name, value in asdict(given).items() if name not in OWN}
    if isinstance(given, dict):
        return {name: plain(value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(one) for one in given]
    return given


async def session(db: Any) -> list[Any]:
    """All kinds of calls, one after the other; everything that came back."""
    columns = {"n": "i64", "f": "f64", "s": "str", "b": "bool"}
    made = await db.create("items", dim=16, capacity=300, columns=columns)
    rows, queries = vectors(400, 16), vectors(7, 16, seed=2)
    said: list[Any] = [made, await db.create("names", dim=2, capacity=9, ids="str", metric="l2")]
    live = db.live("items", queries[0], 4, include=["metadata", "vector"])
    async with live, db.feed("items", include=["metadata"]) as feed:
        said += [
            await anext(live),
            await db.add("items", rows[:200], range(200), [{"n": at} for at in range(200)]),
            await anext(feed),
            await anext(live),
            await db.add("items", rows[200:], range(200, 400), columns={"f": rows[200:, 0]}),
            await anext(feed),
            await anext(live),
        ]
    said += [
        await db.add("names", [[0, 1], [2.5, 3], [4, 4]], ["a", "b", "ü"]),
        await db.update("items", [399, 250], [{"s": "x", "b": True}, {"s": "y", "more": [1]}]),
        await db.delete("items", np.arange(100, 120)),
        await db.delete("names", ["a", "nobody"]),
        await db.get("items", [399, 0, 250], include=["metadata", "vector"]),
        await db.get("names", ["b", "a", "ü"]),
        await db.count("items"),
        await db.count("items", {"s": {"$in": ["x", "y"]}}),
        await db.count("items", by="s"),
        await db.count("items", {"n": {"$lt": 150}}, by="n", limit=7),
        await db.search("items", queries[0]),
        await db.search("items", queries.astype(np.float64), 20, include=["metadata", "vector"]),
        await db.search("items", queries[1].tolist(), 5, filter={"f": {"$gt": 0.5}}),
        await db.search("items", queries[::2], min_score=0.1, last=50),
        await db.search("items", like=333, k=3, include=["vector"]),
        await db.search("names", [1, 1], include=["metadata"]),
        await db.list(),
        await db.describe("names"),
    ]
    await db.drop("names")
    return [*said, await db.list()]


async def test_every_client_gets_the_same_answers_to_the_bit() -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE_SECONDS):
        found = []
        for kind in KINDS:
            place = await stack.enter_async_context(opened(kind))
            db = await stack.enter_async_context(place.connect())
            found.append(plain(await session(db)))
    for kind, said in zip(KINDS, found, strict=True):
        for place_in_order, (one, other) in enumerate(zip(said, found[0], strict=True)):
            assert one == other, (kind, place_in_order)


async def test_clients_of_both_kinds_share_a_server_in_this_process() -> None:
    async with (
        opened("asyncio-memory") as place,
        place.connect() as ours,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        place.kind = "sync-memory"
        async with place.connect() as theirs:
            await ours.create("items", dim=2, capacity=10, metric="dot")
            async with theirs.feed("items") as feed:
                await ours.add("items", [[1, 2]], ids=[7])
                assert (await anext(feed)).ids.tolist() == [7]
            assert (await theirs.search("items", [1, 0])).ids.tolist() == [7]
            assert (await ours.stats())["connections"] == 2
