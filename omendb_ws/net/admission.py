"""Who may go on from an HTTP request: what ``http/`` decides, and what needs the running server.

A wrong token is answered late, no more connections are upgraded than ``max_connections``, and what
was granted and refused is in the audit log. Lives on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

from omendb_core.model.errors import Forbidden, Overloaded, Unauthenticated
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidHeader, InvalidHeaderFormat
from websockets.headers import parse_extension
from websockets.http11 import Request, Response

from ..access.audit import OK
from ..access.gate import Refused
from ..access.principal import Principal
from ..access.proxies import TrustedProxies
from ..http import routes
from ..sessions.context import Context
from .connection import Connection
from .crowd import Crowd

_VERSION = "Sec-WebSocket-Version"
Hook = Callable[[ServerConnection, Request], Response | None]


class Admission:
    """``hook`` and ``known`` as ``Server`` has them; ``newer_keys`` fetches keys, if it may."""

    def __init__(
        self,
        context: Context,
        known: Crowd,
        proxies: TrustedProxies,
        hook: Hook,
        newer_keys: Callable[[], asyncio.Future[None] | None],
    ) -> None:
        self._context = context
        self._newer_keys = newer_keys
        self._known = known
        self._proxies = proxies
        self._hook = hook

    def admit(
        self, connection: ServerConnection, request: Request
    ) -> Response | Awaitable[Response] | None:
        """The response to a request; None: let the upgrade go on."""
        assert isinstance(connection, Connection)
        if connection.is_forwarded:
            forwarded_for = request.headers.get_all("X-Forwarded-For")
            connection.told_peer = self._proxies.client(connection.peer, forwarded_for)
        response = self._hook(connection, request)
        if response is not None:
            seconds = self._noted(connection, request, response)
            return _later(connection, response, seconds) if seconds else response
        extensions = request.headers.get_all("Sec-WebSocket-Extensions")
        if connection.head.has_body or not _are_well_formed(extensions):
            return routes.plain(HTTPStatus.BAD_REQUEST)
        return None if self.may_enter() else self._without_place(connection, request)

    def may_enter(self) -> bool:
        """Whether there is a place for one more."""
        return len(self._known) < self._context.limits.max_connections

    async def who(self, token: str | None) -> Principal | Refused | None:
        """Who comes with ``token``, by newer keys where those may know it; None: nobody says."""
        gate = self._context.gate
        if token is None and not gate.is_open:
            return None
        found = gate.look(token or "")
        if isinstance(found, Refused) and found.unknown_kid is not None:
            fetching = self._newer_keys()
            if fetching is not None:
                await asyncio.shield(fetching)
                return gate.look(token or "")
        return found

    def authenticate(self, token: str | None) -> Principal | None:
        """Who a token is."""
        found = None if token is None else self._context.gate.look(token)
        return found if isinstance(found, Principal) else None

    def _without_place(self, connection: Connection, request: Request) -> Response | None:
        """No, unless it stays a stranger for now."""
        if not self._context.gate.is_open:
            principal = self.authenticate(routes.token_of(request.headers))
            if principal is None:
                return None
            self._context.audit.enter("auth", Overloaded.code, principal, connection.peer)
        body = b"max_connections: the server has as many as it takes.\n"
        return routes.to_response(routes.Reply(HTTPStatus.SERVICE_UNAVAILABLE, body))

    def _noted(self, connection: Connection, request: Request, response: Response) -> float:
        """Enter what a guarded route said into the audit log; the seconds to say it after."""
        path = request.path.partition("?")[0]
        if path not in routes.GUARDED:
            return 0.0
        op, peer, audit = f"GET {path}", connection.peer, self._context.audit
        token = routes.token_of(request.headers)
        match response.status_code:
            case HTTPStatus.UNAUTHORIZED if token is None:
                audit.enter_stranger(op, Unauthenticated.code, peer, "no token")
            case HTTPStatus.UNAUTHORIZED:
                found = self._context.gate.look(token or "")
                reason = found.reason if isinstance(found, Refused) else "the token is not known"
                return self._context.logins.failed(peer, reason, op)
            case HTTPStatus.FORBIDDEN:
                principal = None if self._context.gate.is_open else self.authenticate(token)
                if principal is None:
                    audit.enter_stranger(op, Forbidden.code, peer, "of another Host or Origin")
                else:
                    audit.enter(op, Forbidden.code, principal, peer)
            case HTTPStatus.OK if not self._context.gate.is_open:
                audit.enter(op, OK, self.authenticate(token), peer)
        return 0.0


def tell_version(connection: ServerConnection, _: Request, response: Response) -> None:
    """To a client of another WebSocket version, which one there is (RFC 6455 section 4.4)."""
    error = connection.protocol.handshake_exc
    if isinstance(error, InvalidHeader) and error.name == _VERSION:
        response.status_code = HTTPStatus.UPGRADE_REQUIRED.value
        response.reason_phrase = HTTPStatus.UPGRADE_REQUIRED.phrase
        response.headers["Upgrade"] = "websocket"
        response.headers[_VERSION] = "13"


def _are_well_formed(extensions: Iterable[str]) -> bool:
    """What they are called does not matter: none is taken. (RFC 6455 section 9.1.)"""
    try:
        for one in extensions:
            parse_extension(one)
    except InvalidHeaderFormat:
        return False
    return True


async def _later(connection: ServerConnection, response: Response, seconds: float) -> Response:
    """``response`` after that time, or when nobody is there to hear it."""
    await asyncio.wait([connection.connection_lost_waiter], timeout=seconds)
    return response
