"""That this node is there: an entry of the bucket that it beats in, and one of what it holds.

A name is one process's at a time. Whoever starts under a name whose entry still moves is refused;
whoever died under it has left an entry that stands still. ``cluster/members.py`` is who reads them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import orjson
from omendb_core.model.errors import OmenError, Unavailable

from .api import ApiError, JetStream
from .names import held_entry, leaving_entry, node_entry

log = logging.getLogger(__name__)

#: How often a node beats, and how long one must stand still to be taken for gone, in seconds.
BEAT_SECONDS: Final = 0.25
GONE_SECONDS: Final = 1.0
#: How long a node that hears nothing of the bucket beats: it can decide nothing, so others are to.
DEAF_SECONDS: Final = 4.0


class Presence:
    """Of ``node``; ``incarnation`` is this process's alone, ``version`` that of its software."""

    def __init__(self, jetstream: JetStream, node: str, incarnation: str, version: str) -> None:
        self._jetstream = jetstream
        self._node = node
        self._incarnation = incarnation
        self._value: dict[str, Any] = {
            "incarnation": incarnation,
            "address": "",
            "version": version,
            "since": time.time(),
        }
        self._beating: asyncio.Task[None] | None = None
        #: The revision with which it took the name: who came later has the greater one.
        self._begun = 0
        #: Whether another process has taken the name: this one stood still, and says nothing more.
        self.is_replaced = False
        #: When the bucket was heard of last, by the connection's clock.
        self.heard_at: Callable[[], float] = lambda: jetstream.connection.now

    def advertise(self, address: str) -> None:
        """Say where others reach this node; before that they do not. From any thread."""
        self._value = self._value | {"address": address}

    async def begin(self) -> None:
        """Beat from now on. Unavailable if another process does, under this name."""
        entry = node_entry(self._node)
        before = await self._jetstream.get(entry)
        if before is not None and not before.value.get("left"):
            await asyncio.sleep(GONE_SECONDS)
            after = await self._jetstream.get(entry)
            if after is not None and after.revision != before.revision:
                raise _taken(self._node)
        try:
            revision = 0 if before is None else before.revision
            self._begun = await self._jetstream.put(entry, self._value, revision)
        except ApiError as error:
            if not error.is_wrong_last:
                raise
            if await self._jetstream.get(entry) is not None:
                raise _taken(self._node) from error
            self._begun = await self._jetstream.put(entry, self._value, 0)  # that one has left
        self._value = self._value | {"begun": self._begun}
        await self._jetstream.remove(leaving_entry(self._node))  # it was for the process before
        self._beating = self._jetstream.connection.begin(self._keep_beating())

    def heard(self, value: dict[str, Any], revision: int) -> None:
        """Its entry was read."""
        is_mine = value.get("incarnation") == self._incarnation
        if self.is_replaced or is_mine or value.get("begun", revision) < self._begun:
            return
        self.is_replaced = True
        if self._beating is not None:
            self._beating.cancel()
        log.critical(
            "another process is node %s of this cluster now: this one takes part in nothing any"
            " more; stop it, or the other one",
            self._node,
        )

    async def say(self, windows: dict[str, tuple[int, str, int]]) -> None:
        """Say what this node holds: version, state and rows by key; until it is said."""
        value = {"incarnation": self._incarnation, "windows": windows}
        while not self.is_replaced:
            try:
                await self._jetstream.put(held_entry(self._node), value)
                return
            except (ApiError, OmenError) as error:
                log.debug("what it holds is not said: %s", error)
            await asyncio.sleep(BEAT_SECONDS)

    async def end(self) -> None:
        """Say that this node is gone."""
        if self._beating is not None and not self.is_replaced:
            self._beating.cancel()
            await self._jetstream.put(node_entry(self._node), self._value | {"left": True})
            await self._jetstream.remove(held_entry(self._node))
            await self._jetstream.remove(leaving_entry(self._node))
            await self._jetstream.remove(node_entry(self._node))

    async def _keep_beating(self) -> None:
        """Without waiting for answers: the next beat says all that this one does."""
        subject = self._jetstream.subject_of(node_entry(self._node))
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            if self._jetstream.connection.now - self.heard_at() > DEAF_SECONDS:
                continue
            try:
                await self._jetstream.connection.client.publish(subject, orjson.dumps(self._value))
            except (ApiError, OmenError) as error:
                log.debug("no heartbeat: %s", error)
            except Exception as error:  # of nats-py, as its connection ends
                log.debug("no heartbeat: %s", error)


def _taken(node: str) -> Unavailable:
    return Unavailable(
        f"cluster: a node that is called {node} is alive; each needs a name of its own (node_name)"
    )
