"""``fail_fast``: calls without a connection, or refused for now, raise at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import pytest
from omendb_core.model.errors import OmenError, Overloaded

import omendb_ws
import omendb_ws.sync
from omendb_ws.client.backoff import PASSING, Backoff
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import messages
from tests.server.raw import running

from .fake import PATIENCE_SECONDS, FakeServer, client_of, eventually
from .live_server import LiveServer

#: No connection comes back while a test runs.
NEVER = Backoff(base_seconds=3600, cap_seconds=3600)

CALLS: dict[str, Callable[[Any], Any]] = {
    "ping": lambda db: db.ping(),
    "limits": lambda db: db.limits(),
    "list": lambda db: db.list(),
    "list_unavailable": lambda db: db.list_unavailable(),
    "stats": lambda db: db.stats(),
    "usage": lambda db: db.usage(),
    "cluster": lambda db: db.cluster(),
    "move_owner": lambda db: db.move_owner("a", "two"),
    "evacuate": lambda db: db.evacuate("two"),
    "heal": lambda db: db.heal("a"),
    "auth": lambda db: db.auth("token"),
    "open": lambda db: db.open("items"),
    "describe": lambda db: db.describe("items"),
    "create": lambda db: db.create("items", dim=2, capacity=5),
    "drop": lambda db: db.drop("items"),
    "add": lambda db: db.add("items", [[1, 2]], [1]),
    "add a named batch": lambda db: db.add("items", [[1, 2]], [1], producer="p", batch=1),
    "delete": lambda db: db.delete("items", [1]),
    "update": lambda db: db.update("items", [1], [{}]),
    "get": lambda db: db.get("items", [1]),
    "count": lambda db: db.count("items"),
    "search": lambda db: db.search("items", [1, 2]),
    "snapshot": lambda db: db.snapshot("items"),
    "snapshot next": lambda db: db.snapshot_next(1),
    "snapshot end": lambda db: db.snapshot_end(1),
    "restore": lambda db: db.restore("new"),
    "restore next": lambda db: db.restore_next(1, b"a"),
    "restore end": lambda db: db.restore_end(1),
    "like": lambda db: db.search("items", like=1),
}


async def within_patience(awaitable: Any) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await awaitable


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_without_a_connection_fails_at_once_and_says_why(name: str) -> None:
    server = FakeServer()
    async with client_of(server, fail_fast=True, backoff=NEVER) as db:
        server.connection.cut(1012, "draining")
        await eventually(lambda: not db._connection.is_connected)
        with pytest.raises(ConnectionLost, match=r"^not connected: .*1012: draining"):
            await within_patience(CALLS[name](db))
        assert "not connected: the connection is gone (code 1012: draining)" in repr(db)


@pytest.mark.parametrize("name", ["list", "count", "add", "add a named batch", "search"])
async def test_a_call_that_loses_its_connection_fails_at_once(name: str) -> None:
    server = FakeServer()
    async with client_of(server, fail_fast=True, backoff=NEVER) as db:
        await db.open("items")
        server.hold = True
        before = len(server.requests)
        call = asyncio.ensure_future(CALLS[name](db))
        await eventually(lambda: len(server.requests) > before)
        server.connection.cut()
        with pytest.raises(ConnectionLost) as caught:
            await within_patience(call)
        if name == "add":
            assert "whether the last rows went in is unknown" in caught.value.message
            assert caught.value.details["rows_added"] == 0


async def test_calls_are_answered_again_when_the_connection_is_back() -> None:
    server = FakeServer()
    async with client_of(server, fail_fast=True) as db:
        server.refusals = [ConnectionRefusedError("nobody there")] * 3
        server.connection.cut()
        await eventually(lambda: not db._connection.is_connected)
        await eventually(lambda: db._connection.is_connected)
        await db.ping()


async def test_a_subscription_waits_for_a_connection_all_the_same() -> None:
    server = FakeServer()
    started = {"sub": 1, "epoch": "e", "version": 0, "to_seq": 0}
    server.handlers[messages.Subscribe] = lambda _, request: started
    async with client_of(server, fail_fast=True) as db:
        feed = db.feed("items")
        server.refusals = [ConnectionRefusedError("nobody there")] * 3
        server.connection.cut()
        await eventually(lambda: not db._connection.is_connected)
        async with asyncio.timeout(PATIENCE_SECONDS), feed:
            assert feed.to_seq == 0


async def test_a_move_without_a_connection_fails_at_once() -> None:
    async with running() as server:
        db = await omendb_ws.connect(server.url, fail_fast=True, backoff=NEVER)
        await db.create("items", dim=2, capacity=5)
        live = db.live("items", [1, 2])
        await anext(live)
    await eventually(lambda: not db._connection.is_connected)
    with pytest.raises(ConnectionLost, match=r"^not connected: "):
        await within_patience(live.move([2, 1]))
    await db.close()


async def test_both_clients_take_it_and_servers_in_this_process_have_no_use_for_it() -> None:
    async with running() as server:
        db = await omendb_ws.connect(server.url, fail_fast=True, backoff=NEVER)
        other = await asyncio.to_thread(
            omendb_ws.sync.connect, server.url, fail_fast=True, backoff=NEVER
        )
    for client, call in ((db, db.ping), (other._aio, lambda: asyncio.to_thread(other.ping))):
        await eventually(lambda client=client: not client._connection.is_connected)
        with pytest.raises(ConnectionLost, match=r"^not connected: "):
            await within_patience(call())
    await db.close()
    await asyncio.to_thread(other.close)
    async with omendb_ws.connect("memory://", fail_fast=True) as near:
        await near.ping()


async def test_without_it_a_call_waits() -> None:
    server = FakeServer()
    async with client_of(server) as db:
        server.refusals = [ConnectionRefusedError("nobody there")] * 3
        server.connection.cut()
        await eventually(lambda: not db._connection.is_connected)
        await within_patience(db.ping())


@pytest.mark.parametrize("wrong", [1, "yes", None])
def test_it_is_true_or_false(wrong: Any) -> None:
    for connect in (omendb_ws.connect, omendb_ws.sync.connect):
        with pytest.raises(OmenError, match=r"^fail_fast: "):
            connect("memory://", fail_fast=wrong)


def refusing(error: OmenError, *, opens: bool) -> FakeServer:
    """Refuses everything for now, or all but to open a collection."""
    server = FakeServer()
    for kind in get_args(messages.Request):
        if kind is not messages.Open or not opens:
            server.handlers[kind] = lambda _, request: error
    return server


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("kind", PASSING)
async def test_a_call_that_is_refused_for_now_is_not_repeated(
    kind: type[OmenError], opens: bool
) -> None:
    for name, call in CALLS.items():
        server = refusing(kind("later", retry_after_ms=3_600_000), opens=opens)
        async with client_of(server, fail_fast=True) as db:
            if name == "limits" or (name == "open" and opens):
                continue
            with pytest.raises(kind):
                await within_patience(call(db))
        assert len(server.requests) - len(server.of(messages.Open)) <= 1, name
        assert len(server.of(messages.Open)) <= 1, name


async def test_a_move_that_is_refused_for_now_is_not_repeated() -> None:
    server = LiveServer()
    server.handlers[messages.Move] = lambda _, request: Overloaded("later")
    async with client_of(server, fail_fast=True) as db:
        live = db.live("items", [1, 2])
        await within_patience(anext(live))
        with pytest.raises(Overloaded):
            await within_patience(live.move([2, 1]))
    assert len(server.of(messages.Move)) == 1
