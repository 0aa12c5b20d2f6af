"""Nodes of a cluster, in this process or as processes, over one NATS server of a test."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from omendb_ws.journal.jetstream.store import JetStreamStore
from omendb_ws.net.server import Server
from tests.cli.commands import environment
from tests.nats import NatsServer
from tests.nats_cluster import NatsServers
from tests.patience import PATIENCE_SECONDS, UNHURRIED_VARIABLES, eventually
from tests.server.raw import Raw, client, settings


@asynccontextmanager
async def node(nats: NatsServer, name: str = "one", **fields: Any) -> AsyncIterator[Server]:
    """A node in this process, everything stored being back or refused."""
    async with Server(settings(cluster=nats.url, node_name=name, **fields)) as server:
        await eventually(lambda: server.status() != "recovering")
        yield server


@asynccontextmanager
async def served(nats: NatsServer, name: str = "one", **fields: Any) -> AsyncIterator[Raw]:
    """A client of such a node."""
    async with node(nats, name, **fields) as server, client(server) as raw:
        yield raw


async def until_taken(raw: Raw, op: str, **fields: Any) -> dict[str, Any]:
    """Ask until the answer is no ``unavailable``: as clients do."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            reply = await raw.ask(op, **fields)
            if "ok" in reply:
                return dict(reply["ok"])
            assert reply["error"]["code"] == "unavailable", reply
            assert reply["error"]["retry"] is True
            await asyncio.sleep(0.02)


class NodeProcess:
    """``omendb-ws serve --cluster``, to be killed; its log is in ``log_file``."""

    def __init__(self, nats: NatsServer | NatsServers, name: str, log_file: Path) -> None:
        self._port = "0"
        self._arguments = ["--cluster", nats.url, "--node-name", name]
        self.log_file = log_file
        self.url = ""
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and return when it listens; on the port that it had before."""
        with open(self.log_file, "ab") as log:  # noqa: ASYNC230 - opened, and that is all
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "omendb_ws", "serve", "--port", self._port,
                "--log-format", "json", *self._arguments,
                stdout=asyncio.subprocess.PIPE, stderr=log,
                env=environment(**UNHURRIED_VARIABLES),
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await self._process.stdout.readline()
        assert line, self.log_file.read_text()[-4000:]
        ready = json.loads(line)
        self.url, self._port = ready["url"], str(ready["port"])

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    async def leave(self) -> None:
        """Have it end in order."""
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()

    async def kill(self) -> None:
        """kill -9; again and again."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def node_process(
    nats: NatsServer | NatsServers, name: str, log_file: Path
) -> AsyncIterator[NodeProcess]:
    """One that is started, and killed at the end."""
    process = NodeProcess(nats, name, log_file)
    try:
        await process.start()
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def follower_node(nats: NatsServer, name: str, owner: Server) -> AsyncIterator[Server]:
    """A node beside ``owner``; both do only what the test has them do."""
    assert not len(owner.context.catalog), "it would follow what is there"
    by_hand(owner)
    async with node(nats, name) as server:
        by_hand(server)
        yield server


def by_hand(server: Server) -> None:
    """Have a node follow, own, let go of and pass on nothing by itself from now on."""
    assert server.node.caretaker is not None
    server.context.cluster = None
    server.node.caretaker._agenda.steps = lambda *_: []  # type: ignore[method-assign]


async def follow_all(server: Server) -> None:
    """Have ``server`` follow what others own."""
    assert server.node.replicas is not None
    assert server.node._storage is not None
    catalog = server.context.catalog
    there = {(one.tenant, one.name) for one in catalog}
    for stored in await asyncio.wrap_future(server.node._storage.stored_now()):
        if (stored.tenant, stored.name) not in there:
            await server.node.replicas.follow(stored)


def store_of(server: Server) -> JetStreamStore:
    """Its store."""
    storage = server.node._storage
    assert storage is not None
    assert isinstance(storage._store, JetStreamStore)
    return storage._store
