"""Sections 1.3, 3, 4, 9.1 and 10: requests, and the status that answers each."""

from __future__ import annotations

from typing import Final, NamedTuple

#: What RFC 6455 section 1.3 answers to its key.
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIELDS: Final = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class Request(NamedTuple):
    """A request that differs from a good one: ``changed`` fields (None: without), ``added`` lines.

    ``has``: header fields of the answer, by their names in small letters; None: it has none.
    """

    section: str
    name: str
    status: int
    changed: dict[str, str | None] = {}  # noqa: RUF012 - nobody writes to it
    added: tuple[str, ...] = ()
    first: str = "GET /v1 HTTP/1.1"
    has: dict[str, str | None] = {}  # noqa: RUF012

    @property
    def data(self) -> bytes:
        """As it is sent."""
        fields = {**FIELDS, **self.changed}
        lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
        return "\r\n".join([self.first, *lines, *self.added, "", ""]).encode("latin-1")


def _field(section: str, field: str, status: int, *values: str | None, **has: str) -> list[Request]:
    names = {name.replace("_", "-"): value for name, value in has.items()}
    return [
        Request(section, f"{field}: {value!r}", status, {field: value}, has=names)
        for value in values
    ]


def _first(section: str, status: int, *lines: str) -> list[Request]:
    return [Request(section, line, status, first=line) for line in lines]


_UPGRADED: Final[dict[str, str | None]] = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-accept": ACCEPT,
    "sec-websocket-extensions": None,
    "sec-websocket-protocol": None,
}

REQUESTS = [
    Request("1.3", "the example", 101, has=_UPGRADED),
    *_first(
        "4.2.1",
        405,
        *(f"{one} /v1 HTTP/1.1" for one in ("POST", "HEAD", "PUT", "OPTIONS", "DELETE", "get")),
    ),
    *_first("4.2.1", 505, *(f"GET /v1 HTTP/{one}" for one in ("1.0", "0.9", "2.0", "3", "1.2"))),
    *_first(
        "4.2.1",
        400,
        "GET /v1",
        "GET /v1 ",
        "GET  /v1 HTTP/1.1",
        "/v1 HTTP/1.1",
        "GET /v1 http/1.1",
        "GET /v1 HTTP/1.1 x",
        "",
    ),
    *_first(
        "4.2.1",
        101,
        "GET http://127.0.0.1/v1 HTTP/1.1",
        "GET https://127.0.0.1/v1 HTTP/1.1",
        "GET /v1? HTTP/1.1",
        "GET /v1?a=b&c HTTP/1.1",
    ),
    *_first(
        "3",
        404,
        "GET / HTTP/1.1",
        "GET /v2 HTTP/1.1",
        "GET /v1/ HTTP/1.1",
        "GET /v1#x HTTP/1.1",
        "GET /%76%31 HTTP/1.1",
    ),
    *_field("4.2.1", "Host", 101, "localhost", "127.0.0.1:1", "[::1]", "[::1]:80"),
    *_field("4.2.1", "Host", 400, None, "", "a b", "127.0.0.1:x"),
    Request("4.2.1", "two Hosts", 400, added=("Host: 127.0.0.1",)),
    *_field("4.2.1", "Upgrade", 101, "WebSocket", "WEBSOCKET", "  websocket  "),
    *_field(
        "4.2.1", "Upgrade", 426, None, "h2c", "websockets", "websocket/13", upgrade="websocket"
    ),
    # "Containing" websocket is enough by the RFC; the library wants nothing else beside it.
    *_field("4.2.1", "Upgrade", 426, "websocket, h2c", upgrade="websocket"),
    *_field(
        "4.2.1",
        "Connection",
        101,
        "upgrade",
        "UPGRADE",
        "keep-alive, Upgrade",
        "Upgrade,keep-alive",
        "a,, upgrade ,b",
    ),
    *_field(
        "4.2.1", "Connection", 426, None, "keep-alive", "close", "Upgraded", upgrade="websocket"
    ),
    Request(
        "4.2.1",
        "two lines of Connection",
        101,
        {"Connection": "keep-alive"},
        ("Connection: Upgrade",),
    ),
    *_field(
        "4.2.1",
        "Sec-WebSocket-Key",
        101,
        f"   {KEY}  ",
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "/////////////////////w==",
    ),
    *_field(
        "4.2.1",
        "Sec-WebSocket-Key",
        400,
        None,
        "",
        "x",
        KEY[:-2],
        KEY[4:],
        f"{KEY}AAAA",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "!!!!!!!!!!!!!!!!!!!!!!==",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "dGhl IHNhbXBsZSBub25jZQ==",
    ),
    Request("4.2.1", "two keys", 400, added=(f"Sec-WebSocket-Key: {KEY}",)),
    *_field("4.2.1", "Sec-WebSocket-Version", 101, " 13 "),
    *_field(
        "4.4",
        "Sec-WebSocket-Version",
        426,
        None,
        "",
        "0",
        "7",
        "8",
        "12",
        "14",
        "255",
        "013",
        "+13",
        "13.0",
        "x",
        "8, 13",
        sec_websocket_version="13",
    ),
    Request(
        "4.4",
        "two versions",
        426,
        added=("Sec-WebSocket-Version: 8",),
        has={"sec-websocket-version": "13"},
    ),
    Request(
        "4.2.1",
        "names of fields in other letters",
        101,
        dict.fromkeys(FIELDS),
        tuple(f"{name.swapcase()}: {value}" for name, value in FIELDS.items()),
    ),
    Request(
        "4.2.1",
        "fields in another order",
        101,
        dict.fromkeys(FIELDS),
        tuple(f"{name}:{value}" for name, value in reversed(FIELDS.items())),
    ),
    Request(
        "4.1",
        "fields that nobody knows, cookies",
        101,
        added=("X-Other: é", "Cookie: a=b; c=d", "Cookie: e=f", "Pragma: no-cache"),
    ),
    *(
        Request("4.2.1", f"a line {line!r}", 400, added=(line,))
        for line in ("no colon", " folded: x", "Space : x", ": x", "X: a\x00b", "X\x7f: y")
    ),
    *_field("10.2", "Origin", 101, "http://127.0.0.1", None),
    *_field(
        "10.2",
        "Origin",
        403,
        "http://example.com",
        "null",
        "http://127.0.0.1:81",
        "https://127.0.0.1.example.com",
        "",
    ),
    *_field(
        "4.2.2",
        "Sec-WebSocket-Protocol",
        101,
        "omendb.v1",
        "chat, omendb.v1",
        "omendb.v1, omendb.v1",
        sec_websocket_protocol="omendb.v1",
    ),
    Request(
        "4.2.2",
        "protocols in two lines",
        101,
        added=("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: omendb.v1"),
        has={"sec-websocket-protocol": "omendb.v1"},
    ),
    *_field(
        "4.2.2",
        "Sec-WebSocket-Protocol",
        400,
        "chat",
        "OMENDB.V1",
        "omendb.v1 x",
        "",
        ",",
        "omendb.v1;x",
        '"omendb.v1"',
        "omendb/v1",
    ),
    *(
        Request(
            "9.1",
            f"{value!r} is declined",
            101,
            added=(f"Sec-WebSocket-Extensions: {value}",),
            has=_UPGRADED,
        )
        for value in (
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            'permessage-deflate; server_max_window_bits="10"',
            "permessage-deflate, permessage-deflate; server_no_context_takeover",
            "x-webkit-deflate-frame",
            "foo, bar; baz=2",
            "foo;a;b=c",
        )
    ),
    Request(
        "9.1",
        "extensions in two lines",
        101,
        added=("Sec-WebSocket-Extensions: foo", "Sec-WebSocket-Extensions: permessage-deflate"),
        has=_UPGRADED,
    ),
    *(
        Request("9.1", f"extensions {value!r}", 400, added=(f"Sec-WebSocket-Extensions: {value}",))
        for value in (
            "",
            ",",
            ";",
            "foo;",
            "foo bar",
            "foo;bar=",
            'foo;bar="a b"',
            "foo; bar=ba z",
            "f(o)o",
            "foo=bar",
        )
    ),
    Request("4.1", "a body", 400, added=("Content-Length: 5",)),
    Request("4.1", "a body in chunks", 400, added=("Transfer-Encoding: chunked",)),
    Request("4.1", "no body", 101, added=("Content-Length: 0",)),
]
