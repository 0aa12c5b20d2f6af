"""Rounds of what may happen to a node and its NATS, under writers that keep a ledger.

Each row is added once by its client's pipeline, which repeats a batch under its number until it
is acknowledged: in the end every row is there, and no other. ``make torture`` runs hundreds.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

import omendb_ws
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import NodeProcess, node_process

ROUNDS = int(os.environ.get("CLUSTER_ROUNDS", "2"))
WRITERS = 3


async def happen(what: str, nats: NatsServer, process: NodeProcess) -> None:
    if what == "nats killed":
        nats.kill()
        nats.start()
    elif what == "nats paused":
        nats.pause()
        await asyncio.sleep(random.random() * 2)
        nats.resume()
    elif what == "node killed":
        await process.kill()
        await process.start()
    else:
        await process.kill()
        nats.kill()
        nats.start()
        await process.start()


async def values(db: omendb_ws.Client, last_seq: int) -> list[int]:
    """What every row says, some at a time."""
    found: list[int] = []
    for first in range(1, last_seq + 1, 5_000):
        seqs = range(first, min(first + 5_000, last_seq + 1))
        rows = await db.get("items", seqs, include=["metadata"])
        found += [row.metadata["v"] for row in rows]
    return sorted(found)


@pytest.mark.timeout(300 + 20 * ROUNDS)
async def test_every_row_is_there_once_whatever_happens(tmp_path: Path) -> None:
    kinds = ["both killed", "nats paused", "node killed", "nats killed"]
    happens = [kinds[number % len(kinds)] for number in range(ROUNDS)]
    acknowledged: list[int] = []
    is_over = asyncio.Event()
    with nats_server(tmp_path / "nats") as nats:
        async with node_process(nats, "one", tmp_path / "log") as process:
            url = process.url

            async def write(writer: int) -> None:
                async with omendb_ws.connect(url, request_timeout_seconds=120) as db:
                    number = 0
                    while not is_over.is_set():
                        value = writer * 1_000_000 + number
                        await db.add("items", vectors=[[1.0, value]], metadata=[{"v": value}])
                        acknowledged.append(value)
                        number += 1

            async with omendb_ws.connect(url, request_timeout_seconds=120) as db:
                await db.create("items", dim=2, capacity=1_000_000, ids="auto", metric="dot")
                writers = [asyncio.create_task(write(one)) for one in range(WRITERS)]
                try:
                    for what in happens:
                        target = len(acknowledged) + 50
                        await eventually(
                            lambda target=target: (
                                len(acknowledged) >= target or any(one.done() for one in writers)
                            )
                        )
                        await happen(what, nats, process)
                    target = len(acknowledged) + 50
                    await eventually(lambda: len(acknowledged) >= target)
                finally:
                    is_over.set()
                    await asyncio.gather(*writers)
                described = await db.describe("items")
                assert described.rows == len(acknowledged)
                assert await values(db, described.last_seq) == sorted(acknowledged)
