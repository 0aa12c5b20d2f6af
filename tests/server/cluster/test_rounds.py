"""Rounds of what may happen to nodes and their NATS, under clients that keep a ledger.

Each row is added once by its client's pipeline, which repeats a batch under its number until it
is acknowledged: in the end every row is there, and no other. With three nodes, over one NATS or
three, all that was shown meanwhile is held to that, too (``witnesses.py``). ``make torture`` runs
hundreds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

import omendb_ws
from tests.nats import NatsServer, nats_server
from tests.nats_cluster import Member, NatsServers, nats_servers
from tests.patience import eventually
from tests.server.cluster.nodes import NodeProcess, node_process
from tests.server.cluster.witnesses import Witnesses, check_answers, read_all, vector

ROUNDS = int(os.environ.get("CLUSTER_ROUNDS", "2"))
NODE_ROUNDS = int(os.environ.get("CLUSTER_NODE_ROUNDS", "2"))
#: With three servers of NATS, which keep each change three times; none by default, as one takes
#: longer than all others together. ``test_three_nats.py`` kills one of three every time.
SERVER_ROUNDS = int(os.environ.get("CLUSTER_SERVER_ROUNDS", "0"))
#: Of what happens to whom.
SEED = int(os.environ.get("CLUSTER_SEED", "1"))
#: Where it is said how far the rounds are; nowhere by default.
PROGRESS_FILE = os.environ.get("CLUSTER_PROGRESS", "")
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


# -- three nodes ----------------------------------------------------------------------------------


class Stoppable(Protocol):
    """A server of NATS."""

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Three:
    """Three nodes over their servers of NATS, and what may happen to them.

    One of several servers stays away for a while: long enough for the others to elect, or not.
    """

    def __init__(self, servers: Sequence[Stoppable], nodes: list[NodeProcess], seed: int) -> None:
        self.servers, self.nodes = servers, nodes
        self._away_seconds = 8.0 if len(servers) > 1 else 0.0
        self._random = random.Random(seed)

    async def happen(self, what: str) -> None:
        node, server = self._random.choice(self.nodes), self._random.choice(self.servers)
        if what == "node and nats killed":
            await node.kill()
            await self._kill(server)
            await node.start()
        elif what == "nats killed":
            await self._kill(server)
        elif what == "nats paused":
            server.pause()
            await asyncio.sleep(self._random.random() * (2 + self._away_seconds))
            server.resume()
        elif what == "node paused":
            os.kill(node.pid, signal.SIGSTOP)
            await asyncio.sleep(self._random.random() * 3)
            os.kill(node.pid, signal.SIGCONT)
        elif what == "node killed":
            await node.kill()
            await node.start()
        else:
            await node.leave()
            await node.start()

    async def _kill(self, server: Stoppable) -> None:
        server.kill()
        await asyncio.sleep(self._random.random() * self._away_seconds)
        server.start()
        if isinstance(server, Member):
            await asyncio.to_thread(server.until_it_listens)


KINDS = [
    "node killed", "nats killed", "node paused", "node and nats killed", "nats paused",
    "node restarted",
]  # fmt: skip
#: With three servers; what they are about comes first.
SERVER_KINDS = [
    "node and nats killed", "nats killed", "nats paused", "node killed", "nats killed",
    "node paused", "node restarted",
]  # fmt: skip


@pytest.mark.timeout(300 + 30 * NODE_ROUNDS)
async def test_three_nodes_keep_every_promise_whatever_happens(tmp_path: Path) -> None:
    happens = [KINDS[number % len(KINDS)] for number in range(NODE_ROUNDS)]
    with nats_server(tmp_path / "nats") as nats:
        await run(tmp_path, nats, [nats], happens)


@pytest.mark.skipif(not SERVER_ROUNDS, reason="CLUSTER_SERVER_ROUNDS says how many; make torture")
@pytest.mark.timeout(300 + 45 * SERVER_ROUNDS)
async def test_over_three_servers_of_nats_too(tmp_path: Path) -> None:
    """One of them is stopped at a time, by itself or with a node."""
    happens = [SERVER_KINDS[number % len(SERVER_KINDS)] for number in range(SERVER_ROUNDS)]
    with nats_servers(tmp_path / "nats") as nats:
        await run(tmp_path, nats, nats.members, happens)


async def run(
    directory: Path,
    nats: NatsServer | NatsServers,
    servers: Sequence[Stoppable],
    happens: Sequence[str],
) -> None:
    """Three nodes under witnesses while it ``happens``; then what is there is checked."""
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(node_process(nats, name, directory / name))
            for name in ("one", "two", "three")
        ]
        three = Three(servers, nodes, SEED)
        witnesses = Witnesses([node.url for node in nodes], SEED)
        await witnesses.begin()
        try:
            await witnesses.progress(5)
            for number, what in enumerate(happens):
                await three.happen(what)
                await witnesses.progress(5)
                if PROGRESS_FILE:
                    report(number, witnesses)
            await witnesses.end()
        finally:
            await witnesses.stop()
        await check(witnesses, nodes)


def report(number: int, witnesses: Witnesses) -> None:
    """How far it is, for whoever waits for hundreds of rounds."""
    with open(PROGRESS_FILE, "a") as file:
        ledger = witnesses.ledger
        histories = len(witnesses.registers.histories)
        print(number + 1, len(ledger.added), ledger.answers, len(ledger.fed), histories, file=file)


async def check(witnesses: Witnesses, nodes: list[NodeProcess]) -> None:
    """Hold what is there to the ledger."""
    ledger = witnesses.ledger
    urls = [node.url for node in nodes]
    shown = await read_all(urls, "items")
    assert shown[0] == shown[1] == shown[2], "replicas differ"
    rows = shown[0]
    assert rows.keys() == ledger.added.keys(), "a row was lost, or is there that nobody added"
    assert all(one[1:] == (id, vector(id)) for id, one in rows.items()), "a row was altered"
    ids_by_seq = {one[0]: id for id, one in rows.items()}
    assert sorted(ledger.fed) == sorted(ids_by_seq.items()), "a feed missed or doubled a row"
    check_answers(ledger, ids_by_seq)
    witnesses.registers.check()
    others = await read_all(urls, "others")
    assert others[0] == others[1] == others[2], "replicas differ"
    there = others[0]
    assert there.keys() <= ledger.allowed.keys()
    for id, allowed in ledger.allowed.items():
        assert (there[id][1] if id in there else None) in allowed, id
    for node in nodes:
        log = node.log_file.read_text()
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
        assert "differ" not in log
