"""Many readers, some of which never read: bounded memory, and nobody waits for them.

No figure here depends on how long something took. A reader that never reads is a socket with small
buffers that nobody reads from; ticks are counted by what the engine hands to the loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from websockets.exceptions import ConnectionClosed

from omendb_ws.engine.model.ticket import Reply
from omendb_ws.engine.streams.deliveries import GROUP_BYTES, Push
from omendb_ws.engine.streams.feeds import Feed
from omendb_ws.engine.streams.live_query import LiveQuery
from omendb_ws.engine.streams.matches import MatchQuery
from omendb_ws.net.server import Server
from omendb_ws.sessions.outbox import BATCH_BYTES
from tests.patience import eventually
from tests.server.live_view import Matched, View, live, match, sub_of
from tests.server.raw import Raw, batch, client, rows, running, settings
from tests.server.streams.test_feeds import Follower, follow

DIM = 256
V = [1.0, *[0.0] * (DIM - 1)]
K = 10
READING_CONNECTIONS = 45
DEAF_CONNECTIONS = 20
SOCKET_BYTES = 8 << 10
MAX_PENDING_BYTES = 128 << 10
MAX_PENDING_ROWS = 100
CAPACITY = 300


def with_small_buffers(server: Server) -> None:
    """Sockets that it accepts from now on take little that nobody reads."""
    for listening in server._listener.sockets:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)


async def deaf(server: Server, stack: AsyncExitStack, number: int) -> int:
    """A connection with one subscription that never reads from then on; its server-side port."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    raw = await stack.enter_async_context(client(server, sock=sock, max_queue=1, close_timeout=0))
    port = sock.getsockname()[1]
    include = ["vector"]
    if number % 4 < 2:
        encoding = ("json", "binary")[number % 2]
        await live(raw, V, k=K, include=include, encoding=encoding)
    elif number % 4 == 2:
        await match(raw, V, 0.0, include=include)
    else:
        await follow(raw, include=include)
    raw.socket.transport.pause_reading()
    return int(port)


class Reading:
    """A connection that reads all the time, with two live queries, a match query and a feed."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.readers: dict[int, View | Matched | Follower] = {}

    async def begin(self) -> None:
        for encoding in ("json", "binary"):
            view = await live(self.raw, V, k=K, encoding=encoding)
            self.readers[view.sub] = view
        near = await match(self.raw, V, 0.0)
        feed = await follow(self.raw, encoding="binary")
        self.readers |= {near.sub: near, feed.sub: feed}
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        while True:
            event = await self.raw.event()
            reader = self.readers[sub_of(event)]
            if isinstance(reader, Follower):
                self.raw.events.append(event)
                await reader.step()
            else:
                reader.apply(event)

    def has(self, version: int, seq: int) -> bool:
        if self.task.done():
            self.task.result()
        return all(
            reader.version >= version if isinstance(reader, View) else reader.to_seq >= seq
            for reader in self.readers.values()
        )


async def all_have(reading: list[Reading], version: int, seq: int) -> None:
    await eventually(lambda: all(one.has(version, seq) for one in reading))


def check_bounds(server: Server, sessions: Iterable[Any]) -> int:
    """What the server holds for each of ``sessions`` is bounded; the most that one has unsent."""
    most = 0
    for session in sessions:
        unsent = session.outbox.push_bytes
        assert unsent <= MAX_PENDING_BYTES + GROUP_BYTES
        assert session.lane.push_bytes <= MAX_PENDING_BYTES + GROUP_BYTES
        assert session.outbox.reply_bytes <= BATCH_BYTES
        assert len(session.outbox) <= 8
        most = max(most, unsent)
    shard = server.context.catalog.find("default", "items").shard
    for query in list(server.context.engine.live.of(shard)):
        assert isinstance(query, LiveQuery)
        assert len(query.told) <= 2 * K
    for near in list(server.context.engine.matches.of(shard)):
        assert isinstance(near, MatchQuery)
        assert len(near.hits) <= MAX_PENDING_ROWS
    assert all(isinstance(feed, Feed) for feed in server.context.engine.feeds.of(shard))
    return most


@pytest.mark.usefixtures("whole_ticks")
async def test_readers_that_never_read_cost_little_and_slow_nobody() -> None:
    posts: list[list[Any]] = []
    server = Server(
        settings(max_pending_bytes=MAX_PENDING_BYTES, max_pending_rows=MAX_PENDING_ROWS),
        stall_seconds=600,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(server))
        with_small_buffers(server)
        engine = server.context.engine
        post = engine.moment._post

        def noted(effects: list[Any]) -> None:
            posts.append(effects)
            post(effects)

        engine.moment._post = noted  # type: ignore[method-assign]
        writer = await stack.enter_async_context(client(server))
        handle = (await writer.create(dim=DIM, capacity=CAPACITY))["handle"]
        ports = {await deaf(server, stack, number) for number in range(DEAF_CONNECTIONS)}
        reading = [
            Reading(await stack.enter_async_context(client(server)))
            for _ in range(READING_CONNECTIONS)
        ]
        for one in reading:
            await one.begin()
        silent = [
            session
            for connection, session in server._sessions.items()
            if connection.remote_address[1] in ports
        ]
        assert len(silent) == DEAF_CONNECTIONS
        metrics = server.metrics
        assert metrics.subscriptions.total() == DEAF_CONNECTIONS + 4 * READING_CONNECTIONS == 200

        # Load: every add changes every answer.
        seq = 0
        for _ in range(60):
            ids = range(seq + 1, seq + 11)
            added = await writer.add_binary(handle, batch(*ids, dim=DIM))
            seq = added.last_seq or 0
            check_bounds(server, silent)
        await all_have(reading, added.version, seq)
        assert check_bounds(server, silent) > 0
        assert all(not session.outbox.is_empty for session in silent), "somebody read after all"

        # At rest, the last version is published to everybody within two ticks.
        shard = server.context.catalog.find("default", "items").shard

        def streams() -> list[Any]:
            found = [
                *server.context.engine.live.of(shard),
                *server.context.engine.matches.of(shard),
                *server.context.engine.feeds.of(shard),
            ]
            return [stream for stream in found if stream.lane not in lanes]

        lanes = {session.lane for session in silent}
        awake = streams()
        assert len(awake) == 4 * READING_CONNECTIONS
        for _ in range(10):
            await eventually(lambda: not any(stream.has_unsent for stream in awake))
            posts.clear()
            added = await writer.add_binary(handle, batch(seq + 1, dim=DIM))
            seq = added.last_seq or 0
            await all_have(reading, added.version, seq)
            taken = list(posts)
            (at,) = [
                place
                for place, effects in enumerate(taken)
                if any(isinstance(one, Reply) and one.ticket.op == "add" for one in effects)
            ]
            pushed = {
                one.stream
                for effects in taken[at : at + 3]
                for one in effects
                if isinstance(one, Push)
            }
            assert pushed >= set(awake)
            check_bounds(server, silent)

        # And what the readers hold is the truth.
        found = await writer.ok("search", collection="items", vector=V, k=K)
        expected = [(one["id"], one["seq"]) for one in found["results"]]
        for one in reading:
            for reader in one.readers.values():
                if isinstance(reader, View):
                    assert [(row.id, row.seq) for row in reader.answer] == expected
                else:
                    missed = {n for first, last, _ in reader.gaps for n in range(first, last + 1)}
                    assert reader.rows.keys() | missed == set(range(1, seq + 1))
            one.task.cancel()
        # Those that never read are no burden when they go.
        for connection, session in list(server._sessions.items()):
            if session in silent:
                connection.transport.abort()
        await eventually(lambda: metrics.subscriptions.total() == 4 * READING_CONNECTIONS)
        await writer.ok("ping")
        await eventually(lambda: len(shard.window.standing) == 3 * READING_CONNECTIONS)
        await eventually(lambda: len(server.context.engine.feeds.of(shard)) == READING_CONNECTIONS)
        assert metrics.faults == 0


async def test_500_random_disconnects_under_load_lose_nothing_that_is_not_stated() -> None:
    async with running() as server, client(server) as writer:
        made = await writer.create(capacity=4000, dim=4, ids="u64")
        epoch, handle = made["epoch"], made["handle"]
        last_seq = 0
        is_done = False

        async def write() -> None:
            nonlocal last_seq
            random = np.random.default_rng(1)
            while not is_done:
                count = int(random.choice([1, 20, 200]))
                ids = np.arange(last_seq + 1, last_seq + count + 1, dtype=np.uint64)
                vectors = random.standard_normal((count, 4)).astype(np.float32)
                added = await writer.add_binary(handle, RowBatch(vectors, ids))
                last_seq = added.last_seq or 0

        async def read(number: int) -> None:
            random = np.random.default_rng(100 + number)
            seen: set[int] = set()
            missed: set[int] = set()
            to_seq = 0
            for turn in range(26):
                async with client(server) as raw:
                    encoding = ("json", "binary")[(number + turn) % 2]
                    feed = await follow(raw, from_seq=to_seq + 1, epoch=epoch, encoding=encoding)
                    assert feed.to_seq == to_seq
                    if turn == 25:
                        await feed.until(last_seq)
                    else:
                        for _ in range(int(random.integers(0, 6))):
                            await feed.step()
                    assert not seen & feed.rows.keys()
                    assert all(seq == id_ for seq, id_ in feed.rows.items())
                    seen |= feed.rows.keys()
                    for first, last, reason in feed.gaps:
                        assert reason == "evicted"
                        missed.update(range(first, last + 1))
                    to_seq = feed.to_seq
                    if turn < 25 and random.random() < 0.7:
                        raw.socket.transport.abort()
            assert not seen & missed
            assert seen | missed == set(range(1, to_seq + 1))
            assert seen

        writing = asyncio.create_task(write())
        await asyncio.gather(*(read(number) for number in range(20)))
        is_done = True
        await writing
        assert server.metrics.connections_opened == 1 + 20 * 26
        await eventually(lambda: server.metrics.subscriptions["feed"] == 0)
        await writer.add_binary(handle, batch(0, dim=4))
        shard = server.context.catalog.find("default", "items").shard
        assert not server.context.engine.feeds.of(shard)


async def test_a_reader_that_never_reads_is_closed_and_pays_its_memory_back() -> None:
    server = Server(settings(max_pending_bytes=MAX_PENDING_BYTES), stall_seconds=0.3)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(server))
        with_small_buffers(server)
        writer = await stack.enter_async_context(client(server))
        await writer.create(dim=DIM, capacity=CAPACITY)
        before = server.context.catalog.reserved_bytes
        await deaf(server, stack, 0)
        await deaf(server, stack, 2)
        assert server.context.catalog.reserved_bytes > before
        number = 0
        while server.context.catalog.reserved_bytes > before:
            number += 1
            try:
                await writer.ok("add", collection="items", rows=rows(number, dim=DIM))
            except ConnectionClosed:
                raise AssertionError("the one that reads was closed") from None
        await eventually(lambda: server.metrics.subscriptions.total() == 0)
        shard = server.context.catalog.find("default", "items").shard
        await writer.ok("ping")
        await eventually(lambda: len(shard.window.standing) == 0)
