"""Many idle event streams: each is told, none is in another's way, and all are gone at once."""

from __future__ import annotations

import asyncio
import os

from tests.patience import eventually
from tests.server.http.api.event_client import Streamed, streaming
from tests.server.http.api.test_event_streams import rows_until
from tests.server.raw import client, running

#: ``make torture`` has 9,000: each is two descriptors here.
STREAMS = int(os.environ.get("EVENT_STREAMS", "150"))
AT_ONCE = 50
FEED = "/v1/collections/items/feed"


async def test_idle_streams_are_told_and_leave_nothing() -> None:
    limits = {"max_connections": STREAMS + 10}
    async with running(http_port=0, **limits) as server, client(server) as raw:
        await raw.create()
        memory = server.context.accounts.of("default").memory
        before = memory.taken_bytes
        may_go = asyncio.Event()
        room = asyncio.Semaphore(AT_ONCE)
        begun: list[Streamed] = []

        async def follow() -> int:
            async with room:
                opened = streaming(server.http_url, FEED)
                stream = await opened.__aenter__()
                await stream.event()
            begun.append(stream)
            rows = await rows_until(stream, 1)
            await may_go.wait()
            await opened.__aexit__(None, None, None)
            return len(rows)

        following = [asyncio.create_task(follow()) for _ in range(STREAMS)]
        await eventually(lambda: len(begun) == STREAMS)
        assert server.metrics.subscriptions["feed"] == server.metrics.http.event_streams == STREAMS
        taken = memory.taken_bytes - before
        assert taken >= 600 * STREAMS
        # Who only searches and adds does not see them.
        assert (await raw.add(1))["version"] == 1
        may_go.set()
        assert await asyncio.gather(*following) == [1] * STREAMS
        await eventually(lambda: not server.metrics.subscriptions["feed"])
        await eventually(lambda: server.metrics.connections == 1)
        await eventually(lambda: server.metrics.http.event_streams == 0)
        await raw.ok("delete", collection="items", ids=[1])
        assert memory.taken_bytes <= before
