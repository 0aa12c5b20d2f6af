"""Thousands of subscriptions of one SUBSCRIBE are made in pieces, and are all there or none.

No test here goes by time: a turn of the loop makes one piece of ``PIECE`` subscriptions.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omendb_ws.net.server import Server
from omendb_ws.sessions import live_streams, long_work, standing_streams
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.patience import eventually
from tests.server.raw import Raw, client, running

MANY = 400
PIECE = 4


@pytest.fixture(autouse=True)
def one_piece_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_work, "SLICE_US", 0)
    monkeypatch.setattr(standing_streams, "MADE_AT_ONCE", PIECE)
    monkeypatch.setattr(live_streams, "MADE_AT_ONCE", PIECE)


def vectors_of(count: int) -> Any:
    return np.random.default_rng(0).standard_normal((count, 2)).astype(np.float32)


async def subscribe(raw: Raw, handle: int, vectors: Any, id: int | None = None) -> int:
    """Send SUBSCRIBE; the id of the request."""
    id = raw.next_id() if id is None else id
    await raw.send_binary(binary.encode_subscribe(id, handle, vectors, k=3))
    return id


def there(server: Server) -> int:
    return server.context.metrics.subscriptions["live"]


class Gate:
    """While it is closed, no more are made than the first piece."""

    def __init__(self, server: Server) -> None:
        self.is_closed = True
        self._server = server
        self._run = server.context.long_requests._run
        server.context.long_requests._run = self.run  # type: ignore[method-assign]

    def run(self) -> None:
        if self.is_closed and there(self._server) >= PIECE:
            asyncio.get_running_loop().call_soon(self.run)
        else:
            self._run()

    async def some_are_made(self) -> None:
        await eventually(lambda: there(self._server) >= PIECE, each_turn=True)
        assert there(self._server) == PIECE


async def nothing_is_left(server: Server, reserved_bytes: int) -> None:
    metrics = server.context.metrics
    await eventually(lambda: not server.context.long_requests.is_busy and not there(server))
    await eventually(lambda: server.context.catalog.reserved_bytes == reserved_bytes)
    assert metrics.subscriptions_to_come == 0
    for shard in server.context.catalog.shards():
        assert not shard.listed.subscriptions
        assert not len(shard.window.standing)


async def test_no_turn_makes_more_than_a_piece_and_others_are_served() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create())["handle"]
        at_pieces: list[int] = []
        long = server.context.long_requests
        run = long._run

        def counted() -> None:
            run()
            at_pieces.append(there(server))

        long._run = counted  # type: ignore[method-assign]
        gate = Gate(server)
        begun = await subscribe(raw, handle, vectors_of(MANY))
        await gate.some_are_made()
        await other.ok("ping")
        gate.is_closed = False
        reply = await raw.reply(begun)
        assert isinstance(reply, Results)
        assert reply.subs == list(range(1, MANY + 1))
        assert np.diff([0, *at_pieces]).max() == PIECE
        await raw.ok("ping")
        assert there(server) == MANY
        assert server.context.metrics.subscriptions_to_come == 0


async def test_what_is_sent_behind_it_finds_what_it_made() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        begun = await subscribe(raw, handle, vectors_of(MANY))
        left = await raw.send("unsubscribe", sub=MANY)
        assert isinstance(await raw.reply(begun), Results)
        assert "ok" in await raw.reply(left)
        assert there(server) == MANY - 1


async def test_a_connection_that_ends_meanwhile_has_no_more_made() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        reserved_bytes = server.context.catalog.reserved_bytes
        before = set(server._sessions)
        async with client(server) as other:
            handle = (await other.ok("open", collection="items"))["handle"]
            gate = Gate(server)
            await subscribe(other, handle, vectors_of(MANY))
            await gate.some_are_made()
            (connection,) = set(server._sessions) - before
            connection.shed()
            gate.is_closed = False
            await nothing_is_left(server, reserved_bytes)


async def test_a_fault_on_the_way_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        made = 0

        class Faulty(live_streams.LiveQuery):
            def __init__(self, *args: Any) -> None:
                nonlocal made
                made += 1
                if made > MANY // 2:
                    raise MemoryError
                super().__init__(*args)

        with monkeypatch.context() as patch:
            patch.setattr(live_streams, "LiveQuery", Faulty)
            reply = await raw.reply(await subscribe(raw, handle, vectors_of(MANY)))
        assert reply["error"]["code"] == "internal"
        await nothing_is_left(server, reserved_bytes)
        assert isinstance(await raw.reply(await subscribe(raw, handle, vectors_of(MANY))), Results)


async def test_places_and_memory_are_taken_before_the_first_is_made() -> None:
    limits = {"max_server_subscriptions": MANY + PIECE - 2}
    async with running(**limits) as server, client(server) as raw, client(server) as other:
        handle = (await raw.create())["handle"]
        theirs = (await other.ok("open", collection="items"))["handle"]
        gate = Gate(server)
        begun = await subscribe(raw, handle, vectors_of(MANY))
        await gate.some_are_made()
        refused = await other.reply(await subscribe(other, theirs, vectors_of(PIECE - 1)))
        assert refused["error"]["code"] == "quota"
        gate.is_closed = False
        assert isinstance(await raw.reply(begun), Results)
        begun = await subscribe(other, theirs, vectors_of(PIECE - 2))
        assert isinstance(await other.reply(begun), Results)


async def test_after_a_refusal_all_places_are_free_again() -> None:
    """Ending what was refused takes turns too; what comes next waits for that."""
    async with running(max_subscriptions=MANY) as server, client(server) as raw:
        handle = (await raw.create(metric="cosine"))["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        vectors = vectors_of(MANY)
        zero = vectors.copy()
        zero[-1] = 0
        for _ in range(2):
            refused = await raw.reply(await subscribe(raw, handle, zero))
            assert refused["error"]["code"] == "zero_norm"
        await nothing_is_left(server, reserved_bytes)
        assert isinstance(await raw.reply(await subscribe(raw, handle, vectors)), Results)


async def test_a_collection_that_is_dropped_meanwhile_has_no_subscriptions() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create())["handle"]
        gate = Gate(server)
        begun = await subscribe(raw, handle, vectors_of(MANY))
        await gate.some_are_made()
        (shard,) = server.context.catalog.shards()
        await other.ok("drop", collection="items")
        gate.is_closed = False
        assert (await raw.reply(begun))["error"]["code"] == "not_found"
        await nothing_is_left(server, 0)
        assert not shard.listed.subscriptions
