"""The head of an HTTP request on the WebSocket's port, and the PROXY header before it.

However its bytes come, the head is the same, and at most so long. What websockets parses out of it
is answered, or an upgrade: a status that the routes have, headers that no value of the request can
break out of, and no number of the server for anybody without the right to see it.
"""

from __future__ import annotations

import warnings
from http import HTTPStatus

from websockets.http11 import Request
from websockets.server import ServerProtocol

from omendb_ws.access.peer import Peer
from omendb_ws.http import routes
from omendb_ws.http.routes import Policy, decide, process_request, to_response
from omendb_ws.net.proxy_protocol import MOST_BYTES, ProxyHeaderError, Source, read
from omendb_ws.net.request_head import MAX_HEAD_BYTES, RequestHead, fault_of
from tests.fuzz.target import Bounds, Target
from tests.server.http.test_http import Fake

POLICIES = [
    Policy(is_open=True),
    Policy(is_open=True, allow_origins=("https://example.org",)),
    Policy(is_open=False, allow_origins=("https://example.org",)),
]
STATUSES: list[routes.Status] = ["ok", "draining", "recovering"]
ANSWERS = {
    HTTPStatus.OK, HTTPStatus.NOT_MODIFIED, HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.SERVICE_UNAVAILABLE,
}  # fmt: skip
NUMBERS = (b'"connections":3', b"omendb_rows 3")


def fuzz(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = fed(data, len(data) or 1)
        for size in (1, 3, 64):
            assert fed(data, size) == whole
        head, rest, fault, has_body = whole
        if head is None:
            assert fault in (None, HTTPStatus.BAD_REQUEST)
            return
        assert len(head) <= MAX_HEAD_BYTES
        assert data.endswith(rest)
        request = parsed(head)
        if request is None:
            assert fault_of(head).value in (400, 505)
            return
        assert isinstance(has_body, bool)
        for policy in POLICIES:
            for status in STATUSES:
                check_answer(request, policy, Fake(status=status))


def fed(data: bytes, size: int) -> tuple[bytes | None, bytes, HTTPStatus | None, bool]:
    """Head, what follows it, or what is wrong; as pieces of ``size`` bytes come."""
    head = RequestHead()
    for start in range(0, len(data), size):
        found = head.feed(data[start : start + size])
        assert head.held_bytes <= MAX_HEAD_BYTES + size
        if found is not None:
            return found[0], found[1] + data[start + size :], None, head.has_body
        if head.is_no_http or head.is_full:
            return None, b"", HTTPStatus.BAD_REQUEST, False
    return None, b"", None, False


def parsed(head: bytes) -> Request | None:
    """As websockets reads it; None where that hangs up."""
    protocol = ServerProtocol()
    protocol.receive_data(head)
    events = protocol.events_received()
    if protocol.handshake_exc is not None or not events:
        return None
    (request,) = events
    assert isinstance(request, Request)
    return request


def check_answer(request: Request, policy: Policy, running: Fake) -> None:
    reply = decide(request.method, request.path, request.headers, policy, running)
    if reply is None:
        assert request.path.partition("?")[0] == routes.WEBSOCKET_PATH
        return
    assert reply.status in ANSWERS
    response = to_response(reply, with_body=request.method != "HEAD")
    raw = response.serialize()
    lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert len(lines) == 1 + len(list(response.headers.raw_items())), "a header was broken out of"
    assert all(0x20 <= byte < 0x7F or byte == 9 or byte >= 0x80 for line in lines for byte in line)
    is_shown = any(number in reply.body for number in NUMBERS)
    if is_shown:
        assert reply.status is HTTPStatus.OK
        assert policy.is_open or running.asked
    if reply.status >= HTTPStatus.BAD_REQUEST:
        assert len(reply.body) < 400
    hook = process_request(policy, running, lambda _: Peer("192.0.2.1", 1))
    found = hook(None, request)  # type: ignore[arg-type]
    assert found is not None
    assert found.status_code == reply.status


def proxy_headers(data: bytes) -> None:
    """Never read beyond a header's end; the same address whatever comes at once."""
    found = taken(data, MOST_BYTES)
    for most in (1, 5):
        assert taken(data, most) == found


def taken(data: bytes, most: int) -> tuple[Source, int] | str | None:
    """The source and where the header ended; what is wrong; None where more has to come."""
    came = 0
    while True:
        try:
            said = read(data[:came])
        except ProxyHeaderError:
            return "refused"
        if isinstance(said, Source):
            return said, came
        assert 0 < said <= MOST_BYTES
        more = min(said, most, len(data) - came)
        if more == 0:
            return None
        came += more
        assert came <= MOST_BYTES


HEADS = {
    "upgrade": b"GET /v1 HTTP/1.1\r\nHost: localhost:8765\r\nUpgrade: websocket\r\nConnection: "
    b"Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Origin: https://example.org\r\nSec-WebSocket-Protocol: omendb.v1\r\n\r\nrest",
    "stats": b"GET /stats HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer root\r\n\r\n",
    "metrics": b"GET /metrics?a=b HTTP/1.1\r\nHost: [::1]:80\r\nX-API-Key: root\r\n\r\n",
    "health": b"HEAD /health HTTP/1.0\r\nHost: example.org\r\n\r\n",
    "file": b"GET /client.js HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
    b"Accept-Encoding: gzip;q=0.5, identity;q=0\r\nIf-None-Match: W/\"x\", *\r\n\r\n",
    "absolute": b"GET http://localhost/livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\nabc",
}  # fmt: skip
HEAD_WORDS = [
    b"\r\n", b"\r\n\r\n", b"\n\n", b"Host: ", b"Origin: null\r\n", b"Upgrade: websocket\r\n",
    b"Authorization: Bearer reader\r\n", b"Accept-Encoding: ", b";q=", b"*", b"If-None-Match: ",
    b"POST", b"HTTP/2.0", b"/readyz", b"/", b"/console/", b"..", b"%00", b"https://", b"localhost.",
    b"\x16\x03\x01", b"Content-Length: ", b"Connection: close\r\n", b"127.0.0.1", b"[::1]",
]  # fmt: skip
LINES = {
    "line": b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 8765\r\nGET / HTTP/1.1\r\n\r\n",
    "six": b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 8765\r\n",
    "unknown": b"PROXY UNKNOWN\r\n",
    "binary": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc63d\x07\xc0\x00\x02\x01\x12g\"=rest",
    "binary-six": b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x27" + bytes(39),
}  # fmt: skip
PROXY_WORDS = [b"PROXY ", b"TCP4 ", b"UNKNOWN", b"\r\n", b"\x20", b"\x31", b"::ffff:1.2.3.4 "]
TARGETS = [
    Target("http_requests", fuzz, words=HEAD_WORDS, made=lambda: HEADS, bounds=Bounds(60_000, 400)),
    Target("proxy_headers", proxy_headers, words=PROXY_WORDS, made=lambda: LINES),
]
