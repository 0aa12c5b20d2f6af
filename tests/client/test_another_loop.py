"""An asyncio client where it cannot work: on another event loop, in another process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import omendb_ws
from omendb_ws.errors import ConnectionLost
from tests.client.common.places import PATIENCE_SECONDS, opened

CALLS: dict[str, Callable[[Any], Any]] = {
    "ping": lambda db: db.ping(),
    "auth": lambda db: db.auth("token"),
    "stats": lambda db: db.stats(),
    "usage": lambda db: db.usage(),
    "cluster": lambda db: db.cluster(),
    "move_owner": lambda db: db.move_owner("a", "two"),
    "evacuate": lambda db: db.evacuate("two"),
    "heal": lambda db: db.heal("a"),
    "identity": lambda db: db.identity(),
    "limits": lambda db: db.limits(),
    "create": lambda db: db.create("b", dim=2, capacity=1),
    "open": lambda db: db.open("a"),
    "describe": lambda db: db.describe("a"),
    "list": lambda db: db.list(),
    "list_unavailable": lambda db: db.list_unavailable(),
    "drop": lambda db: db.drop("a"),
    "add": lambda db: db.add("a", [[1, 0]], ids=[1]),
    "add, named": lambda db: db.add("a", [[1, 0]], ids=[1], producer="p", batch=1),
    "delete": lambda db: db.delete("a", [1]),
    "update": lambda db: db.update("a", [1], [{}]),
    "get": lambda db: db.get("a", [1]),
    "count": lambda db: db.count("a"),
    "search": lambda db: db.search("a", [1, 0]),
    "search, like": lambda db: db.search("a", like=1),
    "snapshot": lambda db: db.snapshot("a"),
    "snapshot, next": lambda db: db.snapshot_next(1),
    "snapshot, end": lambda db: db.snapshot_end(1),
    "restore": lambda db: db.restore("b"),
    "restore, next": lambda db: db.restore_next(1, b"a"),
    "restore, end": lambda db: db.restore_end(1),
    "live": lambda db: anext(db.live("a", [1, 0])),
    "match": lambda db: anext(db.match("a", [1, 0], 0.5)),
    "novel": lambda db: anext(db.novel("a", 0.5)),
    "feed": lambda db: anext(db.feed("a")),
    "count pushes": lambda db: anext(db.watch_count("a")),
    "map": lambda db: anext(db.watch_map("a")),
    "stats pushes": lambda db: anext(db.watch_stats()),
    "entering": lambda db: db.feed("a").__aenter__(),
    "close": lambda db: db.close(),
}


@pytest.fixture(params=["asyncio-socket", "asyncio-memory", "asyncio-own-memory"])
async def db(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with opened(request.param) as place, place.connect() as client:
        await client.create("a", dim=2, capacity=10)
        yield client


def test_every_method_is_called() -> None:
    named = {name for name in vars(omendb_ws.Client) if not name.startswith("_")}
    assert named <= {name.partition(",")[0] for name in CALLS}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_on_another_loop_says_so_at_once(db: Any, name: str) -> None:
    async def elsewhere() -> None:
        with pytest.raises(ConnectionLost, match="another event loop"):
            await CALLS[name](db)

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.to_thread(asyncio.run, elsewhere())
        await db.ping()


async def test_subscriptions_say_so_too_and_live_on_where_they_began(db: Any) -> None:
    async with db.live("a", [1, 0]) as live, asyncio.timeout(PATIENCE_SECONDS):
        await anext(live)

        async def elsewhere() -> None:
            for call in (lambda: anext(live), lambda: live.move([0, 1]), live.close):
                with pytest.raises(ConnectionLost, match="another event loop"):
                    await call()

        await asyncio.to_thread(asyncio.run, elsewhere())
        await db.add("a", [[1, 0]], ids=[7])
        assert (await anext(live)).ids.tolist() == [7]


async def test_another_process_says_so(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """(A fork inside a running loop: what is seen of it is the process's number.)"""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        for name in CALLS:
            with pytest.raises(ConnectionLost, match="another process"):
                await CALLS[name](db)
    await db.ping()
