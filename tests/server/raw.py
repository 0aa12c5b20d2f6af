"""A client that knows nothing but the protocol, for tests of the server over real sockets.

It uses the wire's tables for binary messages and plain JSON for text, and never our own client.
Whatever does not come within ``PATIENCE_SECONDS`` hangs, and fails its test.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from omendb_core.model.change import RowBatch
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from omendb_ws.access.keyring import key_entry
from omendb_ws.engine.streams.commands import Gone
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from omendb_ws.wire import binary, binary_replies
from omendb_ws.wire.messages import Added, Live, Results, Rows
from tests import patience
from tests.patience import UNHURRIED, eventually

PATIENCE_SECONDS = patience.PATIENCE_SECONDS

#: name -> (tenant, rights) of the tokens that ``with_keys`` knows; the token is "token-" and name.
KEYS = {
    "root": ("acme", ("read", "write", "admin", "operator")),
    "reader": ("acme", ("read",)),
    "writer": ("acme", ("write",)),
    "boss": ("acme", ("read", "write")),
    "keeper": ("acme", ("admin",)),
    "other": ("umbrella", ("read", "write", "admin")),
}


class Clock:
    """A clock that stands until it is moved; for ``Server(clock_us=…)``."""

    def __init__(self) -> None:
        self.now_us = 1_000_000_000

    def __call__(self) -> int:
        return self.now_us

    def move(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)


class Raw:
    """One connection. Events that nobody waits for yet are kept in ``events``, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.hello: dict[str, Any] = {}
        self.events: list[dict[str, Any] | Live | Rows] = []
        self.replies: dict[int, Any] = {}
        self.order: list[Any] = []
        self._last_id = 0

    # -- sending

    async def send(self, op: str, *, id: int | None = None, **fields: Any) -> int:
        """Send a text request without waiting; its id."""
        if id is None:
            id = self.next_id()
        await self.send_text(orjson.dumps({"id": id, "op": op, **fields}))
        return id

    async def send_text(self, text: bytes | str) -> None:
        await self.socket.send(text, text=True)

    async def send_binary(self, frame: bytes) -> None:
        await self.socket.send(frame)

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # -- receiving

    async def message(self) -> Any:
        """The next message, decoded, and kept where it belongs."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            data = await self.socket.recv()
        if isinstance(data, bytes):
            decoded = binary_replies.decode_incoming(data)
            if isinstance(decoded, Live | Rows):
                self.events.append(decoded)
            else:
                self.replies[decoded[0]] = decoded[1]
        else:
            decoded = orjson.loads(data)
            if "event" in decoded:
                self.events.append(decoded)
            else:
                self.replies[decoded["id"]] = decoded
        self.order.append(decoded)
        return decoded

    async def reply(self, id: int) -> Any:
        """The reply to a request, whole: a dict, or Added or Results."""
        while id not in self.replies:
            await self.message()
        return self.replies.pop(id)

    async def event(self, is_wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """The first event that ``is_wanted``; others stay."""
        while True:
            for place, event in enumerate(self.events):
                if is_wanted(event):
                    return self.events.pop(place)
            await self.message()

    async def named(self, name: str) -> Any:
        """The first event of that name."""
        return await self.event(lambda one: isinstance(one, dict) and one["event"] == name)

    async def closed(self) -> int:
        """Read until the connection is closed; the close code."""
        try:
            while True:
                await self.message()
        except ConnectionClosed:
            assert self.socket.close_code is not None
            return self.socket.close_code

    # -- both

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The whole reply to a request."""
        reply = await self.reply(await self.send(op, **fields))
        assert isinstance(reply, dict)
        return reply

    async def ok(self, op: str, **fields: Any) -> dict[str, Any]:
        """The ``ok`` of a request that must succeed."""
        reply = await self.ask(op, **fields)
        assert "ok" in reply, reply
        return reply["ok"]

    async def error(self, op: str, **fields: Any) -> dict[str, Any]:
        """The ``error`` of a request that must fail."""
        reply = await self.ask(op, **fields)
        assert "error" in reply, reply
        return reply["error"]

    async def code(self, op: str, **fields: Any) -> str:
        """The code of a request that must fail."""
        return (await self.error(op, **fields))["code"]

    async def create(self, name: str = "items", **fields: Any) -> dict[str, Any]:
        """Create a small collection."""
        return await self.ok(
            "create", collection=name, **{"dim": 2, "capacity": 8, "metric": "dot", **fields}
        )

    async def add(self, *ids: int, name: str = "items", dim: int = 2) -> dict[str, Any]:
        """Add rows whose vectors begin with their id."""
        return await self.ok("add", collection=name, rows=rows(*ids, dim=dim))

    async def add_binary(self, handle: int, batch: RowBatch, **fields: Any) -> Added:
        """Add by a binary message that must succeed."""
        id = self.next_id()
        await self.send_binary(binary.encode_add(id, handle, batch, **fields))
        reply = await self.reply(id)
        assert isinstance(reply, Added), reply
        return reply

    async def search_binary(self, handle: int, vectors: Any, **fields: Any) -> Results:
        """Search by a binary message that must succeed."""
        id = self.next_id()
        frame = binary.encode_search(id, handle, np.asarray(vectors, np.float32), **fields)
        await self.send_binary(frame)
        reply = await self.reply(id)
        assert isinstance(reply, Results), reply
        return reply


def rows(*ids: int, dim: int = 2) -> list[dict[str, Any]]:
    """JSON rows: the vector of id i is (i, 1, 0 …)."""
    return [{"id": id, "vector": [float(id), 1.0, *[0.0] * (dim - 2)][:dim]} for id in ids]


def batch(*ids: int, dim: int = 2) -> RowBatch:
    """The same rows for a binary message."""
    vectors = np.zeros((len(ids), dim), np.float32)
    vectors[:, 0] = ids
    vectors[:, 1] = 1.0
    return RowBatch(vectors=vectors, ids=np.array(ids, np.uint64))


def settings(**fields: Any) -> Settings:
    """Settings on a free port, with a small budget; nothing is refused for having waited."""
    return Settings(**{"port": 0, "max_memory_bytes": 256 << 20, **UNHURRIED, **fields})


@asynccontextmanager
async def running(server: Server | None = None, **fields: Any) -> AsyncIterator[Server]:
    """A server, fresh unless it is given, until the block ends."""
    async with server or Server(settings(**fields)) as started:
        yield started


@asynccontextmanager
async def client(
    server: Server, *, token: str | None = None, greeted: bool = True, **options: Any
) -> AsyncIterator[Raw]:
    """A connection that has read its ``hello``."""
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    async with connect(
        server.url,
        subprotocols=["omendb.v1"],
        compression=None,
        additional_headers=headers,
        **{
            "max_size": None,
            "max_queue": None,
            "open_timeout": PATIENCE_SECONDS,
            "ping_interval": None,
            **options,
        },
    ) as socket:
        raw = Raw(socket)
        if greeted:
            raw.hello = await raw.named("hello")
        yield raw


@asynccontextmanager
async def engine_held(server: Server) -> AsyncIterator[None]:
    """The engine does nothing inside the block; what is queued there makes one tick after it."""
    entered, release = threading.Event(), threading.Event()

    class Hold(Gone):
        @property
        def stream(self) -> None:  # type: ignore[override]
            entered.set()
            release.wait(PATIENCE_SECONDS)

    server.context.engine.submit(object.__new__(Hold))
    try:
        await eventually(entered.is_set)
        yield
    finally:
        release.set()


async def queued(server: Server, count: int) -> None:
    """Return when ``count`` works wait for the engine."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.context.engine.depth < count:  # noqa: ASYNC110 - another thread
            await asyncio.sleep(0)


def with_keys(directory: Path, **fields: Any) -> Settings:
    """Settings of a server that knows ``KEYS``."""
    path = directory / "keys.toml"
    path.write_text(
        "\n".join(
            key_entry(name, tenant, rights, f"token-{name}")
            for name, (tenant, rights) in KEYS.items()
        )
    )
    path.chmod(0o600)
    return settings(api_key_file=str(path), **fields)
