"""The server: sockets around a ``Node``.

``async with Server(Settings(port=0)) as server:`` listens until the block ends, then drains. Each
connection gives its messages to its session, reading no further while that has no room, and sends
what its outbox holds.

Leaving: ``drain`` refuses new connections and requests, waits until everything accepted is answered
and sent, and closes with 1012 (PROTOCOL section 1).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Self, cast

from omendb_core.scoring.blas import use_threads
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from ..access.gate import Refused
from ..access.peer import Peer
from ..access.principal import OPEN, Principal
from ..access.proxies import TrustedProxies
from ..http import routes
from ..journal.interface import Store
from ..journal.local.store import LocalStore
from ..node.config import Settings
from ..node.node import Node
from ..node.reloading import Watched
from ..runtime import socket_logs
from ..runtime.accepting import stop_accepting
from ..runtime.descriptors import Descriptors
from ..runtime.faults import as_error
from ..runtime.machine import keep_freed_memory
from ..sessions.authentication import refuse_token
from ..sessions.context import monotonic_us
from ..sessions.receive import greet
from ..sessions.routing.vouched import VouchedSession
from ..sessions.session import Session
from ..sessions.traced import receiver
from ..telemetry.exposition import Page, render
from ..telemetry.tracing import Traces, exporting
from .admission import Admission, tell_version
from .connection import STALL_SECONDS, Connection
from .gauges import refresh, tenant_page
from .http_port import HttpPort, Parts
from .intake import Intake
from .intake import Limits as IntakeLimits
from .lines import line_opener
from .sockets import NO_SOCKETS, Sockets, place
from .tls import WatchedTls, authorities
from .watch import Watch

log = logging.getLogger(__name__)

#: PROTOCOL section 1.4: how long a connection may stay without a token.
AUTH_SECONDS: Final = 5.0
#: From the first byte of TLS or of a request to the end of that.
_HANDSHAKE_SECONDS: Final = 10.0
#: Pongs prove that a silent client is there. A client that is not read from, for want of room,
#: cannot answer: the timeout is longer than what ends a stalled connection.
_PING_INTERVAL_SECONDS: Final = 20.0
_PING_TIMEOUT_SECONDS: Final = 60.0
_CLOSE_TIMEOUT_SECONDS: Final = 5.0
#: What a leaving server gives clients to say goodbye, at least.
_CLOSE_GRACE_SECONDS: Final = 0.5
#: A socket's buffer in this process; what is in it can no longer be merged.
_WRITE_BUFFER_BYTES: Final = 64 << 10
#: While numpy works, the other thread runs; but a thread in pure Python lets go of the interpreter
#: only this often, and the engine asks for it back after every large operation. The default of 5 ms
#: is longer than a tick. Measured with 20,000 live pushes a second on two cores, by turns: while
#: little else ran, a median lag of 7 and 9 ms at 0.1 ms and of 20 ms at 0.5 ms; while others used a
#: core, no clear difference. Adds and searches: none beyond the noise.
SWITCH_INTERVAL_SECONDS: Final = 0.0001


class Server:
    """Listens, upgrades, serves, drains: ``async with Server(settings) as server``.

    All but ``settings`` and ``sockets`` is for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock_us: Callable[[], int] = monotonic_us,
        open_store: Callable[[str], Store] = LocalStore,
        traces: Traces | None = None,
        stall_seconds: float = STALL_SECONDS,
        auth_seconds: float = AUTH_SECONDS,
        sockets: Sockets = NO_SOCKETS,
    ) -> None:
        self.settings, self._sockets = settings, sockets
        traces = traces or exporting(settings.trace_endpoint, settings.trace_sample_ratio)
        self.node = Node(settings, clock_us, open_store, traces)
        self.context, self.metrics = self.node.context, self.node.context.metrics
        self.port, self._is_tls = settings.port, settings.tls_certificate_file is not None
        most = settings.max_connections + settings.max_unauthenticated_connections
        self._descriptors = Descriptors(most)
        self._auth_seconds, self._stall_seconds = auth_seconds, stall_seconds
        self._sessions: dict[Connection, Session] = {}
        self._watch = Watch(self.context, self._sessions, stall_seconds)
        self._strangers, self._known = self._watch.strangers, self._watch.known
        self._drain: asyncio.Task[None] | None = None
        #: Set when a leaving server need not wait for load balancers any longer.
        self._notice_over: asyncio.Event | None = None
        self._intake: Intake | None = None
        self._http = HttpPort(settings, sockets.http)
        self._loop: asyncio.AbstractEventLoop
        self._admission: Admission
        self._listener: WebSocketServer
        self._stall_watch: asyncio.Task[None]

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"{self._address('ws', self.port)}{routes.WEBSOCKET_PATH}"

    @property
    def http_url(self) -> str | None:
        """Where the HTTP API is, while there is one."""
        return None if self._http.number is None else self._address("http", self._http.number)

    def _address(self, scheme: str, port: int) -> str:
        host = self.settings.host
        secure = "s" if self._is_tls else ""
        return f"{scheme}{secure}://{f'[{host}]' if ':' in host else host}:{port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.drain()

    async def start(self) -> None:
        """Listen. OSError if the address cannot be had; see ``Node.start``."""
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        # A scan on two threads of BLAS takes as long as on one, and many times as long as soon as
        # anything else wants the second core (measured: 107 ms instead of 4 for one search).
        use_threads(1)
        keep_freed_memory()
        self._loop = asyncio.get_running_loop()
        for warning in self.settings.warnings():
            log.warning("%s", warning)
        self.node.start()
        try:
            verified_by = authorities(self.settings.cluster_ca_file)
            self.node.join(line_opener(self.context.limits.max_message_bytes, verified_by))
            self._descriptors.open()
            self._listener = await self._listen()
            try:
                self.port = self._listener.sockets[0].getsockname()[1]
                self.node.listens_at(self.url)
                self._stall_watch = asyncio.create_task(self._watch.run())
            except BaseException:
                self._listener.close()
                await self._listener.wait_closed()
                raise
        except BaseException:
            await self._http.close()
            self._descriptors.close()
            await self.node.stop()
            raise

    async def _listen(self) -> WebSocketServer:
        settings, limits = self.settings, self.context.limits
        tls = ssl = self._context_of_tls()
        is_open = self.context.gate.is_open
        policy = routes.Policy(is_open, settings.allow_origins, self.context.cluster is not None)
        hook = routes.process_request(policy, self, peer_of)
        proxies = TrustedProxies.parse(settings.trusted_proxies)
        newer_keys = self.node.keys.newer
        self._admission = Admission(self.context, self._known, proxies, hook, newer_keys)
        connecting: Callable[..., Any] = partial(
            Connection,
            strangers=self._strangers,
            known=self._known,
            admits=self._descriptors.admits,
        )
        if settings.proxy_protocol == "on":
            self._intake = self._make_intake(proxies, ssl)
            connecting, ssl = self._intake.connecting(connecting), None
        await self._http.listen(self._parts(policy, proxies), tls, self._intake)
        return await serve(
            self._connected,
            **place(self._sockets.websocket, settings.host, settings.port),
            create_connection=cast("type[ServerConnection]", connecting),
            process_request=self._admission.admit,
            process_response=tell_version,
            select_subprotocol=_select_subprotocol,
            compression=None,
            logger=socket_logs.logger(),
            server_header=None,
            max_size=limits.max_message_bytes if is_open else limits.max_unauthenticated_bytes,
            write_limit=_WRITE_BUFFER_BYTES,
            ping_interval=_PING_INTERVAL_SECONDS,
            ping_timeout=_PING_TIMEOUT_SECONDS,
            close_timeout=_CLOSE_TIMEOUT_SECONDS,
            ssl=ssl,
            open_timeout=_HANDSHAKE_SECONDS,
            ssl_handshake_timeout=None if ssl is None else _HANDSHAKE_SECONDS,
        )

    def _context_of_tls(self) -> SSLContext | None:
        certificate, key = self.settings.tls_certificate_file, self.settings.tls_key_file
        if not (certificate and key):
            return None
        watched = WatchedTls(certificate, key, self.metrics)
        self.node.reloads.watch(Watched("certificates", (certificate, key), watched.newer))
        return watched.context

    def _parts(self, policy: routes.Policy, proxies: TrustedProxies) -> Parts:
        return Parts(
            self.node, self, policy, proxies, self._admission.who, self._admission.may_enter,
            self._strangers, self._known, self._descriptors.admits, self._stall_seconds,
        )  # fmt: skip

    def _make_intake(self, proxies: TrustedProxies, ssl: SSLContext | None) -> Intake:
        most_waiting = self.context.limits.max_unauthenticated_connections
        limits = IntakeLimits(most_waiting, _HANDSHAKE_SECONDS, _CLOSE_TIMEOUT_SECONDS)
        admits, metrics = self._descriptors.admits, self.metrics
        return Intake(proxies, ssl, limits, admits, metrics, self.context.clock_us)

    async def drain(self) -> None:
        """Answer what was accepted, close everything, and stop. Idempotent."""
        if self._drain is None:
            self._drain = asyncio.create_task(self._leave())
        await asyncio.shield(self._drain)

    async def _leave(self) -> None:
        """Take leave; whatever faults on the way, nothing is left running, and nothing open."""
        try:
            await self._see_off()
        finally:
            try:
                try:
                    await self._http.close()
                finally:
                    try:
                        await stop_accepting(self._listener.server)
                    finally:
                        self._listener.close(code=1012)
                        await self._listener.wait_closed()
                        self._stall_watch.cancel()
                        await asyncio.wait([self._stall_watch])
            finally:
                try:
                    self._descriptors.close()
                except Exception as error:
                    as_error(error, "the end of the server")
                    self._descriptors.close()
                finally:
                    try:
                        await self.node.stop()
                    except Exception as error:
                        as_error(error, "the end of the server")
                        await self.node.stop()

    async def _see_off(self) -> None:
        self._notice_over = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_notice_seconds):
                await self._notice_over.wait()
        self.context.is_draining = True
        until = self._loop.time() + self.settings.drain_seconds
        waiting = [*self._sessions.values(), *self._http.sessions()]
        await self._all(until, (session.wait_idle() for session in waiting))
        for session in self._sessions.values():
            session.outbox.close(1012, "server draining, reconnect")
        connections = list(self._sessions)
        until = max(until, self._loop.time() + _CLOSE_GRACE_SECONDS)
        leaving = (connection.wait_closed() for connection in connections)
        await self._all(until, (*leaving, self._http.wait_gone()))
        for connection in self._sessions:
            connection.transport.abort()
        for stranger in self._strangers:
            stranger.shed()
        if self._intake is not None:
            self._intake.close()

    async def _all(self, until: float, waits: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Wait for all of ``waits``, but only until then."""
        tasks = [asyncio.create_task(wait) for wait in waits]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=max(until - self._loop.time(), 0.0))
            for task in late:
                task.cancel()

    # -- what HTTP asks (``routes.Running``) ------------------------------------------------------

    def status(self) -> routes.Status:
        """Whether all is well."""
        if self.context.is_draining:
            return "draining"
        return self.node.status() if self._notice_over is None else "leaving"

    def uptime_seconds(self) -> float:
        """Seconds since the server was made."""
        return self.context.clock_us() / 1e6 - self.metrics.started_seconds

    def stats(self, principal: Principal = OPEN) -> dict[str, Any]:
        """The statistics that ``principal`` sees."""
        return self.context.server_view.now(principal)

    def metrics_page(self, principal: Principal = OPEN, accept: str = "") -> Page:
        """The page of ``/metrics`` that ``principal`` sees."""
        if not principal.is_operator:
            return tenant_page(self.context.server_view, principal.tenant, accept)
        waiting = 0 if self._intake is None else len(self._intake)
        refresh(self.node, self._strangers, self._known, waiting, self.status())
        return render(self.metrics, accept)

    def authenticate(self, token: str) -> Principal | None:
        """Who a token is."""
        return self._admission.authenticate(token)

    # -- connections ------------------------------------------------------------------------------

    async def _connected(self, connection: ServerConnection) -> None:
        """The life of one connection."""
        assert isinstance(connection, Connection)
        assert connection.request is not None
        token = routes.token_of(connection.request.headers)
        is_node = connection.request.path == routes.LINK_PATH
        found = None if is_node else await self._admission.who(token)
        principal = found if isinstance(found, Principal) else None
        peer = connection.peer
        node = self.node
        session = node.open_link(peer) if is_node else node.open_session(principal, peer)
        deadline = None
        try:
            if session.principal is not None and not self.context.gate.is_open:
                self.context.logins.succeeded(session.principal, peer)
            connection.max_unread_bytes = self.context.limits.max_pending_bytes
            self._sessions[connection] = session
            deadline = self._admit_messages(connection, session, found)
            connection.attach(session, receiver(session), session.outbox)
            await connection.wait_closed()
        finally:
            if deadline is not None:
                deadline.cancel()
            self._sessions.pop(connection, None)
            self.node.close_session(session)

    def _admit_messages(
        self, connection: Connection, session: Session, found: Principal | Refused | None
    ) -> asyncio.TimerHandle | None:
        """Greet or refuse; what ends the time for a token, if it has to come."""
        full_bytes = self.context.limits.max_message_bytes
        session.may_enter = self._admission.may_enter
        session.on_authenticated = lambda: connection.allow(full_bytes)
        if session.principal is not None:
            connection.allow(full_bytes)
        elif isinstance(found, Refused):
            refuse_token(session, None, found.reason)
            return None
        elif session.is_refused:
            return None
        session.greet() if isinstance(session, VouchedSession) else greet(session)
        if session.principal is not None:
            return None
        return self._loop.call_later(self._auth_seconds, _refuse_stranger, session)


def peer_of(connection: ServerConnection) -> Peer:
    """Where its client is."""
    assert isinstance(connection, Connection)
    return connection.peer


def _refuse_stranger(session: Session) -> None:
    if session.principal is None and session.lane.is_open:
        session.refuse_connection("no token came in time")


def _select_subprotocol(
    connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    return routes.select_subprotocol(connection.protocol, offered)
