"""A hundred live queries behind a balancer, of whose two servers one leaves and the other dies."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

import omendb_ws
from omendb_ws.client.aio import Client
from omendb_ws.client.backoff import Backoff
from omendb_ws.net.server import Server
from tests.certificates import Certificate
from tests.cli.commands import Serving, serving
from tests.deploy.balancers import Balancer, Kind, balancing
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import settings

CLIENTS, QUERIES = 10, 10
#: Long enough for HAProxy and Caddy, which ask every 100 ms here, to have seen it.
NOTICE_SECONDS = 1.0
#: Each row is nearer to what is asked for than those before it.
ROWS = {name: [1.0, 1.0 / (at + 1)] for at, name in enumerate(("first", "second", "third"))}


class Second:
    """The server that is a process: what ``balancing`` wants to know of it."""

    def __init__(self, server: Serving) -> None:
        self.port = server.port
        self.url = server.url
        self.http_url = None

    async def connections(self) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as page:
            found: int = (await page.get(f"http://127.0.0.1:{self.port}/stats")).json()[
                "connections"
            ]
            return found


async def put(url: str, *names: str) -> None:
    """Give a server these rows, past the balancer."""
    async with omendb_ws.connect(url) as db:
        await db.create("notes", dim=2, capacity=10, ids="str", if_exists="ok")
        await db.add("notes", [ROWS[name] for name in names], ids=list(names))


class Follower:
    """A client with live queries, and the nearest row that each of them was told of last."""

    def __init__(self, db: Client) -> None:
        self.nearest = ["" for _ in range(QUERIES)]
        self._following = [asyncio.create_task(self._follow(db, at)) for at in range(QUERIES)]

    async def _follow(self, db: Client, at: int) -> None:
        async for answer in db.live("notes", [1, 0], k=1):
            self.nearest[at] = str(answer[0].id)

    def check(self) -> None:
        """No query has ended, by an error or otherwise."""
        for task in self._following:
            assert not task.done(), task

    async def end(self) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.wait(self._following)


@contextlib.asynccontextmanager
async def followers(balancer: Balancer) -> AsyncIterator[list[Follower]]:
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for _ in range(CLIENTS):
            db = await stack.enter_async_context(
                omendb_ws.connect(balancer.url, tls=balancer.tls, backoff=Backoff(0.05, 0.5))
            )
            found.append(Follower(db))
            stack.push_async_callback(found[-1].end)
        yield found


async def all_see(found: list[Follower], name: str) -> None:
    """Wait until each query was told of that row."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(nearest != name for one in found for nearest in one.nearest):
            for one in found:
                one.check()
            await asyncio.sleep(0.01)


async def test_live_queries_go_on_at_the_other_server_when_theirs_leaves_or_dies(
    kind: Kind, certificate: Certificate, tmp_path: Path
) -> None:
    with serving("--host", "127.0.0.1") as process:
        second = Second(process)
        first = Server(settings(drain_notice_seconds=NOTICE_SECONDS))
        async with first, contextlib.AsyncExitStack() as stack:
            await put(first.url, "first")
            await put(second.url, "first")
            balancer = await stack.enter_async_context(
                balancing(kind, [first, second], certificate, tmp_path)
            )
            found = await stack.enter_async_context(followers(balancer))
            await all_see(found, "first")
            # Both have about half of them.
            assert first.metrics.connections == CLIENTS - await second.connections()
            assert abs(first.metrics.connections - CLIENTS / 2) <= math.sqrt(CLIENTS)

            await first.drain()
            await put(second.url, "second")
            await all_see(found, "second")
            assert await second.connections() >= CLIENTS

            back = Server(settings(port=first.port))
            await stack.enter_async_context(back)
            await put(back.url, "first", "second")
            process.send(signal.SIGKILL)
            await put(back.url, "third")
            await all_see(found, "third")
            assert back.metrics.connections == CLIENTS
