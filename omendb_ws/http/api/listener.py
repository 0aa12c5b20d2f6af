"""The HTTP port: listens, watches its connections, leaves.

Built by ``net/http_port.py`` where ``http_port`` is set, and not imported before: a server without
it needs neither FastAPI nor uvicorn. Connections live on the server's loop.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from uvicorn import Config
from uvicorn.server import ServerState

from ...runtime.accepting import stop_accepting
from ...runtime.faults import as_error
from ...runtime.few_lines import FewLines, more
from ...sessions.session import Session
from . import collections, openapi, prototype_routes, rows, searches, snapshots, streams
from .api import Api
from .connection import HEAD_SECONDS, HttpConnection
from .gate import Gate, House
from .receiving import Pool, Port

log = logging.getLogger(__name__)

_BACKLOG: Final = 2048
#: How often all connections are looked at.
_LOOK_SECONDS: Final = 1.0
#: Before others have their turn: 5 µs each, and there may be 10,000.
_LOOKED_AT_ONCE: Final = 64
#: Of a body that is refused so much more is read, so that its client hears why.
_PASSED_OVER: Final = 2


def api_with_routes(*, needs_token: bool) -> Api:
    """The app with all routes; ``needs_token``: whether its server asks for one."""
    api = Api()
    for one in (
        searches,
        rows,
        streams,
        snapshots,
        collections,
        prototype_routes,
    ):  # in this order of looks
        one.add_routes(api)
    openapi.add_routes(api, needs_token=needs_token)
    return api


class HttpListener:
    """Listens between ``start`` and ``close``.

    ``connecting`` wraps what a socket is given to: the intake of PROXY headers, if there is one.
    """

    def __init__(
        self,
        house: House,
        strangers: Pool,
        known: Pool,
        admits: Callable[[int], bool],
        idle_seconds: float,
        stall_seconds: float,
    ) -> None:
        self._house = house
        self._stall_seconds = stall_seconds
        api = api_with_routes(needs_token=not house.policy.is_open)
        self.gate = Gate(house, api.routed, api.methods_of)
        config = Config(
            self.gate,
            http=HttpConnection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            loop="none",
        )
        config.load()
        self._state = ServerState()
        self._port = Port(
            config=config,
            strangers=strangers,
            known=known,
            admits=admits,
            max_body_bytes=_PASSED_OVER * house.context.limits.max_message_bytes,
            idle_seconds=idle_seconds,
            stall_seconds=stall_seconds,
            state=self._state,
            numbers=house.context.metrics.http,
            on_gone=self._note_gone,
        )
        #: Set when the last connection has gone, while somebody waits for that.
        self._all_gone: asyncio.Event | None = None
        self._lines = FewLines()
        self._server: asyncio.Server
        self._watching: asyncio.Task[None]
        self.port = 0

    def make(self) -> HttpConnection:
        """A connection for a socket to come."""
        return HttpConnection(self._port)

    async def start(
        self, where: dict[str, Any], context: ssl.SSLContext | None, connecting: Any = None
    ) -> None:
        """Listen ``where`` asyncio is told to. OSError if the address cannot be had."""
        loop = asyncio.get_running_loop()
        given: dict[str, Any] = {} if context is None else {"ssl_handshake_timeout": HEAD_SECONDS}
        self._server = await loop.create_server(
            self.make if connecting is None else connecting(self.make),
            ssl=context,
            backlog=_BACKLOG,
            **where,
            **given,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._watching = loop.create_task(self._watch())

    @property
    def connections(self) -> list[HttpConnection]:
        """Those of now."""
        return [one for one in self._state.connections if isinstance(one, HttpConnection)]

    def sessions(self) -> list[Session]:
        """Those of its connections: a server that leaves waits until they are idle."""
        return [one.conversation.session for one in self.connections if one.conversation]

    async def wait_gone(self) -> None:
        """End what goes on by itself, and wait until all have gone, and every add is done.

        Whoever comes back from a stream that ended finds nobody listening, and tries again later;
        by a 503 an ``EventSource`` gives up for good.
        """
        await stop_accepting(self._server)
        self._server.close()
        for session in self.sessions():
            if session.subscriptions:
                session.outbox.close(1012, "server draining, reconnect")
        for one in self.connections:
            one.end_idle()
        self._all_gone = asyncio.Event()
        if self._state.connections:
            await self._all_gone.wait()
        await self._house.keys.finish()

    async def close(self) -> None:
        """Listen no more. Idempotent."""
        try:
            await stop_accepting(self._server)
        finally:
            self._server.close()
            self._watching.cancel()
            await asyncio.wait([self._watching])
            for one in self.connections:
                one.leave()
                one.transport.abort()
            await self._house.keys.give_up()
            if self._state.tasks:
                await asyncio.wait(list(self._state.tasks))

    def _note_gone(self) -> None:
        if self._all_gone is not None and not self._state.connections:
            self._all_gone.set()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._stall_seconds / 10))
            self._try(self._forget_keys, "forgetting keys")
            for at, one in enumerate(self.connections, 1):
                self._try(partial(self._look, one, loop.time()), "watching an HTTP connection")
                if at % _LOOKED_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _try(self, look: Callable[[], None], doing: str) -> None:
        try:
            look()
        except Exception as error:
            self._house.context.metrics.faults += 1
            as_error(error, doing)

    def _forget_keys(self) -> None:
        keys = self._house.keys
        keys.forget_expired()
        self._house.context.metrics.http.idempotency_keys = len(keys)

    def _look(self, one: HttpConnection, now: float) -> None:
        reason = None if one.transport.is_closing() else one.look(now)
        if reason is None:
            return
        if reason == "idle":
            one.transport.close()
            return
        metrics = self._house.context.metrics
        metrics.shed_connections["stalled"] += 1
        metrics.http.shed_connections["stalled"] += 1
        passed_over = self._lines.next(round(now * 1e6))
        if passed_over is not None:
            log.info("ending an HTTP connection from %s: %s%s", one.peer, reason, more(passed_over))
        one.shed()
