"""Faults of the server itself: one request is told, everything else goes on.

The law: no message, and no bug that it meets, harms another request, connection or collection.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from omendb_ws.net.connection import Connection
from omendb_ws.net.server import Server
from omendb_ws.sessions.subscriptions.subscription import Subscription
from omendb_ws.telemetry.metrics import Metrics
from tests.server.raw import (
    PATIENCE_SECONDS,
    Raw,
    batch,
    client,
    engine_held,
    queued,
    rows,
    running,
    settings,
)

V = [1.0, 0.0]


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a bug, on purpose")


def window_of(server: Server, name: str = "items") -> Any:
    return server.context.catalog.find("default", name).shard.window


async def all_is_well(raw: Raw, name: str) -> None:
    before = (await raw.ok("describe", collection=name))["rows"]
    await raw.add(100 + before, name=name)
    found = await raw.ok("search", collection=name, vector=V, k=1)
    assert found["results"][0]["id"] == 100 + before


#: What breaks -> the request that meets it.
READS: dict[str, tuple[str, dict[str, Any]]] = {
    "search": ("search", {"vector": V}),
    "get": ("get", {"ids": [1]}),
    "count": ("count", {}),
    "admit_add": ("add", {"rows": rows(5)}),
    "admit_delete": ("delete", {"ids": [1]}),
    "admit_update": ("update", {"rows": [{"id": 1, "metadata": {}}]}),
}


@pytest.mark.parametrize("method", READS)
async def test_a_fault_is_that_requests_alone_and_is_logged_under_its_reference(
    method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        await raw.create("else")
        await raw.add(1, 2)
        op, fields = READS[method]
        before = await raw.ok("describe", collection="items")
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(window_of(server), method, boom)
            error = await raw.error(op, collection="items", **fields)
            assert (error["code"], error["retry"]) == ("internal", True)
            reference = re.search(r"[0-9a-f]{8}", error["message"])
            assert reference is not None
            assert "on purpose" not in error["message"]
            assert reference[0] in caplog.text
            assert "on purpose" in caplog.text
            assert "Traceback" in caplog.text
            await all_is_well(other, "else")
        assert await raw.ok("describe", collection="items") == before
        await all_is_well(raw, "items")
        assert server.metrics.faults == 1


async def test_one_poisoned_search_of_a_tick_does_not_take_the_others_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        await raw.add(1, 2, 3)
        window = window_of(server)
        search = window.search

        def poisoned(queries: list[Any]) -> Any:
            if any(query.k == 7 for query in queries):
                boom()
            return search(queries)

        monkeypatch.setattr(window, "search", poisoned)
        async with engine_held(server):
            good = [await other.send("search", collection="items", vector=V) for _ in range(5)]
            bad = await raw.send("search", collection="items", vector=V, k=7)
            good += [await other.send("search", collection="items", vector=V) for _ in range(5)]
            await queued(server, 11)
        assert (await raw.reply(bad))["error"]["code"] == "internal"
        for id in good:
            assert len((await other.reply(id))["ok"]["results"]) == 3


async def test_after_a_fault_in_the_middle_of_a_change_nobody_is_told_untruths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns={"price": "f64"})
        await raw.create("else")
        await raw.add(1, 2)
        kinds: list[dict[str, Any]] = [
            {"kind": "feed"},
            {"kind": "match", "vector": V, "min_score": 0.0},
            {"kind": "live", "vector": V},
            {"kind": "count", "by": "price"},
            {"kind": "stats"},
            {"kind": "map"},
        ]
        for kind in kinds:
            await raw.ok("subscribe", collection="items", **kind)
        with monkeypatch.context() as patch:
            patch.setattr(
                window_of(server).state.columns, "write", boom
            )  # half of it is done by then
            assert await raw.code("add", collection="items", rows=rows(3)) == "internal"
        ended = [await raw.named("ended") for _ in kinds]
        assert sorted(one["sub"] for one in ended) == [1, 2, 3, 4, 5, 6]
        assert {one["reason"] for one in ended} == {"unavailable"}
        for kind in kinds:
            assert await raw.code("subscribe", collection="items", **kind) == "unavailable"
        for op, fields in READS.values():
            error = await raw.error(op, collection="items", **fields)
            assert (error["code"], error["retry"]) == ("unavailable", True)
        await all_is_well(raw, "else")
        # A drop starts it anew.
        await raw.ok("drop", collection="items")
        await raw.create()
        await all_is_well(raw, "items")


async def test_a_fault_while_reading_a_message_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        with monkeypatch.context() as patch:
            patch.setattr("omendb_ws.wire.text.decode_request", boom)
            assert await raw.code("ping") == "internal"  # nothing is wrong with its id
        with monkeypatch.context() as patch:
            patch.setattr("omendb_ws.sessions.ops.parse_ids", boom)
            assert await raw.code("get", collection="items", ids=[1]) == "internal"
        await all_is_well(raw, "items")


@pytest.mark.parametrize(
    "where",
    [
        "net.writing._framed",
        "net.websocket_frames.Cutter.take",
        "net.websocket_frames.Cutter.rest",
    ],
)
async def test_a_fault_of_a_connection_ends_it_and_its_client_may_come_back(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as other:
        await other.create()
        async with client(server) as raw:
            await raw.ok("ping")
            with monkeypatch.context() as patch:
                patch.setattr(f"omendb_ws.{where}", boom)
                if where.endswith("rest"):
                    raw.socket.transport.abort()
                with pytest.raises(ConnectionClosed):
                    await raw.ok("ping")
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while server.metrics.connections > 1:  # noqa: ASYNC110 - it ends by itself
                        await asyncio.sleep(0)
        async with client(server) as again:
            await again.ok("ping")
        await all_is_well(other, "items")


async def test_a_fault_of_the_watch_over_connections_is_not_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    looked_again = asyncio.Event()

    def faulty(_: Connection) -> float:
        nonlocal looks
        looks += 1
        if looks > 1:
            looked_again.set()
            return 0.0
        raise MemoryError("on purpose")

    monkeypatch.setattr(Connection, "half_seconds", faulty)
    server = Server(settings(), stall_seconds=1.0)
    async with running(server), client(server) as raw:
        await asyncio.wait_for(looked_again.wait(), PATIENCE_SECONDS)
        await raw.ok("ping")
        assert server.metrics.faults == 1


async def test_a_fault_of_a_sample_of_statistics_is_not_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = 0
    sampled_again = asyncio.Event()

    def faulty(*_: object) -> None:
        nonlocal samples
        samples += 1
        if samples == 1:
            raise MemoryError("on purpose")
        sampled_again.set()

    monkeypatch.setattr(Metrics, "sample", faulty)
    async with running() as server:
        await asyncio.wait_for(sampled_again.wait(), PATIENCE_SECONDS)
        assert server.metrics.faults == 1


async def test_a_subscription_that_cannot_be_ended_keeps_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = Subscription.close

    def faulty(subscription: Subscription) -> None:
        if subscription.sub == 1:
            raise MemoryError("on purpose")
        close(subscription)

    async with running() as server:
        async with client(server) as raw:
            await raw.create()
            for _ in range(3):
                await raw.ok("subscribe", kind="stats", collection="items")
            monkeypatch.setattr(Subscription, "close", faulty)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while server.metrics.subscriptions.total() > 1:  # noqa: ASYNC110 - of another task
                await asyncio.sleep(0.001)
        async with client(server) as raw:
            await raw.ok("ping")
        monkeypatch.undo()


async def test_a_fault_while_encoding_a_reply_is_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2))
        with monkeypatch.context() as patch:
            patch.setattr("omendb_ws.wire.text_replies.encode_results", boom)
            assert await raw.code("search", collection="items", vector=V) == "internal"
            found = await raw.search_binary(handle, np.ones((1, 2), np.float32))
            assert found.counts.tolist() == [2]
        await all_is_well(raw, "items")


async def test_a_fault_in_one_feed_leaves_other_feeds_and_requests_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.create("else")
        await raw.ok("subscribe", kind="feed", collection="items")
        await raw.ok("subscribe", kind="feed", collection="else")
        with monkeypatch.context() as patch:
            patch.setattr(window_of(server), "read", boom)
            await raw.add(1)
            await raw.add(1, name="else")
            assert (await raw.named("feed"))["sub"] == 2
        # The next row brings what was missed.
        await raw.add(2)
        event = await raw.named("feed")
        assert [row["id"] for row in event["rows"]] == [1, 2]
        assert server.metrics.faults >= 1


async def test_a_fault_while_expiring_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(ttl=0.01)
        await raw.create("else", ttl=0.01)
        with monkeypatch.context() as patch:
            patch.setattr(window_of(server), "admit_expire", boom)
            await raw.add(1)
            await raw.add(1, name="else")
            while (await raw.ok("count", collection="else"))["count"]:
                pass
            assert (await raw.ok("count", collection="items"))["count"] == 1
        while (await raw.ok("count", collection="items"))["count"]:
            pass


async def test_a_fault_of_a_whole_tick_leaves_the_engine_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        with monkeypatch.context() as patch:
            patch.setattr(server.context.engine.tick.changing.expiry, "look", boom)
            id = await raw.send("count", collection="items")
            while not server.metrics.faults:
                await raw.ok("ping")
        assert (await raw.reply(id))["ok"]["count"] == 0
        await all_is_well(raw, "items")
