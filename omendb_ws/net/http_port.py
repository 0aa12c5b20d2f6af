"""The port of the HTTP API as the server sees it, whether there is one or not.

What the API needs (FastAPI, uvicorn) is imported when there is to be one. Lives on the loop's
thread.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from ssl import SSLContext
from typing import TYPE_CHECKING, NamedTuple

from ..access.gate import Refused
from ..access.principal import Principal
from ..access.proxies import TrustedProxies
from ..http import routes
from ..node.config import Settings
from ..node.node import Node
from ..runtime.extras import load
from ..sessions.session import Session
from .crowd import Crowd
from .intake import Intake
from .sockets import place

if TYPE_CHECKING:
    from ..http.api.listener import HttpListener


class CannotListen(OSError):
    """The HTTP API's own port, ``number``, cannot be had."""

    def __init__(self, number: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.number = number


class Parts(NamedTuple):
    """What both ports share."""

    node: Node
    running: routes.Running
    policy: routes.Policy
    proxies: TrustedProxies
    who: Callable[[str | None], Awaitable[Principal | Refused | None]]
    may_enter: Callable[[], bool]
    strangers: Crowd
    known: Crowd
    admits: Callable[[int], bool]
    stall_seconds: float


class HttpPort:
    """``listen`` and ``close``, once each; without the setting ``http_port`` both do nothing.

    ``given``: a socket that listens already."""

    def __init__(self, settings: Settings, given: socket.socket | None = None) -> None:
        self._settings, self._given = settings, given
        self._listener: HttpListener | None = None

    @property
    def number(self) -> int | None:
        """The port, while there is one."""
        return None if self._listener is None else self._listener.port

    async def listen(self, parts: Parts, context: SSLContext | None, intake: Intake | None) -> None:
        """Listen, beside the other port. ExtraMissing; CannotListen."""
        port = self._settings.http_port
        if port is None:
            return
        listener = _listener(parts, self._settings)
        connecting = None if intake is None else intake.connecting
        tls = context if intake is None else None  # TLS is behind the PROXY header
        try:
            where = place(self._given, self._settings.host, port)
            await listener.start(where, tls, connecting)
        except OSError as error:
            raise CannotListen(port, error) from error
        self._listener = listener

    def sessions(self) -> list[Session]:
        """Those of its connections."""
        return [] if self._listener is None else self._listener.sessions()

    async def wait_gone(self) -> None:
        """The server leaves: end what goes on by itself, and wait until all have gone."""
        if self._listener is not None:
            await self._listener.wait_gone()

    async def close(self) -> None:
        """Listen no more, and end what is left."""
        if self._listener is not None:
            await self._listener.close()


def check_extra() -> None:
    """ExtraMissing without what the API needs."""
    load("the HTTP API needs", "http", "fastapi", "httptools", "uvicorn")


def _listener(parts: Parts, settings: Settings) -> HttpListener:
    check_extra()
    from ..http.api.gate import House
    from ..http.api.idempotency import Keys
    from ..http.api.listener import HttpListener

    context = parts.node.context
    house = House(
        context=context,
        policy=parts.policy,
        proxies=parts.proxies,
        who=parts.who,
        may_enter=parts.may_enter,
        open_session=parts.node.open_session,
        close_session=parts.node.close_session,
        running=parts.running,
        keys=Keys(settings.idempotency_seconds, settings.idempotency_keys, context.clock_us),
        default_capacity=settings.http_default_capacity,
    )
    return HttpListener(
        house,
        parts.strangers,
        parts.known,
        parts.admits,
        settings.http_idle_seconds,
        parts.stall_seconds,
    )
