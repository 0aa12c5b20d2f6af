"""HTTP on the WebSocket's port: routes, and who may use them. PROTOCOL sections 1 and 10.

``decide`` is pure: method, path and headers in, a ``Reply`` (or None: let the upgrade go on) out.
What it must know of the running server it asks through ``Running``. ``process_request`` is the only
part that speaks websockets' types.

Why Host and Origin are checked: a browser lets any page open a WebSocket to any address, localhost
included, and sends the page's ``Origin`` along; so a foreign Origin is refused. A page can also
make its *own* name resolve to this machine (DNS rebinding), and then Origin and Host agree; so on a
server that asks for no token the Host itself must be a loopback name or one of the configured ones.
"""

from __future__ import annotations

import email.utils
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from .. import web
from .._version import VERSION
from ..access.origins import DEFAULT_PORTS, HostPort, is_loopback, parse_host, parse_origin
from ..access.peer import Peer
from ..access.principal import OPEN, Principal
from ..runtime.few_lines import FewLines, more
from ..telemetry.exposition import Page
from ..wire.opcodes import PROTOCOL
from .encodings import accepted

log = logging.getLogger(__name__)

WEBSOCKET_PATH: Final = "/v1"
#: Where other nodes of a cluster connect to.
LINK_PATH: Final = "/v1/link"
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_ALWAYS: Final = (("X-Content-Type-Options", "nosniff"),)
_UNCACHED: Final = ("Cache-Control", "no-store")
#: The console needs its own scripts and styles, and this server; nothing inline, nothing else.
_PAGE_HEADERS: Final = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
)


#: What a server is about; probes hear of it, and only ``ok`` is ready. ``storage_failed``: a log
#: cannot be written any more, and its collection takes no changes until a restart.
#: As in ``telemetry/prometheus.py``.
Status = Literal["ok", "recovering", "leaving", "draining", "storage_failed"]


class Running(Protocol):
    """What the routes ask of the running server; called on the event loop, must not block."""

    def status(self) -> Status:
        """Whether all is well."""
        ...

    def uptime_seconds(self) -> float:
        """Since the server was started."""
        ...

    def stats(self, principal: Principal) -> Mapping[str, Any]:
        """The statistics as the op ``stats`` gives them to ``principal`` (JSON values)."""
        ...

    def metrics_page(self, principal: Principal, accept: str) -> Page:
        """What metrics ``principal`` sees, in Prometheus' text format or OpenMetrics."""
        ...

    def authenticate(self, token: str) -> Principal | None:
        """Who ``token`` is; only called where authentication is on."""
        ...


class Lines(Protocol):
    """The headers of a request."""

    def get_all(self, key: str, /) -> list[str]:
        """Every value of a header, whatever the case of its name."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """Who may come in. ``allow_origins`` as ``Settings`` normalises them; ``is_open``: no keys;
    ``is_in_cluster``: other nodes, which prove that they are."""

    is_open: bool
    allow_origins: tuple[str, ...] = ()
    is_in_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A plain HTTP response."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


def decide(
    method: str, path: str, headers: Headers, policy: Policy, running: Running
) -> Reply | None:
    """The response to a request, or None where the WebSocket upgrade shall go on."""
    path = path.partition("?")[0]
    upgrade = bool(headers.get_all("Upgrade"))
    if path == LINK_PATH and policy.is_in_cluster and method == "GET" and upgrade:
        return _of_node(headers, running)
    is_known = path in _ROUTES or path in web.FILES
    if path != WEBSOCKET_PATH and (not is_known or upgrade):
        return _text(HTTPStatus.NOT_FOUND, "There is nothing here.")
    if method != "GET" and (method != "HEAD" or path == WEBSOCKET_PATH):
        return _text(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.", ("Allow", "GET, HEAD"))
    if path in web.FILES:
        return _file(path, headers, policy)
    if path in _PUBLIC:
        return _ROUTES[path](running, OPEN, "")
    refusal = refuse_foreign(headers, policy)
    if refusal is not None:
        return refusal
    if path == WEBSOCKET_PATH:
        if running.status() == "draining":
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "The server is leaving.")
        return None
    found = OPEN if policy.is_open else who_looks(headers, running)
    if isinstance(found, Reply):
        return found
    return _ROUTES[path](running, found, ", ".join(headers.get_all("Accept")))


def _of_node(headers: Headers, running: Running) -> Reply | None:
    """Another node proves who it is on the connection; no page of a browser is one."""
    if headers.get_all("Origin"):
        return _text(HTTPStatus.FORBIDDEN, "This is for other nodes of the cluster.")
    if running.status() == "draining":
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, "The server is leaving.")
    return None


def refuse_foreign(headers: Lines, policy: Policy) -> Reply | None:
    """400 or 403 where Host or Origin are not acceptable (PROTOCOL section 1.2)."""
    hosts = headers.get_all("Host")
    host = parse_host(hosts[0]) if len(hosts) == 1 else None
    if host is None:
        return _text(HTTPStatus.BAD_REQUEST, "One Host header is needed, as host or host:port.")
    if policy.is_open and not host_allowed(host, policy.allow_origins):
        return _text(
            HTTPStatus.FORBIDDEN,
            f"Host {host.host} is not allowed: this server has no authentication, so it answers"
            " only to loopback names and to the hosts of allow_origins.",
        )
    for origin in headers.get_all("Origin"):
        if not origin_allowed(origin, host, policy.allow_origins):
            return _text(
                HTTPStatus.FORBIDDEN,
                "This Origin is not allowed: it is neither this server's own nor one of"
                " allow_origins.",
            )
    return None


def host_allowed(host: HostPort, allow_origins: Sequence[str]) -> bool:
    """Whether an open server may be called ``host``; the port does not matter (DNS has none)."""
    if is_loopback(host.host):
        return True
    return any(
        origin is not None and origin.host == host.host
        for origin in map(parse_origin, allow_origins)
    )


def origin_allowed(text: str, host: HostPort, allow_origins: Sequence[str]) -> bool:
    """Whether a page of the origin ``text`` may use the server that was called ``host``.

    The server's own origin is the one with the host and port of ``Host``; its scheme is not
    compared, because a proxy in front may add TLS.
    """
    origin = parse_origin(text)
    if origin is None:
        return False
    if str(origin) in allow_origins:
        return True
    own_port = host.port if host.port is not None else DEFAULT_PORTS[origin.scheme]
    return (origin.host, origin.port) == (host.host, own_port)


def token_of(headers: Lines) -> str | None:
    """The token of ``Authorization: Bearer`` or ``X-API-Key``; None without one.

    Contradictory ones are the empty token, which is nobody's.
    """
    tokens = {value.strip() for value in headers.get_all("X-API-Key")}
    for value in headers.get_all("Authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            tokens.add(token.strip())
    if not tokens:
        return None
    return tokens.pop() if len(tokens) == 1 else ""


def who_looks(headers: Headers, running: Running) -> Principal | Reply:
    """Who wants to see numbers, the server's or its tenant's; 401 or 403 if it may see neither."""
    token = token_of(headers)
    principal = None if token is None else running.authenticate(token)
    if principal is None:
        said = "A token is needed" if token is None else "The token is not known"
        return _text(
            HTTPStatus.UNAUTHORIZED,
            f"{said}. Send it as Authorization: Bearer TOKEN or X-API-Key: TOKEN.",
            ("WWW-Authenticate", "Bearer"),
        )
    if not principal.sees_numbers:
        return _text(
            HTTPStatus.FORBIDDEN,
            "This token has neither the right operator nor admin on all collections.",
        )
    return principal


def select_subprotocol(_: object, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """omendb.v1 where it is offered, nothing where nothing is, else HTTP 400."""
    if not offered:
        return None
    if PROTOCOL in offered:
        return Subprotocol(PROTOCOL)
    raise NegotiationError(f"the subprotocol here is {PROTOCOL}")


def _other_end(connection: ServerConnection) -> Peer:
    return Peer.of(connection.remote_address)


def process_request(
    policy: Policy,
    running: Running,
    peer_of: Callable[[ServerConnection], Peer] = _other_end,
) -> Callable[[ServerConnection, Request], Response | None]:
    """The hook for ``websockets.asyncio.server.serve``."""

    lines = FewLines()

    def hook(connection: ServerConnection, request: Request) -> Response | None:
        reply = decide(request.method, request.path, request.headers, policy, running)
        if reply is None:
            return None
        is_refused = reply.status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED)
        passed_over = lines.next(time.monotonic_ns() // 1000) if is_refused else None
        if passed_over is not None:
            log.info(
                "refused %s from %s: %d %s%s",
                request.path.partition("?")[0],
                peer_of(connection),
                reply.status,
                reply.body.decode().strip().partition(". ")[0].removesuffix("."),
                more(passed_over),
            )
        return to_response(reply, with_body=request.method != "HEAD")

    return hook


def plain(status: HTTPStatus) -> Response:
    """The response to what is no request."""
    return to_response(_text(status, status.phrase))


def to_response(reply: Reply, *, with_body: bool = True) -> Response:
    """``reply`` as websockets sends it; to HEAD without the body that its headers describe."""
    headers = Headers(
        [
            ("Date", email.utils.formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Length", str(len(reply.body))),
            ("Content-Type", reply.content_type),
            *_ALWAYS,
            *reply.headers,
        ]
    )
    headers.setdefault(*_UNCACHED)
    if reply.status is HTTPStatus.NOT_MODIFIED:
        del headers["Content-Length"]  # it would be that of the file
    body = reply.body if with_body else b""
    return Response(reply.status.value, reply.status.phrase, headers, body)


def _text(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Reply:
    return Reply(status, f"{text}\n".encode(), headers=headers)


def _file(path: str, headers: Headers, policy: Policy) -> Reply:
    """A file of the browser's, for pages of this server and of allowed origins."""
    file = web.load(path)
    always = [("Cache-Control", "no-cache"), ("Vary", "Origin, Accept-Encoding")]
    if file.content_type == web.HTML:
        always += _PAGE_HEADERS
    for origin in headers.get_all("Origin"):
        hosts = headers.get_all("Host")
        host = parse_host(hosts[0]) if len(hosts) == 1 else None
        if host is not None and origin_allowed(origin, host, policy.allow_origins):
            always.append(("Access-Control-Allow-Origin", origin))
    takes = accepted(headers.get_all("Accept-Encoding"))
    if takes.gzip and (file.is_worth_gzip or not takes.identity):
        content = file.gzipped
        always.append(("Content-Encoding", "gzip"))
    elif takes.identity:
        content = file.plain
    else:
        return _text(HTTPStatus.NOT_ACCEPTABLE, "There is gzip, and identity.", *always)
    always.append(("ETag", content.etag))
    if _is_known(content.etag, headers):
        return Reply(HTTPStatus.NOT_MODIFIED, b"", file.content_type, tuple(always))
    return Reply(HTTPStatus.OK, content.body, file.content_type, tuple(always))


def _is_known(etag: str, headers: Headers) -> bool:
    """Whether ``If-None-Match`` names ``etag``; a proxy may have made it a weak one."""
    values = ",".join(headers.get_all("If-None-Match")).split(",")
    return not {etag, "*"}.isdisjoint(value.strip().removeprefix("W/") for value in values)


def _livez(_: Running, __: Principal, ___: str) -> Reply:
    return _text(HTTPStatus.OK, "ok")


def _readyz(running: Running, _: Principal, __: str) -> Reply:
    status = running.status()
    if status == "ok":
        return _text(HTTPStatus.OK, "ok")
    return _text(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {status}")


def health(running: Running) -> dict[str, Any]:
    """What ``/health`` says."""
    return {
        "status": running.status(),
        "version": VERSION,
        "uptime_s": round(running.uptime_seconds(), 3),
    }


def _health(running: Running, _: Principal, __: str) -> Reply:
    return _json(health(running))


def _stats(running: Running, principal: Principal, _: str) -> Reply:
    return _json(running.stats(principal))


def _metrics(running: Running, principal: Principal, accept: str) -> Reply:
    page = running.metrics_page(principal, accept)
    return Reply(HTTPStatus.OK, page.body, page.content_type)


def _json(document: Mapping[str, Any]) -> Reply:
    return Reply(HTTPStatus.OK, orjson.dumps(document) + b"\n", _JSON)


#: What is there, for whoever looks, in the form that the header Accept asks for.
_ROUTES: Final[dict[str, Callable[[Running, Principal, str], Reply]]] = {
    "/livez": _livez,
    "/readyz": _readyz,
    "/health": _health,
    "/stats": _stats,
    "/metrics": _metrics,
}
#: Answered to anybody: probes come by bare addresses, and nothing in these is worth hiding.
_PUBLIC: Final = frozenset({"/livez", "/readyz", "/health"})
#: Those that are not for everybody, the WebSocket's among them.
GUARDED: Final = frozenset({WEBSOCKET_PATH, *_ROUTES}) - _PUBLIC
