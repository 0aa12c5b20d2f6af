"""The clients under test: asyncio and synchronous, over a socket and in this process.

A test is written once, against the asyncio client; ``Awaited`` makes the synchronous one look like
that, each of its calls in a thread. A ``Place`` is a fresh server that is reached by one of them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import numpy as np

import omendb_ws
import omendb_ws.sync
from tests import patience
from tests.client.common.http_bridge import bridged
from tests.patience import UNHURRIED
from tests.server.raw import running

#: ``make torture`` sets it: the same cases once more, through a bridge to the HTTP API.
OVER_HTTP = ("asyncio-http",) if os.environ.get("OVER_HTTP") else ()
KINDS = ("asyncio-socket", "sync-socket", "asyncio-memory", "sync-memory", *OVER_HTTP)
#: Bare ``memory://``: each client has a server of its own, so this is for tests of one client.
OWN = "asyncio-own-memory"
PATIENCE_SECONDS = patience.PATIENCE_SECONDS
#: Enough memory for every test, and small beside the machine's.
MAX_MEMORY_BYTES = 256 << 20

_names = count(1)


class Place:
    """One server. ``connect`` gives a client of the kind under test, as an async context."""

    def __init__(self, kind: str, url: str, options: dict[str, Any]) -> None:
        self.kind = kind
        self.url = url
        self._options = options

    @asynccontextmanager
    async def connect(self, **options: Any) -> AsyncIterator[Any]:
        options = {**self._options, **options}
        if self.kind.startswith("asyncio"):
            async with omendb_ws.connect(self.url, **options) as db:
                yield db
            return
        with ThreadPoolExecutor(64) as threads:
            db = Awaited(await call(threads, omendb_ws.sync.connect, self.url, **options), threads)
            try:
                yield db
            finally:
                await db.close()


@asynccontextmanager
async def opened(kind: str, **limits: Any) -> AsyncIterator[Place]:
    """A fresh server with these limits."""
    limits = {"max_memory_bytes": MAX_MEMORY_BYTES, **UNHURRIED, **limits}
    if kind.endswith("memory"):
        name = "" if kind == OWN else f"test-{next(_names)}"
        yield Place(kind, f"memory://{name}", {"server_settings": limits})
    elif kind.endswith("http"):
        async with running(http_port=0, **limits) as server, bridged(server) as url:
            yield Place(kind, url, {})
    else:
        async with running(**limits) as server:
            yield Place(kind, server.url, {})


async def call(threads: ThreadPoolExecutor, method: Any, *args: Any, **named: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(threads, lambda: method(*args, **named))


class Awaited:
    """A synchronous client whose calls are awaited."""

    def __init__(self, db: omendb_ws.sync.Client, threads: ThreadPoolExecutor) -> None:
        self._db = db
        self._threads = threads

    def __repr__(self) -> str:
        return repr(self._db)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._db, name)
        if name in ("live", "match", "novel", "feed") or name.startswith("watch_"):
            return lambda *args, **named: AwaitedSubscription(method(*args, **named), self._threads)
        return lambda *args, **named: call(self._threads, method, *args, **named)


class AwaitedSubscription:
    """A synchronous subscription whose steps are awaited."""

    def __init__(self, subscription: Any, threads: ThreadPoolExecutor) -> None:
        self._subscription = subscription
        self._threads = threads

    async def __aenter__(self) -> AwaitedSubscription:
        await call(self._threads, self._subscription.__enter__)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AwaitedSubscription:
        return self

    async def __anext__(self) -> Any:
        item = await call(self._threads, next, self._subscription, None)
        if item is None:
            raise StopAsyncIteration
        return item

    async def close(self) -> None:
        await call(self._threads, self._subscription.close)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._subscription, name)
        if not callable(found):
            return found
        return lambda *args, **named: call(self._threads, partial(found, **named), *args)


def vectors(count: int, dim: int = 4, seed: int = 1) -> Any:
    """Normal float32 (count, dim)."""
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
