"""Servers in this process, reached without a socket: the far end of ``memory://``.

A ``LocalServer`` is a ``Node`` whose connections are pairs of channels. Everything above the
socket is the server's own (sessions, outboxes, codec, engine); here is only what ``server.py`` does
for a WebSocket: take messages while the session has room, send what its outbox holds. A server ends
with its last connection. Knows no ``websockets``.

What only strangers need is left out: tokens, origins, drains, the watch over readers that take
nothing (their connection's unsent bytes are bounded all the same).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from omendb_core.model.errors import BadRequest
from pydantic import ValidationError

from ..access.principal import OPEN
from ..runtime.channel import Channel
from ..runtime.faults import as_error
from ..runtime.transport import TEXT_MARK, Closed
from ..sessions.receive import greet
from ..sessions.session import Session
from ..sessions.traced import receiver
from ..wire.encoded import each
from ..wire.limits import LIMITS
from .config import Settings
from .node import Node

#: Settings that mean something without a socket.
LOCAL_SETTINGS: Final = frozenset(
    {*LIMITS, "queue_deadline_ms", "max_messages_per_second", "data_dir", "default_durability"}
)
#: Scan threads take turns at the interpreter's switch interval, and 5 ms is too long for that.
_OF_A_GUEST: Final = {"scan_threads": 1}
#: Messages that one connection may have handled before others get their turn.
_TURN_MESSAGES: Final = 16


class LocalServer:
    """A node that is reached by channels. Lives on the loop on which connections are made.

    ``is_ending``: its last connection went, and no other may be made. ``ended`` is set when its
    threads have ended and its files are closed; ``on_end`` is called then, too.

    Neither the interpreter's switch interval nor BLAS's threads are changed, as ``server.py`` does:
    the process is somebody else's.
    """

    def __init__(self, settings: Settings, on_end: Callable[[], None]) -> None:
        self.settings = settings
        self.is_ending = False
        self.ended = asyncio.Event()
        self._on_end = on_end
        self._node = Node(settings)
        self._connections: set[asyncio.Task[None]] = set()

    def connect(self, arriving: Channel, leaving: Channel) -> asyncio.Task[None]:
        """Serve a connection until either channel is closed; the task that does.

        The first one raises StorageFailed if the data directory cannot be used, Unavailable if
        another server does.
        """
        if not self._connections:
            self._node.start()
        session = self._node.open_session(OPEN)
        task = asyncio.get_running_loop().create_task(self._serve(session, arriving, leaving))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return task

    async def _serve(self, session: Session, arriving: Channel, leaving: Channel) -> None:
        """The life of one connection, and of the server with the last."""
        writer = asyncio.create_task(_write(session, leaving))
        writer.add_done_callback(lambda _: arriving.close(1006, "the server ended it"))
        try:
            greet(session)
            await _read(session, arriving)
        finally:
            self._node.close_session(session)
            leaving.close(1000, "")
            is_last = self.is_ending = self._node.context.metrics.connections == 0
            try:
                await asyncio.wait([writer])
                fault = None if writer.cancelled() else writer.exception()
                if isinstance(fault, Exception):
                    as_error(fault, "sending")
            finally:  # also when the loop is ending under it
                if is_last:
                    await self._stop()

    async def _stop(self) -> None:
        try:
            await self._node.stop()
        finally:
            self._on_end()
            self.ended.set()


async def _read(session: Session, arriving: Channel) -> None:
    """Take messages until the connection ends."""
    receive, handled = receiver(session).receive, 0
    with suppress(Closed):
        while True:
            message = await arriving.get()
            receive(message.decode() if message[0] == TEXT_MARK else message)
            if not session.has_room:
                room = asyncio.Event()
                session.when_room(room.set)
                await room.wait()
            handled += 1
            if handled % _TURN_MESSAGES == 0:
                await asyncio.sleep(0)


async def _write(session: Session, leaving: Channel) -> None:
    """Send what the outbox holds until the connection ends."""
    outbox, filled = session.outbox, asyncio.Event()
    outbox.on_filled = filled.set
    try:
        while session.lane.is_open:
            batch = outbox.take()
            if batch.messages:
                leaving.put([message.data for message in each(batch.messages)])
                await leaving.room()
                outbox.sent(batch)
            if batch.has_made:
                await asyncio.sleep(0)
            if batch.close is not None:
                return leaving.close(*batch.close)
            if not batch.messages and session.lane.is_open:
                await filled.wait()
                filled.clear()
    except Closed:
        pass
    finally:
        session.close()  # a reader that waits for room must not wait for it any longer


class LocalServers:
    """The servers that have a name, one for each; of one loop."""

    def __init__(self) -> None:
        self._servers: dict[str, LocalServer] = {}

    async def connect(
        self, name: str, given: Mapping[str, Any] | None, arriving: Channel, leaving: Channel
    ) -> asyncio.Task[None]:
        """Connect to the server of that name that runs, or to a new one.

        ``given``: as for ``local_settings``; None takes it as it is. BadRequest if it runs with
        other ones; what ``LocalServer.connect`` raises.
        """
        while (server := self._servers.get(name)) is not None and server.is_ending:
            await server.ended.wait()
        if server is None:
            server = LocalServer(local_settings(given), partial(self._forget, name))
            serving = server.connect(arriving, leaving)
            self._servers[name] = server
            return serving
        if given is not None and server.settings != local_settings(given):
            raise BadRequest(f"server_settings: memory://{name} runs already, with other settings")
        return server.connect(arriving, leaving)

    def _forget(self, name: str) -> None:
        del self._servers[name]


def local_settings(given: Mapping[str, Any] | None) -> Settings:
    """Settings of a server in this process; the environment is not read. BadRequest names each
    that is wrong."""
    given = {} if given is None else dict(given)
    if strange := sorted(given.keys() - LOCAL_SETTINGS):
        what = "no settings of a server in this process"
        raise BadRequest(f"server_settings: {', '.join(strange)}: {what}")
    try:
        return Settings(**{**_OF_A_GUEST, **given})
    except ValidationError as error:
        wrong = [f"{one['loc'][0]}: {one['msg']}" for one in error.errors(include_url=False)]
        raise BadRequest(f"server_settings: {'; '.join(wrong)}") from None
