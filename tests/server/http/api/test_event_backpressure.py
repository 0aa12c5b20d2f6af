"""Readers of events that are slow: merged pushes, bounded memory, nobody else waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tests.patience import eventually
from tests.server.http.api.event_client import Streamed, streaming
from tests.server.live_view import View, view_of
from tests.server.raw import Raw, client, running

LIVE = "/v1/collections/items/live"
#: A row is this large in a push, and no socket takes many of them.
NOTE = "x" * 3_000


async def push_rows(raw: Raw, first: int, count: int) -> int:
    version = 0
    for number in range(first, first + count):
        row = {"id": number, "vector": [float(number), 1.0], "metadata": {"note": NOTE}}
        version = (await raw.ok("add", collection="items", rows=[row]))["version"]
    return version


async def begun(stream: Streamed, raw: Raw) -> View:
    return view_of(raw, orjson.loads((await stream.event("snapshot")).data))


async def follow(stream: Streamed, view: View, version: int) -> None:
    while view.version < version:
        view.apply(orjson.loads((await stream.event("live")).data))


async def test_a_slow_reader_is_told_less_often_and_in_the_end_what_is_true() -> None:
    fields: dict[str, Any] = {"vector": [1, 0], "k": 50, "include": ["metadata"]}
    async with running(http_port=0) as server, client(server) as raw:
        await raw.create(capacity=1000)
        async with (
            streaming(server.http_url, LIVE, receive_bytes=4096, **fields) as slow,
            streaming(server.http_url, LIVE, **fields) as quick,
        ):
            slow_view, quick_view = await begun(slow, raw), await begun(quick, raw)
            count, merged_before = 0, server.metrics.merged_pushes
            slow.stop_reading()
            while server.metrics.merged_pushes - merged_before < 200:
                version = await push_rows(raw, count, 20)
                count += 20
                await follow(quick, quick_view, version)
                held = max(
                    one.outbox.push_bytes + one.lane.push_bytes for one in server.node._sessions
                )
                assert held < 4 << 20
            slow.read_on()
            await follow(slow, slow_view, version)
            assert slow_view.hits == quick_view.hits
            assert slow_view.pushes < quick_view.pushes


async def test_one_that_never_reads_holds_nobody_up_and_goes_when_it_is_cut() -> None:
    async with running(http_port=0) as server, client(server) as raw:
        await raw.create(capacity=100)
        async with streaming(
            server.http_url, "/v1/collections/items/feed", receive_bytes=4096, include=["metadata"]
        ) as deaf:
            deaf.stop_reading()
            while not server.metrics.merged_pushes:
                await push_rows(raw, 1, 50)
            await asyncio.wait_for(raw.ok("ping"), 60)
            await deaf.cut()
            await eventually(lambda: not server.metrics.subscriptions["feed"])
