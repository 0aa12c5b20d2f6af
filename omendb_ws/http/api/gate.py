"""Who may ask: what every HTTP request passes before its route, and where refusals are written.

Host and Origin are looked at as on the WebSocket's port, pages of allowed origins are told that
they may read the answer (CORS), and a token becomes a conversation: the connection's own, as long
as the same token comes. What a route, FastAPI or this raises becomes the error object. Lives on
the loop's thread.
"""

from __future__ import annotations

import asyncio
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from omendb_core.model.errors import (
    BadRequest,
    Draining,
    Forbidden,
    OmenError,
    Overloaded,
    Unauthenticated,
    Unavailable,
)
from starlette.exceptions import HTTPException

from ...access.gate import Refused as TokenRefused
from ...access.peer import Peer
from ...access.principal import OPEN, Principal
from ...access.proxies import TrustedProxies
from ...runtime.faults import as_error
from ...sessions.context import Context
from ...sessions.session import PLACE_AFTER_MS, Session
from ...telemetry.metrics import Metrics
from .. import routes
from .body import Body, Gone
from .connection import HttpConnection
from .conversation import Conversation, Ended
from .idempotency import Keys
from .refusals import Refused, nothing_here, other_method

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]

#: How long a browser remembers what it was told it may ask.
_PREFLIGHT_SECONDS: Final = 600
_ALLOWED_HEADERS: Final = (
    "Authorization, X-API-Key, Content-Type, Content-Encoding, Idempotency-Key, Last-Event-ID"
)
#: Probes come by bare addresses.
_PUBLIC: Final = frozenset({"/health"})
_NO_ONE_TOKEN: Final = "the token is empty, or Authorization and X-API-Key hold two tokens"
_EXPOSED_HEADERS: Final = "Retry-After, WWW-Authenticate"


class HeaderLines:
    """The headers of a request, by their names in lower case."""

    __slots__ = ("_lines",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._lines: dict[str, list[str]] = {}
        for name, value in raw:
            self._lines.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))

    def get_all(self, name: str) -> list[str]:
        """Every value, in order."""
        return self._lines.get(name.lower(), [])

    def get(self, name: str) -> str | None:
        """The value, the first of several."""
        values = self._lines.get(name)
        return values[0] if values else None


@dataclass(slots=True, eq=False)
class House:
    """What is asked of the running server.

    ``who`` says who a token is, waiting for newer keys where those may know it. ``keys``: what was
    asked with an ``Idempotency-Key``. ``default_capacity``: of the collection ``default``.
    """

    context: Context
    policy: routes.Policy
    proxies: TrustedProxies
    who: Callable[[str], Awaitable[Principal | TokenRefused | None]]
    may_enter: Callable[[], bool]
    open_session: Callable[[Principal, Peer], Session]
    close_session: Callable[[Session], None]
    running: routes.Running
    keys: Keys
    default_capacity: int


class Asking:
    """One request: its headers, its connection, and by ``enter`` the conversation that it is in."""

    __slots__ = ("_house", "body", "connection", "headers", "method", "path", "peer", "query")

    def __init__(self, house: House, scope: Scope) -> None:
        self._house = house
        self.connection: HttpConnection = scope["state"]["connection"]
        self.body: Body = scope["state"]["body"]
        self.query: bytes = scope["query_string"]
        self.headers = HeaderLines(scope["headers"])
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        peer = self.connection.peer
        if self.connection.is_forwarded:
            peer = house.proxies.client(peer, self.headers.get_all("X-Forwarded-For"))
        self.peer = peer

    @property
    def context(self) -> Context:
        """The server's parts."""
        return self._house.context

    @property
    def house(self) -> House:
        """What may be asked of the server."""
        return self._house

    @property
    def traceparent(self) -> str | None:
        """The header; None where there is none, or several."""
        lines = self.headers.get_all("traceparent")
        return lines[0] if len(lines) == 1 else None

    async def enter(self) -> Conversation:
        """The conversation of this connection and token. Raises Refused: 401, 503."""
        connection, token = self.connection, routes.token_of(self.headers)
        there = connection.conversation
        if there is not None and there.token == token and not there.is_over:
            there.come_from(self.peer)
            there.is_part_of(self.traceparent)
            return there
        connection.leave()
        principal = OPEN if self.context.gate.is_open else await self._login(token)
        house = self._house
        if house.context.is_draining:
            raise Draining("the server is leaving; reconnect")
        if connection.is_stranger and not house.may_enter():
            raise Overloaded(
                "max_connections: the server has as many as it takes",
                retry_after_ms=PLACE_AFTER_MS,
            )
        session = house.open_session(principal, self.peer)
        try:
            if not self.context.gate.is_open and not session.is_refused:
                self.context.logins.succeeded(principal, self.peer)
            found = Conversation(session, token, lambda: self._close(session), connection)
        except BaseException:
            house.close_session(session)
            raise
        if connection.transport.is_closing():
            found.close()
            raise Ended
        found.is_part_of(self.traceparent)
        connection.conversation = found
        if not session.is_refused:  # its tenant has no place: it takes none of others' either
            connection.become_known()
        return found

    def _close(self, session: Session) -> None:
        if session.lane.is_open:
            self._house.close_session(session)

    async def _login(self, token: str | None) -> Principal:
        context = self.context
        op = f"{self.method} {routes_path(self.path)}"
        if token is None:
            context.audit.enter_stranger(op, Unauthenticated.code, self.peer, "no token")
            raise Unauthenticated(
                "a token is needed: Authorization: Bearer TOKEN, or X-API-Key: TOKEN"
            )
        found = await self._house.who(token)
        if isinstance(found, Principal):
            return found
        reason = found.reason if found is not None else "the token is not known"
        seconds = context.logins.failed(self.peer, reason, op)
        if seconds:
            await asyncio.sleep(seconds)
        raise Unauthenticated("the token is not known" if token else _NO_ONE_TOKEN)


def routes_path(path: str) -> str:
    """What of a path is entered into the audit log: ids of rows and more are left out."""
    return "/".join(path.split("/", 5)[:5])[:200]


class Gate:
    """The outermost ASGI app: lets requests through to ``routed``, and answers what it refuses."""

    def __init__(self, house: House, routed: App, methods_of: Callable[[Scope], list[str]]) -> None:
        self._house = house
        self._routed = routed
        self._methods_of = methods_of
        self._date_at = 0
        self._date = b""

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer one request."""
        numbers = self._house.context.metrics.http
        numbers.requests[scope["method"]] += 1
        numbers.requests_under_way += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            numbers.requests_under_way -= 1

    async def _answer(self, scope: Scope, receive: Any, send: Send) -> None:
        connection, metrics = scope["state"]["connection"], self._house.context.metrics
        answer = _Answer(connection, send, [(b"date", self._now())], metrics)
        try:
            await self._let_through(scope, receive, answer)
        except Gone:
            scope["state"]["connection"].give_up()
        except Ended:
            if answer.has_begun:
                scope["state"]["connection"].give_up()
            else:
                await answer.refuse(Refused.of(Unavailable("its session has ended; ask again")))
        except Exception as error:
            if answer.has_begun:
                as_error(error, "an HTTP answer that had begun")
                self._house.context.metrics.faults += 1
                scope["state"]["connection"].give_up()
            else:
                await answer.refuse(self._refused(error, scope))

    async def _let_through(self, scope: Scope, receive: Any, answer: _Answer) -> None:
        scope["path"] = _path(scope)
        asking = Asking(self._house, scope)
        scope["state"]["asking"] = asking
        is_public = asking.path in _PUBLIC
        refusal = routes.refuse_foreign(asking.headers, self._house.policy)
        if refusal is not None and not is_public:
            self._log_foreign(asking, refusal.status)
            text = refusal.body.decode().strip()
            is_bad = refusal.status is HTTPStatus.BAD_REQUEST
            raise BadRequest(text) if is_bad else Forbidden(text)
        origin = asking.headers.get("origin")
        if origin is not None and refusal is None:
            answer.headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", _EXPOSED_HEADERS.encode()),
                (b"vary", b"Origin"),
            ]
        if asking.method == "OPTIONS":
            await self._tell_methods(scope, asking, answer)
        else:
            await self._routed(scope, receive, answer)

    async def _tell_methods(self, scope: Scope, asking: Asking, answer: _Answer) -> None:
        """What may be asked there; to a browser, before it asks for a page."""
        allowed = ", ".join([*self._methods_of(scope), "OPTIONS"])
        headers = [("Allow", allowed)]
        if asking.headers.get("access-control-request-method") is not None:
            headers += [
                ("Access-Control-Allow-Methods", allowed),
                ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
                ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
            ]
        await answer.send_whole(204, b"", headers)

    def _refused(self, error: Exception, scope: Scope) -> Refused:
        if isinstance(error, Refused):
            return error
        if isinstance(error, HTTPException):
            if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                return other_method(", ".join([*self._methods_of(scope), "OPTIONS"]))
            return nothing_here()
        told = error if isinstance(error, OmenError) else as_error(error, f"HTTP {scope['path']}")
        if told is not error:
            self._house.context.metrics.faults += 1
        return Refused.of(told)

    def _log_foreign(self, asking: Asking, status: int) -> None:
        if status == HTTPStatus.FORBIDDEN:
            op = f"{asking.method} {routes_path(asking.path)}"
            self._house.context.audit.enter_stranger(
                op, Forbidden.code, asking.peer, "of another Host or Origin"
            )

    def _now(self) -> bytes:
        now = int(time.time())
        if now != self._date_at:
            self._date_at, self._date = now, formatdate(now, usegmt=True).encode()
        return self._date


class _Answer:
    """ASGI's ``send`` of one request, with the headers of every answer."""

    __slots__ = ("_connection", "_metrics", "_send", "has_begun", "headers")

    def __init__(
        self,
        connection: HttpConnection,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        metrics: Metrics,
    ) -> None:
        self._connection = connection
        self._metrics = metrics
        self._send = send
        self.headers = [*headers, (b"x-content-type-options", b"nosniff")]
        self.has_begun = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if self._connection.is_gone:
            return
        if not self.has_begun:
            self.has_begun = True
            self._metrics.http.answers[str(message["status"])] += 1
            given = message.get("headers", ())
            message["headers"] = [*given, *self.headers]
            if not any(name == b"cache-control" for name, _ in given):
                message["headers"].append((b"cache-control", b"no-store"))
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        headers = [("Content-Type", "application/json"), *refused.headers]
        await self.send_whole(refused.status, refused.body, headers)

    async def send_whole(
        self, status: int, body: bytes, headers: Iterable[tuple[str, str]]
    ) -> None:
        lines = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        if status != HTTPStatus.NO_CONTENT:
            lines.append((b"content-length", b"%d" % len(body)))
        await self({"type": "http.response.start", "status": status, "headers": lines})
        await self({"type": "http.response.body", "body": body})


def _path(scope: Scope) -> str:
    """The path as it is meant. BadRequest if it is no text."""
    raw: bytes = scope["raw_path"]
    if b"%" not in raw:
        path: str = scope["path"]
        return path
    try:
        return urllib.parse.unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest("path: not UTF-8 where it is percent-encoded") from None
