"""No token is ever logged, in whatever way it came, and whoever set up logging.

The log is everything that every logger says at debug, in both forms; of the command line all that
it writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.frames import Opcode

import omendb_ws
from omendb_ws.access.keyring import KeyFileError, Keyring, key_entry
from omendb_ws.net.server import Server
from omendb_ws.runtime.logs import JsonFormatter, TextFormatter
from tests.server.net.test_websocket_frames import frame
from tests.server.raw import PATIENCE_SECONDS, client, running, with_keys

SECRET = "s3cr3t-AbCdEfGh0123456789"
HANDSHAKE = (
    "Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What is logged at debug, as text and as JSON; formatters that hide nothing.

    The first fence alone must hold: a program that embeds the server has formatters of its own.
    """
    monkeypatch.setattr("omendb_ws.runtime.logs.hide", lambda text: text)
    found = io.StringIO()
    handlers = []
    for formatter in (TextFormatter(), JsonFormatter()):
        handler = logging.StreamHandler(found)
        handler.setFormatter(formatter)
        handlers.append(handler)
    root = logging.getLogger()
    level = root.level
    root.handlers += handlers
    root.setLevel(logging.DEBUG)
    yield found.getvalue
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


REQUESTS = {
    "a bearer": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE}Authorization: Bearer {SECRET}\r\n\r\n",
    "basic": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE}Authorization: Basic {SECRET}\r\n\r\n",
    "a key": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE}X-API-Key: {SECRET}\r\n\r\n",
    "both": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE}X-API-Key: {SECRET}\r\n"
    "Authorization: Bearer other\r\n\r\n",
    "a query": f"GET /v1?token={SECRET} HTTP/1.1\r\n{HANDSHAKE}\r\n",
    "a query of a stranger's page": f"GET /v1?token={SECRET} HTTP/1.1\r\n{HANDSHAKE}"
    "Origin: http://elsewhere\r\n\r\n",
    "a query of statistics": f"GET /stats?token={SECRET} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a path": f"GET /v1/{SECRET} HTTP/1.1\r\n{HANDSHAKE}\r\n",
    "a user": f"GET ws://{SECRET}@127.0.0.1/v1 HTTP/1.1\r\n{HANDSHAKE}\r\n",
    "statistics": f"GET /stats HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {SECRET}\r\n\r\n",
    "a header without a colon": f"GET /v1 HTTP/1.1\r\nAuthorization {SECRET}\r\n\r\n",
    "a header with a control character": f"GET /v1 HTTP/1.1\r\nX-API-Key: {SECRET}\x01\r\n\r\n",
    "a header's name": f"GET /v1 HTTP/1.1\r\n({SECRET}): x\r\n\r\n",
    "a request line": f"GET /v1?token={SECRET} HTTP/9.9\r\n\r\n",
    "a request line and no more": f"{SECRET}\r\n\r\n",
    "a long line": f"GET /v1?token={SECRET}{'x' * 9000} HTTP/1.1\r\n\r\n",
    "a long header": f"GET /v1 HTTP/1.1\r\nX-API-Key: {SECRET}{'x' * 9000}\r\n\r\n",
    "another version": f"GET /v1 HTTP/1.1\r\nX-API-Key: {SECRET}\r\n"
    + HANDSHAKE.replace("13", SECRET)
    + "\r\n",
    "another upgrade": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE.replace('websocket', SECRET)}\r\n",
    "a broken key": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE.replace('dGhl', SECRET)}\r\n",
    "a subprotocol": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE}Sec-WebSocket-Protocol: {SECRET}\r\n\r\n",
    "an extension": f"GET /v1 HTTP/1.1\r\n{HANDSHAKE}Sec-WebSocket-Extensions: ={SECRET}\r\n\r\n",
    "a body": f"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\ntoken={SECRET}",
    "half a request": f"GET /v1 HTTP/1.1\r\nX-API-Key: {SECRET}",
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_nothing_of_a_handshake_is_logged(
    name: str, tmp_path: Path, log: Callable[[], str]
) -> None:
    async with running(Server(with_keys(tmp_path))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        # An upgrade stays open until a close frame is answered.
        rest = b"" if "half" in name else frame(Opcode.CLOSE, b"")
        writer.write(REQUESTS[name].encode() + rest)
        writer.write_eof()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await reader.read()
        writer.transport.abort()
    assert SECRET not in log()


MESSAGES = {
    "a wrong token": frame(Opcode.TEXT, orjson.dumps({"op": "auth", "id": 1, "token": SECRET})),
    "no text": frame(Opcode.TEXT, orjson.dumps({"op": "auth", "id": 1, "token": [SECRET]})),
    "another field": frame(Opcode.TEXT, orjson.dumps({"op": "auth", "id": 1, SECRET: SECRET})),
    "an op": frame(Opcode.TEXT, orjson.dumps({"op": SECRET, "id": 1})),
    "an id": frame(Opcode.TEXT, orjson.dumps({"op": "auth", "id": SECRET, "token": "x"})),
    "no JSON": frame(Opcode.TEXT, f'{{"op":"auth","token":"{SECRET}"'.encode()),
    "no UTF-8": frame(Opcode.TEXT, f'{{"op":"auth","token":"{SECRET}\xff'.encode("latin-1")),
    "bytes": frame(Opcode.BINARY, b"\xdb\x01" + SECRET.encode()),
    "fragments": frame(Opcode.TEXT, b'{"op":"auth","id":1,"token":"', False)
    + frame(Opcode.CONT, f'{SECRET}"}}'.encode()),
    "a ping": frame(Opcode.PING, SECRET.encode()),
    "a reserved bit": bytes([0xC1]) + frame(Opcode.TEXT, SECRET.encode())[1:],
    "a close": frame(Opcode.CLOSE, b"\x03\xe8" + SECRET.encode()),
    "a close with no code": frame(Opcode.CLOSE, b"\x00\x00" + SECRET.encode()),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_nothing_of_a_message_is_logged(
    name: str, tmp_path: Path, log: Callable[[], str]
) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        raw.socket.transport.write(MESSAGES[name] + frame(Opcode.CLOSE, b""))
        await raw.closed()
    # The client of this test is websockets itself, whose logger is not ours.
    lines = [line for line in log().splitlines() if "websockets.client" not in line]
    assert lines
    assert SECRET not in "\n".join(lines)


async def test_a_fault_while_a_token_is_looked_up_does_not_show_it(
    tmp_path: Path, log: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Keyring, token: str) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Keyring, "authenticate", fail)
    async with running(Server(with_keys(tmp_path))) as server:
        async with client(server) as raw:
            assert (await raw.ask("auth", token=SECRET))["error"]["code"] == "internal"
        with contextlib.suppress(Exception):
            async with omendb_ws.connect(server.url, SECRET, reconnect=False):
                pass
    lines = [line for line in log().splitlines() if "websockets.client" not in line]
    assert "RuntimeError: broken" in "\n".join(lines)
    assert SECRET not in "\n".join(lines)


async def test_the_clients_log_no_token(tmp_path: Path, log: Callable[[], str]) -> None:
    path = tmp_path / "more.toml"
    path.write_text(key_entry("camera", "acme", ("read",), SECRET))
    async with running(Server(with_keys(tmp_path))) as server:
        for token in (SECRET, "token-reader"):
            with contextlib.suppress(omendb_ws.Unauthenticated):
                async with omendb_ws.connect(server.url, token, reconnect=False) as db:
                    await db.ping()
        with contextlib.suppress(Exception):
            await asyncio.to_thread(use_synchronously, server.url)
    assert SECRET not in log()
    assert "token-reader" not in log()
    assert "key reader" in log()


def use_synchronously(url: str) -> None:
    with omendb_ws.sync.connect(url, SECRET, reconnect=False) as db:
        db.ping()


KEY_FILES = {
    "a plain token": f'[[keys]]\nname = "a"\ntenant = "t"\nrights = ["read"]\ntoken = "{SECRET}"',
    "no hash": f'[[keys]]\nname = "a"\ntenant = "t"\nrights = ["read"]\ntoken_sha256 = "{SECRET}"',
    "a field": f'"{SECRET}" = "root"',
    "a field of a key": f'[[keys]]\n"{SECRET}" = "root"',
    "no TOML": f"token: {SECRET}",
    "no string": f"[[keys]]\ntoken = {SECRET}",
    "a tenant": f'[[keys]]\nname = "a"\ntenant = "{SECRET}!"\nrights = []\ntoken_sha256 = ""',
    "rights": f'[[keys]]\nname = "a"\ntenant = "t"\nrights = ["{SECRET}"]\ntoken_sha256 = ""',
    "a list": f'keys = ["{SECRET}"]',
    "no keys": f'keys = "{SECRET}"',
}


@pytest.mark.parametrize("name", KEY_FILES)
def test_what_is_wrong_with_a_key_file_is_said_without_its_secrets(name: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        Keyring.parse(KEY_FILES[name])
    assert SECRET not in str(caught.value)


def run(*arguments: str, **variables: str) -> str:
    """All that a command says."""
    done = subprocess.run(
        [sys.executable, "-m", "omendb_ws", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS * 3,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_server_process_says_nothing_of_tokens(log_format: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(key_entry("camera", "acme", ("read", "write", "admin"), SECRET))
    wrong = SECRET[::-1]
    server = subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "omendb_ws", "serve", "--port", "0",
         "--api-key-file", str(keys), "--log-level", "debug", "--log-format", log_format],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Of another program; the server does not read it, and must not say it.
        env={**os.environ, "OMENDB_TOKEN": SECRET, "PYTHONASYNCIODEBUG": "1"},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        ready = server.stdout.readline()
        url = json.loads(ready)["url"] if log_format == "json" else ready.split()[-1]
        said = run("ping", url, "--count", "1", "--token", SECRET)
        said += run("ping", url, "--count", "1", OMENDB_TOKEN=wrong)
        said += run("create", "items", "--url", url, "--dim", "2", "--capacity", "9",
                    "--token", SECRET)  # fmt: skip
        said += run("drop", "items", "--url", url, "--yes", "--token", SECRET)
        asyncio.run(knock(url, wrong))
    finally:
        server.send_signal(signal.SIGTERM)
        _, logged = server.communicate(timeout=PATIENCE_SECONDS * 3)
    for secret in (SECRET, wrong):
        assert secret not in said + logged
    lines = logged.splitlines()
    if log_format == "json":
        documents = [json.loads(line) for line in lines]
        assert all({"at", "level", "message"} <= one.keys() for one in documents)
        lines = [one["message"] for one in documents]
    text = "\n".join(lines)
    for part in ("login of key camera", "failed login from 127.0.0.1", "create of collection items",
                 "drop of collection items"):  # fmt: skip
        assert part in text, text


async def knock(url: str, token: str) -> None:
    """By websockets itself, and by requests that are none."""
    for headers in ({"X-API-Key": token}, {"Authorization": f"Bearer {token}"}):
        async with connect(f"{url}?token={token}", additional_headers=headers) as socket:
            await socket.wait_closed()
    host, port = url.removeprefix("ws://").removesuffix("/v1").split(":")
    for request in (REQUESTS["a header without a colon"], REQUESTS["a request line"]):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.replace(SECRET, token).encode())
        await reader.read()
        writer.close()
