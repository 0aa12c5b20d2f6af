"""What a caller gives up, or closes, leaves nothing behind: no slot, no subscription, no wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from omendb_ws.client.adding import Pipeline
from omendb_ws.client.backoff import Backoff
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import messages

from .fake import PATIENCE_SECONDS, FakeServer, FakeTransport, client_of, eventually

NEVER = Backoff(base_seconds=3600, cap_seconds=3600)
STARTED = {"sub": 1, "epoch": "e", "version": 0, "to_seq": 0}


class FullServer(FakeServer):
    """Takes a message, and has no room behind it until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Event()
        self.room.set()

    async def open(self, token: str | None) -> FakeTransport:
        transport = await super().open(token)
        genuine = transport.send

        async def send(message: bytes | bytearray) -> None:
            await genuine(message)
            await self.room.wait()

        transport.send = send  # type: ignore[method-assign]
        return transport


async def ended(task: asyncio.Task[Any]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.wait([task])


async def test_a_subscribe_given_up_while_it_waits_for_room_is_taken_back() -> None:
    server = FullServer()
    subs = iter(range(1, 10))
    server.handlers[messages.Subscribe] = lambda _, request: {**STARTED, "sub": next(subs)}
    async with client_of(server) as db:
        feed = db.feed("items")
        server.room.clear()
        server.hold = True
        step = asyncio.ensure_future(anext(feed))
        await server.arrived(messages.Subscribe)
        step.cancel()
        await ended(step)
        server.room.set()
        server.answer_all()
        [left] = [await server.arrived(messages.Unsubscribe)]
        assert left.sub == 1
        async with feed:  # one that reads on has one subscription, so each row once
            assert feed._sub == 2
        assert len(server.of(messages.Subscribe)) == 2


@pytest.mark.parametrize("kind", ["ping", "count", "get", "search", "add", "open"])
async def test_a_call_given_up_leaves_no_slot(kind: str) -> None:
    server = FullServer()
    calls = {
        "ping": lambda db: db.ping(),
        "count": lambda db: db.count("items"),
        "get": lambda db: db.get("items", [1]),
        "search": lambda db: db.search("items", [1, 2]),
        "add": lambda db: db.add("items", [[1, 2]], [1], producer="p", batch=1),
        "open": lambda db: db.open("items"),
    }
    server.handlers |= {
        one: lambda _, request: {} for one in (messages.Count, messages.Get, messages.Search)
    }
    server.handlers[messages.Add] = lambda _, request: {
        "version": 1, "first_seq": 1, "last_seq": 1,
    }  # fmt: skip
    async with client_of(server) as db:
        await db.open("items")
        link = db._connection._link
        for has_room in (True, False):
            server.hold = True
            (server.room.set if has_room else server.room.clear)()
            before = len(server.requests)
            call = asyncio.ensure_future(calls[kind](db))
            await eventually(lambda before=before: len(server.requests) > before)
            call.cancel()
            await ended(call)
            assert call.cancelled()
            server.room.set()
            server.hold = False
            server.answer(server.connection, server.requests[-1])
            await eventually(lambda: not link._waiting)
        await db.ping()


@pytest.mark.parametrize(
    "kind", ["live", "feed", "match", "watch_count", "watch_stats", "watch_map"]
)
@pytest.mark.parametrize("enters", [True, False])
async def test_closing_ends_a_reader_that_waits_for_a_connection(kind: str, enters: bool) -> None:
    given = {
        "live": ("items", [1, 2]), "match": ("items", [1, 2], 0.5), "watch_stats": (),
    }.get(kind, ("items",))  # fmt: skip
    server = FakeServer()
    async with client_of(server, backoff=NEVER) as db:
        subscription = getattr(db, kind)(*given)
        server.connection.cut()
        await eventually(lambda: not db._connection.is_connected)
        waits = subscription.__aenter__() if enters else anext(subscription, "the end")
        reader = asyncio.ensure_future(waits)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await subscription.close()
        await ended(reader)
        assert reader.result() == ("the end" if not enters else subscription)
        assert await anext(subscription, "the end") == "the end"


@pytest.mark.parametrize("kind", ["live", "feed"])
async def test_closing_ends_a_reader_whose_subscribe_is_not_answered(kind: str) -> None:
    server = FakeServer()
    async with client_of(server) as db:
        await db.open("items")
        server.hold = True
        subscription = db.live("items", [1, 2]) if kind == "live" else db.feed("items")
        reader = asyncio.ensure_future(anext(subscription, "the end"))
        await server.arrived(messages.Subscribe)
        await subscription.close()
        await ended(reader)
        assert reader.result() == "the end"


async def test_a_fault_of_ours_in_the_midst_of_an_add_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(self: Pipeline) -> None:
        raise RuntimeError("ours")

    server = FakeServer()
    async with client_of(server) as db:
        monkeypatch.setattr(Pipeline, "next_frame", fails)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(ConnectionLost, match="ours"):
                await db.add("items", [[1, 2]], [1])
        assert "own fault" in caplog.text


async def test_the_limits_are_not_waited_for_longer_than_any_call() -> None:
    server = FakeServer()
    async with client_of(server, backoff=NEVER, request_timeout_seconds=0.05) as db:
        server.connection.cut()
        await eventually(lambda: not db._connection.is_connected)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(TimeoutError, match="not connected: the connection is gone"):
                await db.limits()
