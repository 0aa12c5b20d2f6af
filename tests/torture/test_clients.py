"""Clients of a server that is killed and comes back: they go on, and miss nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

import omendb_ws
from tests.torture.process import PATIENCE_SECONDS, ServerProcess

QUERY = [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("durability", ["everysec", "always"])
async def test_adds_feeds_and_live_queries_go_on_through_kills(
    durability: str, tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path / "data", tmp_path / "log")
    await server.start()
    try:
        # An add may be under way through all the kills.
        connecting = omendb_ws.connect(server.url, request_timeout_seconds=PATIENCE_SECONDS)
        async with asyncio.timeout(PATIENCE_SECONDS), connecting as db:
            made = await db.create(
                "items", dim=4, capacity=10_000, metric="dot", durability=durability
            )
            adding = asyncio.create_task(add_all(db, 60))
            following = asyncio.create_task(follow(db, 60, made.epoch))
            watching = asyncio.create_task(watch(db, 59))
            for _ in range(3):
                await asyncio.sleep(0.15)
                await server.kill()
                await server.start()
            seqs = await adding
            rows = await following
            # Each row once, in order, as it was added.
            assert [seq for seq, _ in rows] == list(range(1, 61))
            assert seqs == [(n, n) for n in range(1, 61)]
            assert [id for _, id in rows] == list(range(60))
            live = await watching
            found = await db.search("items", QUERY, k=5)
            assert live == [int(id) for id in found.ids]
    finally:
        await server.kill()


async def add_all(db: omendb_ws.Client, count: int) -> list[tuple[int, int]]:
    """Add that many rows, one at a time; where each went."""
    seqs = []
    for id in range(count):
        vector = np.array([[id, 0, 0, 1]], np.float32)
        added = await db.add("items", vector, ids=[id])
        seqs.append((added.first_seq, added.last_seq))
        await asyncio.sleep(0.01)
    return seqs


async def follow(db: omendb_ws.Client, count: int, epoch: str) -> list[tuple[int, int]]:
    """Read a feed until that many rows came: seq and id of each."""
    rows: list[tuple[int, int]] = []
    async with db.feed("items", from_seq=1, epoch=epoch) as feed:
        async for item in feed:
            rows += [(int(seq), int(id)) for seq, id in zip(item.seqs, item.ids, strict=True)]
            if len(rows) >= count:
                return rows
    return rows


async def watch(db: omendb_ws.Client, nearest: int) -> list[int]:
    """Watch the nearest rows until that one is first; their ids."""
    async with db.live("items", QUERY, k=5) as live:
        async for answer in live:
            if len(answer.ids) and int(answer.ids[0]) == nearest:
                return [int(id) for id in answer.ids]
    return []
