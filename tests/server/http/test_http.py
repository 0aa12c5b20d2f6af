"""HTTP routes and who may use them: decisions only, no sockets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.typing import Subprotocol

from omendb_ws.access.grants import Grant
from omendb_ws.access.origins import HostPort, Origin, is_loopback, parse_host, parse_origin
from omendb_ws.access.principal import OPEN, Principal
from omendb_ws.http import routes as http
from omendb_ws.http.encodings import Accepted, accepted
from omendb_ws.http.routes import Policy, Reply, decide, token_of
from omendb_ws.telemetry.exposition import Page
from omendb_ws.web import FILES, load
from tests.examples import examples

UPGRADE = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
OPEN_POLICY = Policy(is_open=True)
KEYED = Policy(is_open=False)
ADMIN = Principal.simple("root", "default", {"admin"}, is_operator=True)
KEEPER = Principal.simple("keeper", "acme", {"admin"})
SOME = Principal("some", "acme", (Grant(frozenset({"admin"}), ("a-*",)),))
READER = Principal.simple("reader", "default", {"read", "write"})


class Fake:
    """A running server, as the routes see one."""

    def __init__(self, *, status: http.Status = "ok") -> None:
        self.now = status
        self.asked: list[str] = []
        self.shown: Principal | None = None

    def status(self) -> http.Status:
        return self.now

    def uptime_seconds(self) -> float:
        return 12.34567

    def stats(self, principal: Principal) -> Mapping[str, Any]:
        self.shown = principal
        return {"at": 1.5, "connections": 3}

    def metrics_page(self, principal: Principal, accept: str) -> Page:
        self.shown = principal
        return Page(b"omendb_rows 3\n", f"text/plain; version=0.0.4; for={accept}")

    def authenticate(self, token: str) -> Principal | None:
        self.asked.append(token)
        return {
            "admin-token": ADMIN, "read-token": READER, "keeper-token": KEEPER, "some-token": SOME,
        }.get(token)  # fmt: skip


def ask(
    path: str,
    *headers: tuple[str, str],
    host: str | None = "localhost:8765",
    policy: Policy = OPEN_POLICY,
    method: str = "GET",
    running: Fake | None = None,
) -> Reply | None:
    """``decide`` for a request to ``host``."""
    own = () if host is None else (("Host", host),)
    return decide(method, path, Headers([*own, *headers]), policy, running or Fake())


def status(*args: Any, **kwargs: Any) -> int | None:
    reply = ask(*args, **kwargs)
    return None if reply is None else int(reply.status)


def upgrade(*headers: tuple[str, str], **kwargs: Any) -> int | None:
    """None: the WebSocket upgrade goes on."""
    return status("/v1", *UPGRADE, *headers, **kwargs)


# -- routes -----------------------------------------------------------------------------------


def test_health_says_status_version_and_uptime() -> None:
    reply = ask("/health")
    assert reply is not None
    assert reply.content_type == "application/json"
    document = json.loads(reply.body)
    assert document == {"status": "ok", "version": http.VERSION, "uptime_s": 12.346}
    reply = ask("/health", running=Fake(status="draining"))
    assert reply is not None
    assert reply.status == 200
    assert json.loads(reply.body)["status"] == "draining"


def test_a_draining_server_lives_but_is_not_ready_and_takes_no_more() -> None:
    draining = Fake(status="draining")
    assert status("/livez", running=draining) == 200
    assert status("/readyz", running=draining) == 503
    assert upgrade(running=draining) == 503
    assert status("/readyz") == 200
    assert upgrade() is None


@pytest.mark.parametrize("now", ["recovering", "storage_failed"])
def test_a_server_whose_storage_is_not_well_is_not_ready_but_lets_clients_in(
    now: http.Status,
) -> None:
    running = Fake(status=now)
    assert status("/livez", running=running) == 200
    reply = ask("/readyz", running=running)
    assert reply is not None
    assert (reply.status, reply.body) == (503, f"not ready: {now}\n".encode())
    assert upgrade(running=running) is None


def test_stats_and_metrics_say_what_the_server_says() -> None:
    reply = ask("/stats")
    assert reply is not None
    assert json.loads(reply.body) == {"at": 1.5, "connections": 3}
    reply = ask("/metrics")
    assert reply is not None
    assert reply.body == b"omendb_rows 3\n"
    assert reply.content_type.startswith("text/plain; version=0.0.4")
    reply = ask("/metrics", ("Accept", "a/b"), ("Accept", "c/d;q=0.5"))
    assert reply is not None
    assert reply.content_type.endswith("for=a/b, c/d;q=0.5")


def test_the_first_page_is_the_console_which_runs_nothing_but_this_servers_files() -> None:
    reply = ask("/", host="localhost:9000")
    assert reply is not None
    assert reply.content_type.startswith("text/html")
    policy = dict(reply.headers)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("host", ["<script>", '"><img src=x>', "a b", None, "a,b", "é"])
def test_the_first_page_is_the_same_whatever_it_is_called(host: str | None) -> None:
    reply, same = ask("/", host=host), ask("/")
    assert reply is not None
    assert reply == same


@pytest.mark.parametrize(
    "path",
    ["/v1/", "/v2", "/V1", "v1", "", "//v1", "/./v1", "/v1/../metrics", "/%761", "/livez/",
     "/LIVEZ", "/favicon.ico", "/client.mjs", "/metrics#", "/metrics;", "*",
     "http://localhost/stats"],
)  # fmt: skip
def test_other_paths_are_not_found(path: str) -> None:
    assert status(path) == 404
    assert status(path, *UPGRADE) == 404


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/health", "/stats", "/metrics"])
def test_a_websocket_is_only_at_its_path(path: str) -> None:
    assert status(path) == 200
    assert status(path, *UPGRADE) == 404
    assert status(path, ("Upgrade", "h2c")) == 404
    assert status(path, ("upgrade", "")) == 404


@pytest.mark.parametrize("query", ["?", "?a=b", "?/livez", "?token=admin-token"])
def test_what_follows_a_question_mark_changes_nothing(query: str) -> None:
    assert upgrade() is None
    assert status("/v1" + query, *UPGRADE) is None
    assert status("/livez" + query) == 200
    running = Fake()
    assert status("/stats" + query, policy=KEYED, running=running) == 401
    assert running.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get", "TRACE"])
def test_other_methods_are_not_allowed(method: str) -> None:
    for path in ("/livez", "/stats", "/v1", "/"):
        reply = ask(path, method=method)
        assert reply is not None
        assert reply.status == 405
        assert dict(reply.headers)["Allow"] == "GET, HEAD"
    assert status("/nothing", method=method) == 404


def test_head_gets_the_headers_of_get_without_a_body() -> None:
    reply = ask("/livez", method="HEAD")
    assert reply is not None
    response = http.to_response(reply, with_body=False)
    assert response.body == b""
    assert response.headers["Content-Length"] == "3"
    assert upgrade(method="HEAD") == 405


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/stats", "/nothing"])
def test_every_response_is_neither_stored_nor_guessed_at(path: str) -> None:
    reply = ask(path)
    assert reply is not None
    headers = http.to_response(reply).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Connection"] == "close"
    assert "Access-Control-Allow-Origin" not in headers


# -- Host: DNS rebinding ----------------------------------------------------------------------

LOOPBACK_HOSTS = [
    "localhost", "localhost:8765", "LOCALHOST:1", "localhost.", "a.localhost", "A.b.LocalHost:9",
    "127.0.0.1", "127.0.0.1:8765", "127.0.0.1.", "127.9.9.9", "[::1]", "[::1]:8765", "[0:0::0:1]",
    "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]:80",
]  # fmt: skip
FOREIGN_HOSTS = [
    "evil.com", "localhost.evil.com", "localhost.evil.com:8765", "evillocalhost", "my-localhost",
    "127.0.0.1.evil.com", "127.0.0.1.nip.io", "128.0.0.1", "0.0.0.0", "0.0.0.0:8765", "[::]",
    "10.0.0.1", "192.168.0.1:8765", "[fe80::1]", "[::ffff:10.0.0.1]", "xn--localhost-x",
    "localhost.localdomain", "localhost_", "0x7f000001",
]  # fmt: skip
BROKEN_HOSTS = [
    "", " ", "localhost:", "localhost:0", "localhost:65536", "localhost:8765:1", "localhost:+80",
    "0x7f.1", "localhost,evil.com", "localhost evil.com", "localhost@evil.com",
    "evil.com@localhost", "evil.com#localhost", "evil.com/localhost", "evil.com?localhost",
    "localhost\\.evil.com", "http://localhost", "localhost/", ".localhost", "localhost..",
    "a..localhost", "-a.localhost", "::1", "[::1", "::1]", "[::1]x", "[localhost]", "[127.0.0.1]",
    "[::1%25lo]", "[::1%lo]", "127.1", "2130706433", "0177.0.0.1", "127.0.0.01",
    "127.0.0.256", "127.0.0.1.1", "localhost\t", "localhost\xa0", "localh\xf6st", "*",
    "a" * 64 + ".localhost", ("a" * 60 + ".") * 5 + "localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_an_open_server_answers_to_loopback_names(host: str) -> None:
    assert upgrade(host=host) is None
    assert status("/stats", host=host) == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_an_open_server_answers_to_no_other_name(host: str) -> None:
    assert upgrade(host=host) == 403
    assert status("/stats", host=host) == 403
    assert status("/metrics", host=host) == 403
    # The page that rebound its name has an Origin that agrees with the Host.
    assert upgrade(("Origin", f"http://{host}"), host=host) == 403


@pytest.mark.parametrize("host", [*BROKEN_HOSTS, None])
@pytest.mark.parametrize("policy", [OPEN_POLICY, KEYED], ids=["open", "keyed"])
def test_a_host_that_is_none_is_refused(host: str | None, policy: Policy) -> None:
    assert upgrade(host=host, policy=policy) == 400


@pytest.mark.parametrize(
    "text",
    ["localhost\n", "localhost\r\nX: y", "localhost\0", "\u24dbocalhost", "localhost:\uff18\uff10"],
)
def test_what_no_header_can_hold_is_no_host_either(text: str) -> None:
    assert parse_host(text) is None
    assert parse_origin(f"http://{text}") is None


def test_two_hosts_are_refused_even_if_equal() -> None:
    assert upgrade(("Host", "localhost:8765")) == 400
    assert upgrade(("Host", "evil.com")) == 400
    assert upgrade(("host", "localhost:8765"), host="evil.com") == 400


def test_probes_may_come_by_any_name() -> None:
    for path in ("/livez", "/readyz", "/health", "/"):
        for host in ("10.0.0.1:8765", None, "evil.com"):
            assert status(path, host=host) == 200


def test_the_hosts_of_allowed_origins_are_answered_to_on_any_port() -> None:
    policy = Policy(is_open=True, allow_origins=("https://app.example.com", "http://[fd00::1]:9"))
    for host in ("app.example.com", "APP.example.com:8765", "app.example.com.", "[fd00:0::1]"):
        assert upgrade(host=host, policy=policy) is None
    for host in ("example.com", "x.app.example.com", "app.example.com.evil.com", "[fd00::2]"):
        assert upgrade(host=host, policy=policy) == 403
    assert upgrade(host="localhost", policy=policy) is None


def test_a_server_with_keys_may_be_called_anything() -> None:
    for host in FOREIGN_HOSTS:
        assert upgrade(host=host, policy=KEYED) is None


# -- Origin -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8765", "localhost:8765"),
        ("https://localhost:8765", "localhost:8765"),
        ("HTTP://LocalHost:8765", "localhost:8765"),
        ("http://localhost", "localhost"),
        ("http://localhost", "localhost:80"),
        ("http://localhost:80", "localhost"),
        ("https://localhost", "localhost"),
        ("https://localhost", "localhost:443"),
        ("http://127.0.0.1:1", "127.0.0.1:1"),
        ("http://[::1]:1", "[::1]:1"),
        ("http://[0::1]:1", "[::1]:1"),
        ("http://localhost.:1", "localhost:1"),
    ],
)
def test_the_servers_own_pages_may_connect(origin: str, host: str) -> None:
    for policy in (OPEN_POLICY, KEYED):
        assert upgrade(("Origin", origin), host=host, policy=policy) is None
        # The allow-list adds to the server's own origin.
        listed = Policy(is_open=policy.is_open, allow_origins=("http://other",))
        assert upgrade(("Origin", origin), host=host, policy=listed) is None


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", " ", "http://evil.com", "https://evil.com", "http://evil.com:8765",
        "http://localhost", "http://localhost:80", "http://localhost:3000", "https://localhost",
        "http://127.0.0.1:8765", "http://[::1]:8765", "http://a.localhost:8765",
        "http://localhost.evil.com:8765", "http://localhost:8765.evil.com",
        "http://localhost:8765@evil.com", "http://evil.com@localhost:8765",
        "http://user:pass@localhost:8765", "http://localhost:8765/", "http://localhost:8765/v1",
        "http://localhost:8765#", "http://localhost:8765?", "http://localhost:8765 ",
        "http://localhost:8765\\.evil.com", "http://localhost:08765x", "http:localhost:8765",
        "http:/localhost:8765", "http:///localhost:8765", "//localhost:8765", "localhost:8765",
        "ws://localhost:8765", "file://localhost:8765", "file://", "ftp://localhost:8765",
        "chrome-extension://localhost:8765", "javascript://localhost:8765",
        "http://localhost:8765, http://evil.com", "http://localhost:8765 http://evil.com",
        "http://localh\xf6st:8765", "http://xn--localhost-x:8765", "http://*:8765", "*",
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", [OPEN_POLICY, KEYED], ids=["open", "keyed"])
def test_foreign_pages_may_not_connect(origin: str, policy: Policy) -> None:
    header = ("Origin", origin)
    assert upgrade(header, policy=policy) == 403
    bearer = ("Authorization", "Bearer admin-token")
    assert status("/stats", header, bearer, policy=policy) == 403
    assert status("/metrics", header, bearer, policy=policy) == 403


def test_of_two_origins_both_must_be_allowed() -> None:
    own = ("Origin", "http://localhost:8765")
    evil = ("Origin", "http://evil.com")
    assert upgrade(own, own) is None
    assert upgrade(own, evil) == 403
    assert upgrade(evil, own) == 403


def test_a_configured_origin_is_held_to_scheme_host_and_port() -> None:
    policy = Policy(is_open=False, allow_origins=("https://app.example.com", "http://dev:3000"))

    def allowed(origin: str) -> bool:
        return upgrade(("Origin", origin), host="api:8765", policy=policy) is None

    for origin in (
        "https://app.example.com",
        "https://APP.example.com:443",
        "https://app.example.com.",
        "http://dev:3000",
    ):
        assert allowed(origin), origin
    for origin in (
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://example.com",
        "https://x.app.example.com",
        "https://app.example.com.evil.com",
        "https://evil.com/https://app.example.com",
        "https://appxexample.com",
        "http://dev",
        "https://dev:3000",
        "null",
    ):
        assert not allowed(origin), origin


def test_programs_send_no_origin_and_may_connect() -> None:
    assert upgrade() is None
    assert upgrade(policy=KEYED, host="10.0.0.1:8765") is None


@given(st.text(max_size=40))
@settings(deadline=None, max_examples=examples(200), derandomize=True)
def test_no_text_as_a_host_breaks_the_parser_or_is_loopback_by_accident(text: str) -> None:
    parsed = parse_host(text)
    if parsed is not None:
        assert text.isascii()
        assert parsed.host == parsed.host.lower()
        assert not set(parsed.host) & set("@/\\?# \t\r\n,%")
        if is_loopback(parsed.host):
            assert parsed.host.endswith(("localhost", "::1")) or "127." in parsed.host
    assert parse_origin(text) is None or "://" in text


_LABELS = st.lists(st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True), min_size=1)


@given(_LABELS, st.sampled_from(["http", "https"]), st.integers(1, 65_535))
@settings(deadline=None, max_examples=examples(100), derandomize=True)
def test_an_origin_reads_the_same_after_it_was_written(
    labels: list[str], scheme: str, port: int
) -> None:
    host = ".".join(labels[:4])
    origin = parse_origin(f"{scheme.upper()}://{host.upper()}:{port}")
    assert origin == Origin(scheme, host, port)
    assert parse_origin(str(origin)) == origin


def test_hosts_are_read_in_one_form() -> None:
    assert parse_host("EXAMPLE.com.:80") == HostPort("example.com", 80)
    assert parse_host("[0:0:0:0::1]") == HostPort("::1", None)
    assert parse_host("a_b") == HostPort("a_b", None)
    assert str(Origin("http", "::1", 80)) == "http://[::1]"
    assert str(Origin("https", "a", 80)) == "https://a:80"


# -- tokens -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/stats", "/metrics"])
def test_statistics_need_a_token_with_the_right_admin(path: str) -> None:
    def with_headers(*headers: tuple[str, str]) -> int | None:
        return status(path, *headers, policy=KEYED)

    assert with_headers() == 401
    assert with_headers(("Authorization", "Bearer wrong")) == 401
    assert with_headers(("Authorization", "Bearer ")) == 401
    assert with_headers(("Authorization", "Basic admin-token")) == 401
    assert with_headers(("Authorization", "admin-token")) == 401
    assert with_headers(("X-API-Key", "")) == 401
    assert with_headers(("Cookie", "token=admin-token")) == 401
    assert with_headers(("Authorization", "Bearer read-token")) == 403
    assert with_headers(("X-API-Key", "read-token")) == 403
    assert with_headers(("X-API-Key", "some-token")) == 403
    assert with_headers(("X-API-Key", "keeper-token")) == 200
    assert with_headers(("Authorization", "Bearer admin-token")) == 200
    assert with_headers(("authorization", "bEARER  admin-token ")) == 200
    assert with_headers(("x-api-key", "admin-token")) == 200


@pytest.mark.parametrize("path", ["/stats", "/metrics"])
def test_the_server_hears_who_is_to_be_shown_its_numbers(path: str) -> None:
    for token, principal in (("admin-token", ADMIN), ("keeper-token", KEEPER)):
        running = Fake()
        assert status(path, ("X-API-Key", token), policy=KEYED, running=running) == 200
        assert running.shown is principal
    running = Fake()
    assert status(path, running=running) == 200
    assert running.shown is OPEN


def test_who_has_no_token_is_told_how_to_send_one() -> None:
    reply = ask("/stats", policy=KEYED)
    assert reply is not None
    assert ("WWW-Authenticate", "Bearer") in reply.headers
    assert b"Authorization: Bearer" in reply.body


def test_a_foreign_page_learns_nothing_about_tokens() -> None:
    running = Fake()
    header = ("Authorization", "Bearer admin-token")
    assert status("/stats", header, ("Origin", "http://evil"), policy=KEYED, running=running) == 403
    assert running.asked == []


def test_an_open_server_asks_for_no_token_and_health_never_does() -> None:
    running = Fake()
    assert status("/stats", running=running) == 200
    for path in ("/", "/livez", "/readyz", "/health"):
        assert status(path, policy=KEYED, running=running) == 200
    assert upgrade(policy=KEYED, running=running) is None
    assert running.asked == []
    assert OPEN.may("admin")


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([("Authorization", "Basic abc")], None),
        ([("Authorization", "Bearer abc")], "abc"),
        ([("Authorization", "Bearer")], ""),
        ([("Authorization", "Bearerabc")], None),
        ([("X-API-Key", " abc ")], "abc"),
        ([("Authorization", "Bearer abc"), ("X-API-Key", "abc")], "abc"),
        ([("Authorization", "Bearer abc"), ("X-API-Key", "def")], ""),
        ([("Authorization", "Bearer abc"), ("Authorization", "Bearer def")], ""),
        ([("Authorization", "Basic abc"), ("X-API-Key", "def")], "def"),
        ([("X-API-Key", "abc"), ("X-API-Key", "def")], ""),
    ],
)
def test_the_token_of_a_request(headers: list[tuple[str, str]], token: str | None) -> None:
    assert token_of(Headers(headers)) == token


# -- subprotocol ------------------------------------------------------------------------------


def choose(*offered: str) -> str | None:
    return http.select_subprotocol(None, [Subprotocol(name) for name in offered])


def test_the_subprotocol_is_ours_or_none() -> None:
    assert choose() is None
    assert choose("omendb.v1") == "omendb.v1"
    assert choose("omendb.v2", "omendb.v1", "chat") == "omendb.v1"


@pytest.mark.parametrize("offered", ["omendb.v2", "OMENDB.V1", "chat", ""])
def test_another_subprotocol_alone_is_refused(offered: str) -> None:
    with pytest.raises(NegotiationError, match=r"omendb\.v1"):
        choose(offered)


def test_statuses_have_their_phrases() -> None:
    for reply in (ask("/nothing"), ask("/stats", host="evil.com"), ask("/livez")):
        assert reply is not None
        response = http.to_response(reply)
        assert response.reason_phrase == HTTPStatus(response.status_code).phrase
        assert int(response.headers["Content-Length"]) == len(response.body)


@pytest.mark.parametrize("path", FILES)
def test_a_file_of_the_browsers_is_cached_until_it_changes(path: str) -> None:
    reply = ask(path)
    assert reply is not None
    assert reply.status == 200
    assert reply.body == files("omendb_ws.web").joinpath(FILES[path][0]).read_bytes()
    sent = dict(reply.headers)
    assert sent["Cache-Control"] == "no-cache"
    again = ask(path, ("If-None-Match", sent["ETag"]))
    assert again is not None
    assert (again.status, again.body) == (304, b"")
    other = ask(path, ("If-None-Match", '"something else"'))
    assert other is not None
    assert other.status == 200


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("http://localhost:8765", True), ("https://app.example", True),
        ("https://evil.example", False), ("null", False),
    ],
)  # fmt: skip
def test_pages_of_allowed_origins_may_import_the_client(origin: str, is_allowed: bool) -> None:
    policy = Policy(is_open=True, allow_origins=("https://app.example",))
    modules = [path for path in FILES if path.startswith("/client")]
    assert len(modules) > 2
    for path in modules:
        reply = ask(path, ("Origin", origin), policy=policy)
        assert reply is not None
        assert dict(reply.headers).get("Access-Control-Allow-Origin") == (
            origin if is_allowed else None
        )


# -- gzip -------------------------------------------------------------------------------------

GZIP = ("Accept-Encoding", "gzip, deflate, br")
#: Each alone fits into a packet with its headers.
SMALL = [path for path in FILES if len(load(path).plain.body) <= 1024]
LARGE = [path for path in FILES if path not in SMALL]


def sent(path: str, *headers: tuple[str, str], **kwargs: Any) -> tuple[Reply, dict[str, str]]:
    reply = ask(path, *headers, **kwargs)
    assert reply is not None
    return reply, dict(reply.headers)


@pytest.mark.parametrize("path", LARGE)
def test_a_file_is_compressed_for_whoever_takes_gzip(path: str) -> None:
    (plain, plain_headers), (reply, headers) = sent(path), sent(path, GZIP)
    assert reply.status == 200
    assert headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain_headers
    assert gzip.decompress(reply.body) == plain.body
    assert len(reply.body) < len(plain.body)
    assert reply.content_type == plain.content_type
    assert headers["Vary"] == plain_headers["Vary"] == "Origin, Accept-Encoding"
    assert http.to_response(reply).headers["Content-Length"] == str(len(reply.body))
    head, head_headers = sent(path, GZIP, method="HEAD")
    assert head_headers == headers
    response = http.to_response(head, with_body=False)
    assert (response.body, response.headers["Content-Length"]) == (b"", str(len(reply.body)))


def test_a_file_is_compressed_once_and_to_the_same_bytes_after_a_restart() -> None:
    before = load("/client/adder.js")
    assert load("/client/adder.js") is before
    load.cache_clear()
    assert load("/client/adder.js") == before
    assert before.gzipped.body[4:8] == bytes(4)  # the time in its header


def test_small_files_and_what_the_server_says_are_sent_as_they_are() -> None:
    assert "/client.js" in SMALL
    for path in (*SMALL, "/health", "/stats", "/metrics", "/nothing"):
        reply, headers = sent(path, GZIP)
        assert "Content-Encoding" not in headers
        assert reply.body == sent(path)[0].body


@pytest.mark.parametrize("path", LARGE)
def test_each_encoding_is_cached_by_its_own_tag(path: str) -> None:
    plain_tag, gzip_tag = sent(path)[1]["ETag"], sent(path, GZIP)[1]["ETag"]
    assert plain_tag != gzip_tag
    for accept, own, other in (((), plain_tag, gzip_tag), ((GZIP,), gzip_tag, plain_tag)):
        again, headers = sent(path, *accept, ("If-None-Match", own))
        assert (again.status, again.body, headers["ETag"]) == (304, b"", own)
        assert headers["Vary"] == "Origin, Accept-Encoding"
        assert "Content-Length" not in http.to_response(again).headers
        assert sent(path, *accept, ("If-None-Match", other))[0].status == 200


@pytest.mark.parametrize("known", ["{}", "W/{}", '"a", W/{} , "b"', "*"])
def test_a_known_tag_may_come_as_proxies_send_it(known: str) -> None:
    tag = sent("/client.js")[1]["ETag"]
    assert sent("/client.js", ("If-None-Match", known.format(tag)))[0].status == 304


def test_headers_that_come_twice_are_read_together() -> None:
    tag = sent("/client.d.ts", GZIP)[1]["ETag"]
    twice = (("If-None-Match", '"a"'), ("If-None-Match", tag))
    accepts = (("Accept-Encoding", "br"), ("Accept-Encoding", "gzip"))
    assert sent("/client.d.ts", *twice, *accepts)[0].status == 304


@pytest.mark.parametrize("path", ["/client.js", "/client.d.ts"])
def test_who_refuses_files_as_they_are_gets_gzip_or_is_told(path: str) -> None:
    reply, headers = sent(path, ("Accept-Encoding", "gzip, identity;q=0"))
    assert (reply.status, headers["Content-Encoding"]) == (200, "gzip")
    reply, headers = sent(path, ("Accept-Encoding", "br, identity;q=0"))
    assert reply.status == 406
    assert headers["Vary"] == "Origin, Accept-Encoding"
    assert "ETag" not in headers


@pytest.mark.parametrize(
    ("values", "gzipped", "identity"),
    [
        ([], False, True), ([""], False, True), (["gzip"], True, True), (["GZip"], True, True),
        (["x-gzip"], True, True), (["gzip;q=0"], False, True), (["gzip;q=0.000"], False, True),
        (["gzip;q=0.001"], True, True), (["gzip ; Q=1.0"], True, True), (["*"], True, True),
        (["*;q=0"], False, False), (["gzip, *;q=0"], True, False),
        (["*;q=0, identity;q=0.5"], False, True), (["gzip;q=0, *"], False, True),
        (["identity;q=0"], False, False), (["br, deflate"], False, True),
        (["br", "gzip;q=0.5"], True, True), (["not-gzip"], False, True),
        (["gzip;q=nan"], False, True), (["gzip;q=-1"], False, True), (["gzip;q="], False, True),
        (["gzip;q=2"], False, True), (["gzip;q=\u0661"], False, True), (["gzip br"], False, True),
        ([";q=1,,gzip"], True, True),
    ],
)  # fmt: skip
def test_what_a_request_takes(values: list[str], gzipped: bool, identity: bool) -> None:
    assert accepted(values) == Accepted(gzipped, identity)
