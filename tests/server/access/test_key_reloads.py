"""Keys that change while the server runs: in files, at a hangup, and at a URL."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.access import jwks_url
from omendb_ws.access.jwt_keys import KeySetError
from omendb_ws.access.keyring import key_entry
from omendb_ws.net.server import Server
from omendb_ws.node import keys as node_keys
from tests.access import jwt_making as making
from tests.certificates import make_certificate
from tests.patience import eventually
from tests.server.raw import client, running, settings, with_keys


def write_keys(path: Path, *names: str, rights: tuple[str, ...] = ("read",)) -> None:
    path.write_text("\n".join(key_entry(name, "acme", rights, f"token-{name}") for name in names))


async def test_a_key_that_is_gone_takes_its_connections_along_and_no_other(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-reader") as gone,
        client(server, token="token-root") as stays,
    ):
        await stays.create()
        await gone.ok("subscribe", kind="feed", collection="items")
        write_keys(tmp_path / "keys.toml", "root", rights=("read", "write", "admin"))
        await server.node.reloads.look()
        assert (await gone.named("error"))["code"] == "unauthenticated"
        assert await gone.closed() == 4401
        await stays.add(1)
        assert server.metrics.reload_failures == 0


async def test_other_rights_are_those_of_now(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
    ):
        await raw.create()
        sub = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
        write_keys(tmp_path / "keys.toml", "root", rights=("write",))
        await server.node.reloads.look()
        assert await raw.named("ended") == {"event": "ended", "sub": sub, "reason": "forbidden"}
        await raw.add(1)
        assert await raw.code("count", collection="items") == "forbidden"


async def test_a_new_key_comes_in(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server:
        async with client(server, token="token-new", greeted=False) as early:
            assert await early.closed() == 4401
        write_keys(tmp_path / "keys.toml", "root", "new")
        await server.node.reloads.all()
        async with client(server, token="token-new") as raw:
            assert raw.hello["auth"] == "ok"


async def test_a_pipe_in_a_files_place_keeps_nobody_waiting_and_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys.toml"
    async with running(Server(with_keys(tmp_path))) as server:
        path.unlink()
        os.mkfifo(path)  # whoever opens it to read waits for a writer
        await server.node.reloads.look()
        await server.node.reloads.all()
        assert server.metrics.reload_failures == 1
        async with client(server, token="token-reader") as raw:
            assert raw.hello["auth"] == "ok"
        path.unlink()
        write_keys(path, "new")
        await server.node.reloads.look()
        async with client(server, token="token-new") as raw:
            assert raw.hello["auth"] == "ok"


@pytest.mark.parametrize("text", ["", "[[keys]]", "not toml = = =", "[[keys]]\nname = 'a'"])
async def test_a_file_that_cannot_be_read_changes_nothing(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
    ):
        (tmp_path / "keys.toml").write_text(text)
        await server.node.reloads.look()
        assert server.metrics.reload_failures == 1
        assert "keys: not read again, what was read before stays" in caplog.text
        assert await raw.ok("list") == {"collections": []}
        (tmp_path / "keys.toml").unlink()
        await server.node.reloads.look()
        assert server.metrics.reload_failures == 2
        async with client(server, token="token-root") as other:
            assert other.hello["auth"] == "ok"


async def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server:
        before = server.context.gate.keyring
        await server.node.reloads.look()
        assert server.context.gate.keyring is before
        await server.node.reloads.all()
        assert server.context.gate.keyring is not before


async def test_new_connections_are_shown_the_newer_certificate(tmp_path: Path) -> None:
    old = make_certificate(tmp_path)
    trusting_old = old.trusting()
    given = {"tls_certificate_file": old.certificate_file, "tls_key_file": old.key_file}
    async with running(Server(settings(**given))) as server:
        async with client(server, ssl=trusting_old) as raw:
            new = make_certificate(tmp_path)
            await server.node.reloads.look()
            async with client(server, ssl=new.trusting()) as other:
                assert await other.ok("ping") == {}
            assert await raw.ok("ping") == {}
        with pytest.raises(ssl.SSLCertVerificationError):
            async with client(server, ssl=trusting_old):
                pass
        (tmp_path / "key.pem").write_text("nothing")
        await server.node.reloads.look()
        assert server.metrics.reload_failures == 1
        async with client(server, ssl=new.trusting()) as raw:
            assert await raw.ok("ping") == {}


# -- keys by URL --------------------------------------------------------------------------------


class Provider:
    """A provider of keys on this machine, which answers what a test wants."""

    def __init__(self) -> None:
        self.body, self.status = making.jwks("rsa"), 200
        self.headers = {"Content-Type": "application/json"}
        self.asked = 0
        self.holds: threading.Event | None = None
        self.url = ""


@contextmanager
def providing() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked += 1
            if provider.holds is not None:
                provider.holds.wait(60)
            self.send_response(provider.status)
            for name, value in provider.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(provider.body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(provider.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_port}/jwks"
    try:
        yield provider
    finally:
        if provider.holds is not None:
            provider.holds.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_are_fetched() -> None:
    with providing() as provider:
        assert [key.kid for key in jwks_url.fetch(provider.url).keys] == ["rsa"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"body": b"x" * (5 << 20)}, "more than 256 KiB"),
        ({"headers": {"Content-Type": "text/html"}}, "text/html"),
        ({"status": 404}, "status 404"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, "status 302"),
        ({"body": b"{"}, "no JWKS"),
        ({"body": json.dumps({"keys": []}).encode()}, "no key"),
    ],
)
def test_what_is_no_set_of_keys_is_refused(change: dict[str, Any], said: str) -> None:
    with providing() as provider:
        for name, value in change.items():
            setattr(provider, name, value)
        with pytest.raises(KeySetError) as caught:
            jwks_url.fetch(provider.url)
        assert said.replace("no JWKS", "not a JWKS") in str(caught.value)


def test_a_provider_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks_url, "TIMEOUT_SECONDS", 0.05)
    with providing() as provider:
        provider.holds = threading.Event()
        with pytest.raises(KeySetError, match=r"timed out|took longer"):
            jwks_url.fetch(provider.url)
    with pytest.raises(KeySetError, match="cannot be fetched"):
        jwks_url.fetch("http://127.0.0.1:9/jwks")


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://id.example/keys", True),
        ("http://127.0.0.1:80/keys", True),
        ("http://[::1]/keys", True),
        ("http://localhost/keys", True),
        ("http://id.example/keys", False),
        ("http://127.0.0.1.evil.example/keys", False),
        ("https://user:pass@id.example/keys", False),
        ("file:///etc/passwd", False),
        ("ftp://localhost/keys", False),
        ("https://", False),
        ("http://[::1", False),
    ],
)
def test_only_https_or_this_machine_is_trusted_with_keys(url: str, fits: bool) -> None:
    assert jwks_url.is_fit_for_keys(url) is fits


async def test_a_key_that_is_not_known_yet_is_fetched_and_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with providing() as provider:
        given = {"jwt_jwks_url": provider.url, "jwt_audience": "omendb"}
        async with running(Server(settings(**given))) as server:
            await server.node.keys.fetch()
            old = making.token("rsa", aud="omendb")
            async with client(server, token=old) as stays:
                provider.body = making.jwks("rsa", "ec")
                async with client(server, token=making.token("ec", aud="omendb")) as raw:
                    assert raw.hello["tenant"] == "acme"
                provider.body = making.jwks("ec", "ed")
                # Too soon: an unknown key has the set fetched at most each ten seconds.
                early = making.token("ed", aud="omendb")
                async with client(server, token=early, greeted=False) as raw:
                    assert await raw.closed() == 4401
                monkeypatch.setattr(node_keys, "UNKNOWN_KID_SECONDS", 0.0)
                async with client(server) as raw:
                    said = await raw.ok("auth", token=making.token("ed", aud="omendb"))
                    assert said["tenant"] == "acme"
                # The key of the first one is gone by then.
                assert await stays.closed() == 4401


async def test_the_keys_of_before_stay_while_there_are_no_others() -> None:
    with providing() as provider:
        given = {"jwt_jwks_url": provider.url, "jwt_audience": "omendb"}
        async with running(Server(settings(**given))) as server:
            await server.node.keys.fetch()
            provider.status = 500
            await server.node.keys.fetch()
            assert server.metrics.reload_failures == 1
            async with client(server, token=making.token("rsa", aud="omendb")) as raw:
                assert await raw.ok("list") == {"collections": []}


async def test_it_is_told_for_how_long_keys_should_have_been_fetched_again() -> None:
    name = b"\nomendb_jwks_overdue_seconds "
    with providing() as provider:
        given = {"jwt_jwks_url": provider.url, "jwt_audience": "omendb"}
        async with running(Server(settings(**given))) as server:
            keys = server.node.keys
            await eventually(lambda: keys.are_there)  # the server fetches them by itself
            assert name + b"0.0\n" in server.metrics_page().body
            provider.status = 500
            assert keys._fetched_at is not None
            keys._fetched_at -= 1_000
            await keys.fetch()
            overdue = keys.overdue_seconds()
            assert overdue is not None
            assert 700 <= overdue < 700 + 200
            provider.status = 200
            await keys.fetch()
            assert keys.overdue_seconds() == 0
    async with running() as server:
        assert server.node.keys.overdue_seconds() is None
        assert name not in server.metrics_page().body
