"""Connections lost at random, and servers that come back, between a real client and server."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from omendb_ws.client import Client, adding, connect, frames
from omendb_ws.client.answers import Gap
from omendb_ws.client.backoff import Backoff
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import running

from .fake import eventually, hasty
from .proxy import Proxy

SOON = Backoff(base_seconds=0.001, cap_seconds=0.01)


def numbered(first: int, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows whose first element is their number."""
    rows = np.zeros((count, 64), np.float32)
    rows[:, 0] = np.arange(first, first + count)
    return rows


async def calm(proxy: Proxy, db: Client) -> None:
    """End the faults, with a connection that stands."""
    proxy.mean_bytes = None
    proxy.cut()
    await db.ping()


async def all_rows(url: str) -> list[int]:
    """The numbers of all rows in the window, in the order in which they went in."""
    async with connect(url) as db:
        made = await db.describe("items")
        numbers: list[int] = []
        feed = db.feed("items", include=["vector"], from_seq=1, epoch=made.epoch)
        async with feed:
            while feed.to_seq is None or feed.to_seq < made.last_seq:
                rows = await anext(feed)
                assert rows.vectors is not None
                numbers += rows.vectors[:, 0].astype(int).tolist()
        return numbers


async def test_rows_go_in_once_and_in_order_however_often_the_connection_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Small frames: every connection brings some of them to the server before it breaks.
    monkeypatch.setattr(frames, "FRAME_BYTES", 8 * 1024)
    monkeypatch.setattr(adding, "WINDOW_BYTES", 128 * 1024)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running() as server,
        Proxy(server.url, seed=1) as proxy,
        connect(proxy.url, backoff=SOON) as db,
    ):
        await db.create("items", dim=64, capacity=50_000, metric="dot", ids="auto")
        proxy.mean_bytes = 300_000
        calls = [db.add("items", numbered(at * 100, 100)) for at in range(200)]
        calls += [db.add("items", numbered(20_000, 20_000))]
        added = await asyncio.gather(*calls)
        assert proxy.cuts > 10
        await calm(proxy, db)
        assert any(one.duplicate for one in added)
        assert [one.rows for one in added] == [100] * 200 + [20_000]
        assert await all_rows(server.url) == list(range(40_000))


async def test_every_row_of_a_feed_is_delivered_or_in_a_stated_gap() -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running() as server,
        Proxy(server.url, seed=2) as proxy,
        connect(server.url) as producer,
        connect(proxy.url, backoff=SOON) as db,
    ):
        made = await producer.create("items", dim=64, capacity=1_000, metric="dot", ids="auto")
        proxy.mean_bytes = 400_000
        total, seen = 30_000, 0

        async def produce() -> None:
            for at in range(0, total, 100):
                await producer.add("items", numbered(at, 100))

        producing = asyncio.create_task(produce())
        feed = db.feed("items", include=["vector"], from_seq=1, epoch=made.epoch)
        async with feed:
            while seen < total:
                rows = await anext(feed)
                if rows.gap is not None:
                    assert rows.gap.from_seq == seen + 1
                    assert rows.gap.to_seq is not None
                    seen = rows.gap.to_seq
                elif len(rows):
                    assert rows.seqs.tolist() == list(range(seen + 1, seen + 1 + len(rows)))
                    assert rows.vectors is not None
                    assert rows.vectors[:, 0].tolist() == [seq - 1 for seq in rows.seqs.tolist()]
                    seen = rows.to_seq
        await producing
        assert seen == total
        assert proxy.cuts > 10
        await calm(proxy, db)


async def test_searches_go_on_through_lost_connections() -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running() as server,
        Proxy(server.url, seed=3) as proxy,
        connect(proxy.url, backoff=SOON) as db,
    ):
        await db.create("items", dim=64, capacity=1_000, metric="dot")
        await db.add("items", numbered(0, 1_000), ids=range(1_000))
        proxy.mean_bytes = 10_000
        query = np.eye(1, 64, dtype=np.float32)[0]
        answers = await asyncio.gather(*[db.search("items", query, k=3) for _ in range(500)])
        assert {tuple(one.ids.tolist()) for one in answers} == {(999, 998, 997)}
        assert proxy.cuts > 10
        await calm(proxy, db)


async def test_a_server_that_drains_is_left_and_its_successor_is_found() -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running() as second,
        AsyncExitStack() as stack,
    ):
        first = await stack.enter_async_context(running())
        proxy = await stack.enter_async_context(Proxy(first.url))
        async with connect(proxy.url, backoff=SOON) as db:
            await db.create("items", dim=64, capacity=10, ids="auto")
            await db.add("items", numbered(1, 1))
            proxy.lead_to(None)
            await first.drain()
            proxy.lead_to(second.url)
            await db.ping()
            with pytest.raises(errors.NotFound):
                await db.add("items", numbered(1, 1))
            with pytest.raises(errors.NotFound):
                await db.search("items", numbered(1, 1)[0])


async def test_a_feed_over_a_restart_states_that_everything_before_may_be_lost() -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running() as first,
        running() as second,
        Proxy(first.url) as proxy,
        connect(second.url) as other,
        connect(proxy.url, backoff=SOON) as db,
    ):
        await db.create("items", dim=64, capacity=10, metric="dot", ids="auto")
        async with db.feed("items") as feed:
            await db.add("items", numbered(0, 2))
            assert (await anext(feed)).seqs.tolist() == [1, 2]
            await other.create("items", dim=64, capacity=10, metric="dot", ids="auto")
            await other.add("items", numbered(5, 3))
            proxy.lead_to(second.url)
            proxy.cut()
            rows = await anext(feed)
            assert rows.gap == Gap(3, None, "epoch")
            assert rows.epoch == (await other.describe("items")).epoch
            assert (await anext(feed)).seqs.tolist() == [1, 2, 3]
            # And adds go on, under a producer that the new collection does not know.
            assert (await db.add("items", numbered(8, 1))).first_seq == 4


async def test_a_cancelled_add_does_not_hold_up_the_next() -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running() as server,
        connect(server.url) as db,
    ):
        await db.create("items", dim=64, capacity=100_000, metric="dot", ids="auto")
        large = asyncio.create_task(db.add("items", numbered(0, 60_000)))
        await eventually(lambda: db._adders and db._adders["items"]._pipeline.acknowledgements)
        large.cancel()
        with pytest.raises(asyncio.CancelledError):
            await large
        added = await db.add("items", numbered(60_000, 10))
        assert added.rows == 10
        numbers = await all_rows(server.url)
        rows_in = len(numbers) - 10
        assert 0 < rows_in < 60_000
        assert numbers == [*range(rows_in), *range(60_000, 60_010)]


async def test_an_add_to_a_server_that_is_gone_times_out_as_unknown_progress() -> None:
    async with (
        running() as server,
        Proxy(server.url) as proxy,
        connect(proxy.url, backoff=SOON, request_timeout_seconds=PATIENCE_SECONDS) as db,
    ):
        await db.create("items", dim=64, capacity=100, ids="auto", metric="dot")
        await db.add("items", numbered(0, 1))
        proxy.mean_bytes = 1
        with hasty(db, 0.2), pytest.raises(TimeoutError) as caught:
            await db.add("items", numbered(1, 1))
        assert caught.value.__notes__ == ["0 of 1 rows were acknowledged"]
        proxy.mean_bytes = None
        assert (await db.add("items", numbered(2, 1))).rows == 1
