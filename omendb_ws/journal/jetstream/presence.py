"""That this node is there: an entry of the bucket that it beats in, and a look at those of others.

This version serves a cluster from one node at a time; one that stands still for a second, by the
clock of who looks, is taken for gone. (Whoever is wrong about that harms nothing: the log alone
decides who appends.)
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from omendb_core.model.errors import OmenError, Unavailable

from .api import ApiError, JetStream
from .names import node_entry

log = logging.getLogger(__name__)

#: How often a node beats, and how long one must stand still to be taken for gone.
BEAT_SECONDS: Final = 0.25
GONE_SECONDS: Final = 1.0


class Presence:
    """Of ``node``; ``incarnation`` is this process's alone."""

    def __init__(self, jetstream: JetStream, node: str, incarnation: str) -> None:
        self._jetstream = jetstream
        self._node = node
        self._incarnation = incarnation
        self._beating: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Beat from now on. Unavailable if another node does."""
        others = await self._beats()
        if others:
            await asyncio.sleep(GONE_SECONDS)
            for entry, revision in (await self._beats()).items():
                if others.get(entry) != revision:
                    raise Unavailable(
                        f"cluster: node {entry.removeprefix('node.')} serves it; this version"
                        " serves a cluster from one node at a time"
                    )
            for entry in others:
                await self._jetstream.remove(entry)
        await self._beat()
        self._beating = self._jetstream.connection.begin(self._keep_beating())

    async def end(self) -> None:
        """Say that this node is gone."""
        if self._beating is not None:
            self._beating.cancel()
            await self._jetstream.remove(node_entry(self._node))

    async def _beats(self) -> dict[str, int]:
        """The nodes that are, or were, there: entry and revision."""
        found = {}
        for key in await self._jetstream.entries():
            if key.startswith("node."):
                entry = await self._jetstream.get(key)
                if entry is not None:
                    found[key] = entry.revision
        return found

    async def _beat(self) -> None:
        value = {"incarnation": self._incarnation}
        await self._jetstream.put(node_entry(self._node), value)

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self._beat()
            except (ApiError, OmenError) as error:
                log.debug("no heartbeat: %s", error)
