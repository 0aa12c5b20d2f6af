"""What ``serve`` tells the service manager that runs it, if one does (``runtime/systemd.py``).

It is *ready* once everything stored was read and clients are served. Until then, and as long as its
watchdog is on, the manager hears beats that go through the engine: when the engine's thread or the
loop stands, none comes, and the manager ends and restarts the process.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ..runtime.systemd import Given, monotonic_usec

if TYPE_CHECKING:
    from ..net.server import Server
    from ..node.heartbeat import Heartbeat

#: How many beats there are in the time that the watchdog allows for one.
_BEATS: Final = 4
#: How often the engine is asked where there is no watchdog, and recovery is looked at.
_LOOK_SECONDS: Final = 0.25
#: By so much every beat puts off the end of a start that has much to read.
_STARTING_USEC: Final = 60_000_000
#: What an orderly end may take beside waiting for clients: queued work, the last flush.
_ENDING_SECONDS: Final = 30.0


class Supervised:
    """``begin`` when it listens, ``leave`` when it is told to, ``end`` in the end."""

    def __init__(self, given: Given) -> None:
        self._notifier = given.notifier
        self._watchdog_seconds = given.watchdog_seconds
        self._is_ready = self._is_leaving = False
        self._tasks: list[asyncio.Task[None]] = []
        self._telling = asyncio.Lock()

    def begin(self, server: Server) -> None:
        """From here on the manager hears how ``server`` goes."""
        if self._notifier is None:
            return
        from ..node.heartbeat import Heartbeat

        heartbeat = Heartbeat(server.context.engine, self._beat)
        self._tasks = [
            asyncio.create_task(self._ask(heartbeat)),
            asyncio.create_task(self._become_ready(server)),
        ]

    async def reload(self, server: Server) -> None:
        """Have files read again, and say when that begins and ends."""
        async with self._telling:  # two at once would be over when the first is
            await self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec()}")
            try:
                await server.node.read_again()
            finally:
                if self._is_ready and not self._is_leaving:
                    await self._tell("READY=1")

    async def leave(self, drain_seconds: float) -> None:
        """The server leaves, and waits so long for clients."""
        self._is_leaving = True
        usec = round((drain_seconds + _ENDING_SECONDS) * 1e6)
        await self._tell("STOPPING=1", f"EXTEND_TIMEOUT_USEC={usec}", "STATUS=waiting for clients")

    async def end(self) -> None:
        """Say nothing more."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _tell(self, *lines: str) -> None:
        if self._notifier is None:
            return
        try:
            await asyncio.to_thread(self._notifier.tell, *lines)
        except RuntimeError:  # the system has no thread to give: from here, then, and not waiting
            self._notifier.tell(*lines, may_wait=False)

    async def _ask(self, heartbeat: Heartbeat) -> None:
        seconds = self._watchdog_seconds
        while seconds or not self._is_ready:
            heartbeat.ask()
            await asyncio.sleep(seconds / _BEATS if seconds else _LOOK_SECONDS)

    def _beat(self) -> None:
        """The engine has been through a tick."""
        assert self._notifier is not None
        lines = [] if self._is_ready else [f"EXTEND_TIMEOUT_USEC={_STARTING_USEC}"]
        if self._watchdog_seconds is not None:
            lines.append("WATCHDOG=1")
        if lines:
            self._notifier.tell(*lines, may_wait=False)

    async def _become_ready(self, server: Server) -> None:
        recoveries = server.node.recoveries
        said = -1
        while recoveries is not None and recoveries.unread:
            if recoveries.unread != said:
                said = recoveries.unread
                await self._tell(f"STATUS=reading {said} of the stored collections")
            await asyncio.sleep(_LOOK_SECONDS)
        if self._is_leaving:
            return
        self._is_ready = True
        await self._tell("READY=1", f"STATUS=serving at {server.url}")
