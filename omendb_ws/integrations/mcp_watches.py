"""Watches of the MCP server: live queries as resources, whose readers are told when they change.

A watch is a live query and the task that reads it. Its resource is the answer of now; each answer
that comes replaces it, and its subscribers are told. Bounded: at most ``MAX_WATCHES``, and each
holds one answer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from omendb_ws import Client, LiveQuery
from omendb_ws.errors import BadRequest, NotFound, OmenError

from .mcp_tools import answer_document

MAX_WATCHES: Final = 100
PREFIX: Final = "omendb://watch/"


class Watch:
    """One live query: ``document`` is its answer, or why there will be none."""

    def __init__(self, uri: str, collection: str, live: LiveQuery) -> None:
        self.uri = uri
        self.collection = collection
        self.document: dict[str, Any] = {}
        self.live = live
        self.task: asyncio.Task[None] | None = None


class Watches:
    """All watches of a server. ``tell`` is awaited with the URI of each that has changed."""

    def __init__(self, db: Client, tell: Callable[[str], Awaitable[None]]) -> None:
        self._db = db
        self._tell = tell
        self._numbers = itertools.count(1)
        self._all: dict[str, Watch] = {}

    def __iter__(self) -> Any:
        return iter(list(self._all.values()))

    async def begin(self, asked: dict[str, Any]) -> Watch:
        """Begin one, and return it with its first answer. Raises the client's errors, Quota."""
        if len(self._all) >= MAX_WATCHES:
            raise BadRequest(f"at most {MAX_WATCHES} watches; end one with unwatch")
        live = self._db.live(**{"every_ms": 1000, **asked}, include=["metadata"])
        uri = f"{PREFIX}{next(self._numbers)}"
        watch = self._all[uri] = Watch(uri, asked["collection"], live)
        try:
            await live.__aenter__()
            watch.document = answer_document(await anext(live))
        except BaseException:
            del self._all[uri]
            await live.close()
            raise
        watch.task = asyncio.get_running_loop().create_task(self._follow(watch))
        return watch

    def named(self, uri: str) -> Watch:
        """The watch of a resource. Raises NotFound."""
        found = self._all.get(uri)
        if found is None:
            raise NotFound(f"{uri}: there is no such watch")
        return found

    async def end(self, uri: str) -> None:
        """End one. Raises NotFound."""
        watch = self.named(uri)
        del self._all[uri]
        await watch.live.close()
        if watch.task is not None:
            watch.task.cancel()
            await asyncio.wait([watch.task])

    async def close(self) -> None:
        """End all."""
        for uri in list(self._all):
            await self.end(uri)

    async def _follow(self, watch: Watch) -> None:
        try:
            async for answer in watch.live:
                changed = [{"id": one.id, "reason": one.reason} for one in answer.left]
                watch.document = {**answer_document(answer), "left": changed}
                await self._tell(watch.uri)
            watch.document = {"ended": f"{watch.collection} was dropped"}
        except OmenError as error:
            watch.document = {"ended": str(error)}
        await self._tell(watch.uri)
