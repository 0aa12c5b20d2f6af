"""A standing query's memory is free when the engine has let go of it, and not before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from omendb_ws.net.server import Server
from tests.server.raw import PATIENCE_SECONDS, client, engine_held, running

V = [1.0, 0.0]
KINDS: list[dict[str, Any]] = [
    {"kind": "live", "vector": V, "k": 50},
    {"kind": "match", "vector": V, "min_score": 0.0},
]
ITEMS = {"collection": "items"}


def taken_bytes(server: Server) -> int:
    return server.context.catalog.budget.taken_bytes


async def taken(server: Server, wanted_bytes: int) -> None:
    """Return when so much is taken, and no more."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while taken_bytes(server) != wanted_bytes:  # noqa: ASYNC110 - the engine's thread does it
            await asyncio.sleep(0)


@pytest.mark.parametrize("fields", KINDS, ids=lambda fields: fields["kind"])
async def test_a_reader_that_left_is_paid_for_until_its_query_is_gone(
    fields: dict[str, Any],
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1, 2)
        before = taken_bytes(server)
        async with client(server) as other:
            for _ in range(20):
                await other.ok("subscribe", **ITEMS, **fields)
            full = taken_bytes(server)
            assert full > before
            hold = engine_held(server)
            await hold.__aenter__()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while server.metrics.subscriptions.total():  # noqa: ASYNC110 - the loop does it
                await asyncio.sleep(0)
        window = server.context.catalog.find("default", "items").shard.window
        assert len(window.standing) == 20, "the engine has them still"
        assert taken_bytes(server) == full
        await hold.__aexit__(None, None, None)
        await taken(server, before)
        assert len(window.standing) == 0


@pytest.mark.parametrize("fields", KINDS, ids=lambda fields: fields["kind"])
async def test_a_drop_and_an_unsubscribe_give_everything_back(fields: dict[str, Any]) -> None:
    async with running() as server, client(server) as raw:
        empty = taken_bytes(server)
        await raw.create()
        await raw.add(1, 2)
        before = taken_bytes(server)
        made = await raw.ok("subscribe", **ITEMS, **fields)
        await raw.ok("unsubscribe", sub=made["sub"])
        await taken(server, before)
        await raw.ok("subscribe", **ITEMS, **fields)
        await raw.ok("drop", **ITEMS)
        await raw.named("ended")
        await taken(server, empty)


@pytest.mark.parametrize("name", ["LiveQuery", "MatchQuery"])
async def test_what_faults_while_it_is_made_is_paid_for_no_more(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    fields = KINDS[name == "MatchQuery"]
    module = {"LiveQuery": "live", "MatchQuery": "matches"}[name]
    async with running() as server, client(server) as raw:
        await raw.create()
        before = taken_bytes(server)
        with monkeypatch.context() as patch:

            def boom(*_: Any, **__: Any) -> None:
                raise MemoryError("on purpose")

            patch.setattr(f"omendb_ws.engine.streams.{module}.{name}.__init__", boom)
            assert await raw.code("subscribe", **ITEMS, **fields) == "internal"
        await taken(server, before)
        await raw.ok("subscribe", **ITEMS, **fields)
        assert taken_bytes(server) > before
