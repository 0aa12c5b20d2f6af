"""``omendb-ws serve`` as a process: the ready line, routes, TLS, keys, and leaving."""

from __future__ import annotations

import errno
import http.client
import json
import re
import signal
import socket
import ssl
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from omendb_ws import sync
from omendb_ws._version import VERSION
from omendb_ws.cli.cannot_listen import hint
from tests.certificates import make_certificate
from tests.cli.commands import TIMEOUT_SECONDS, Serving, omendb_ws, serving
from tests.patience import wait_until

BOTH = [signal.SIGTERM, signal.SIGINT]


def get(
    server: Serving,
    path: str,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection = (
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
        if tls is None
        else http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=TIMEOUT_SECONDS, context=tls
        )
    )
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def silent_client(port: int) -> socket.socket:
    """A WebSocket that was upgraded and never says or reads anything again."""
    client = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS)
    client.sendall(
        b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
    return client


def test_with_a_port_for_http_the_ready_line_names_both_and_a_signal_ends_both() -> None:
    with serving("--http-port", "0") as server:
        found = re.fullmatch(
            rf"omendb-ws {re.escape(VERSION)} is ready at ws://\S+/v1 and (http://\S+:\d+)\n?",
            server.ready_line,
        )
        assert found, server.ready_line
        with httpx.Client(base_url=found[1], trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            assert client.get("/v1/collections").json() == {"collections": []}
            server.send(signal.SIGTERM)
            code, _, log = server.finish()
        assert code == 0, log
        assert "Traceback" not in log


@pytest.mark.parametrize("text", ["x", "-1", "65536", "1.5"])
def test_a_port_for_http_that_is_none_is_refused_by_its_flag(text: str) -> None:
    done = omendb_ws("serve", "--port", "0", f"--http-port={text}")
    assert done.returncode == 2
    assert f"http_port = '{text}'" in done.stderr or f"http_port = {text}" in done.stderr
    assert "must be an integer from 0 to 65535" in done.stderr


def test_the_ready_line_ends_with_the_address_and_the_routes_answer() -> None:
    with serving() as server:
        assert server.ready_line == f"omendb-ws {VERSION} is ready at {server.url}"
        assert server.url == f"ws://127.0.0.1:{server.port}/v1"
        for path in ("/livez", "/readyz"):
            assert get(server, path) == (200, b"ok\n")
        status, body = get(server, "/health")
        assert status == 200
        assert json.loads(body)["version"] == VERSION
        status, body = get(server, "/stats")
        assert status == 200
        assert json.loads(body)["connections"] == 0
        status, body = get(server, "/metrics")
        assert status == 200
        assert b"\nomendb_connections 0.0\n" in body
        status, body = get(server, "/")
        assert status == 200
        assert b"console/main.js" in body
        assert get(server, "/v1")[0] == 426
        assert get(server, "/nothing")[0] == 404


def test_the_ready_line_is_json_where_the_log_is() -> None:
    with serving("--log-format", "json", OMENDB_EVENT_LOOP="asyncio") as server:
        ready = json.loads(server.ready_line)
        assert ready == {
            "event": "ready",
            "url": f"ws://127.0.0.1:{ready['port']}/v1",
            "host": "127.0.0.1",
            "port": ready["port"],
            "version": VERSION,
            "pid": server.process.pid,
        }
        server.send(signal.SIGTERM)
        code, output, log = server.finish()
    assert (code, output) == (0, "")
    lines = [json.loads(line) for line in log.splitlines()]
    assert any("event loop asyncio" in line["message"] for line in lines)
    assert all(line["level"] == "info" for line in lines)


def test_a_client_is_greeted_and_a_foreign_page_is_not() -> None:
    with serving() as server:
        with connect(server.url, subprotocols=[Subprotocol("omendb.v1")]) as client:
            hello = json.loads(client.recv())
            assert (hello["event"], hello["auth"]) == ("hello", "none")
        with pytest.raises(InvalidStatus) as caught:
            connect(server.url, origin=Origin("http://evil.com"))
        assert caught.value.response.status_code == 403
        assert get(server, "/stats", {"Host": "evil.com"})[0] == 403
        assert get(server, "/stats", {"Origin": "null"})[0] == 403
        server.send(signal.SIGTERM)
        code, _, log = server.finish()
    assert code == 0
    refusals = [line for line in log.splitlines() if "refused " in line]
    assert len(refusals) == 3


def test_settings_reach_the_server(tmp_path: Path) -> None:
    path = tmp_path / "omendb.toml"
    path.write_text("max_k = 7\nmax_rows = 8")
    with (
        serving("--config", str(path), "--max-memory-bytes", "1000000", OMENDB_MAX_ROWS="9") as one,
        connect(one.url) as client,
    ):
        limits = json.loads(client.recv())["limits"]
        assert (limits["max_k"], limits["max_rows"]) == (7, 9)
        assert limits["max_memory_bytes"] == 1_000_000


def test_tls_is_all_there_is_with_a_certificate(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    files = ("--tls-certificate-file", certificate.certificate_file,
             "--tls-key-file", certificate.key_file)  # fmt: skip
    tls = certificate.trusting()
    with serving(*files) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        assert get(server, "/livez", tls=tls) == (200, b"ok\n")
        with connect(server.url, ssl=tls) as client:
            assert json.loads(client.recv())["event"] == "hello"
        with pytest.raises((http.client.HTTPException, OSError)):
            get(server, "/livez")
        with pytest.raises(ssl.SSLCertVerificationError):
            get(server, "/livez", tls=ssl.create_default_context())
        assert get(server, "/livez", tls=tls) == (200, b"ok\n")


def test_keys_decide_who_sees_what(tmp_path: Path) -> None:
    made = omendb_ws("new-key", "--name", "root", "--right", "admin")
    token = made.stderr.split(": ")[1].strip()
    keys = tmp_path / "keys.toml"
    keys.write_text(made.stdout)
    keys.chmod(0o600)
    with serving("--api-key-file", str(keys)) as server:
        assert get(server, "/stats")[0] == 401
        assert get(server, "/stats", {"Authorization": f"Bearer {token}"})[0] == 200
        assert get(server, "/metrics", {"X-API-Key": token})[0] == 200
        assert get(server, "/metrics", {"X-API-Key": token + "x"})[0] == 401
        assert get(server, "/health")[0] == 200
        with connect(server.url) as client:
            assert json.loads(client.recv())["auth"] == "required"
        with connect(server.url, additional_headers={"X-API-Key": token}) as client:
            assert json.loads(client.recv())["auth"] == "ok"
        server.send(signal.SIGTERM)
        code, output, log = server.finish()
    assert code == 0
    assert token not in output + log


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_drains_and_the_exit_code_is_0(number: signal.Signals) -> None:
    with serving() as server, connect(server.url) as client:
        client.recv()
        client.send('{"op":"ping","id":1}')
        assert json.loads(client.recv()) == {"id": 1, "ok": {}}
        server.send(number)
        with pytest.raises(ConnectionClosed) as caught:
            client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012
        code, output, log = server.finish()
    assert (code, output) == (0, "")
    assert log.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in log


def test_a_hangup_reads_keys_again_and_ends_nothing() -> None:
    """Whether it comes to an idle server, to a busy one, or to one that is leaving."""
    with serving("--drain-seconds", "3600") as server, connect(server.url) as client:
        client.recv()
        for number in range(1, 4):
            server.send(signal.SIGHUP)
            server.logged("SIGHUP: reading")
            client.send(f'{{"op":"ping","id":{number}}}')
            assert json.loads(client.recv()) == {"id": number, "ok": {}}
        silent = silent_client(server.port)
        server.send(signal.SIGTERM)
        server.logged("leaving")
        server.send(signal.SIGHUP)
        server.logged("SIGHUP: reading")
        assert get(server, "/livez")[0] == 200
        silent.close()
        code, output, rest = server.finish()
    assert (code, output) == (0, "")
    assert rest.splitlines()[-1].endswith("stopped")
    assert "SIGHUP" not in rest


def test_a_second_signal_ends_a_drain_that_takes_long() -> None:
    with serving("--drain-seconds", "3600") as server:
        client = silent_client(server.port)
        server.send(signal.SIGTERM)
        # It says that it is leaving, and waits for the client that says nothing.
        server.logged("leaving")
        assert get(server, "/readyz")[0] == 503
        assert get(server, "/livez")[0] == 200
        with pytest.raises(InvalidStatus) as caught:
            connect(server.url)
        assert caught.value.response.status_code == 503
        server.send(signal.SIGTERM)
        code, _, log = server.finish()
        client.close()
    assert code == 1
    assert "second signal" in log.splitlines()[-1]


def test_an_address_that_is_taken_is_said_with_what_to_do_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finished = omendb_ws("serve", "--port", str(port), OMENDB_LOG_LEVEL="warning")
    assert finished.returncode == 1
    assert finished.stdout == ""
    why, advice = finished.stderr.splitlines()
    assert why == f"omendb-ws: cannot listen on 127.0.0.1 port {port}: Address already in use"
    assert advice == (
        f"omendb-ws: another process has that port (ss -ltnp 'sport = :{port}' says which): end"
        " it, or choose another port (--port; 0 takes any free one)"
    )


def test_a_port_of_the_http_api_that_is_taken_is_the_one_that_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        finished = omendb_ws(
            "serve", "--port", "0", "--http-port", str(number), OMENDB_LOG_LEVEL="warning"
        )
    assert finished.returncode == 1
    why, advice = finished.stderr.splitlines()
    assert why == f"omendb-ws: cannot listen on 127.0.0.1 port {number}: Address already in use"
    assert "choose another port (--http-port; 0 takes" in advice


def test_an_address_that_the_system_does_not_give_is_said_with_what_to_do() -> None:
    denied = PermissionError(errno.EACCES, "denied")
    assert "ports below 1024 are kept for root" in str(hint(denied, 443, "--port"))
    assert hint(denied, 8765, "--port") is None
    finished = omendb_ws(  # an address for documents, which no machine has
        "serve", "--host", "192.0.2.1", "--port", "0", "--allow-origin", "http://a",
        OMENDB_LOG_LEVEL="error",
    )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].endswith("--host 0.0.0.0 is all that it has")


def test_an_unknown_host_is_one_line_and_exit_code_1() -> None:
    finished = omendb_ws(
        "serve", "--host", "no-such-host.invalid", "--port", "0", "--allow-origin", "http://a",
        OMENDB_LOG_LEVEL="error",
    )  # fmt: skip
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith("omendb-ws: cannot listen on no-such-host.invalid port 0: ")


def test_a_kernel_that_is_not_there_is_one_line_and_exit_code_2() -> None:
    finished = omendb_ws("serve", "--port", "0", OMENDB_KERNEL="warp")
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 1
    assert "warp" in finished.stderr


def test_ipv6_is_written_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with serving("--host", "::1") as server:
        assert server.ready_line.split()[-1].startswith("ws://[::1]:")


SLOW_REPLAY = """
import os, time
from omendb_ws.catalog import recovery
real = recovery.replay
def replay(window, logged):
    time.sleep(0.02)
    with open(os.environ["REPLAYED"], "a") as told:
        told.write("x")
    real(window, logged)
recovery.replay = replay
"""


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_during_a_slow_recovery_ends_it_and_harms_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    changes = 500
    data_dir, replayed = tmp_path / "data", tmp_path / "replayed"
    with serving("--data-dir", str(data_dir)) as server:
        with sync.connect(server.url) as db:
            db.create("items", dim=2, capacity=changes)
            for id_ in range(changes):
                db.add("items", np.array([[id_, 1.0]], np.float32), [id_])
        server.send(signal.SIGTERM)
        assert server.finish()[0] == 0
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW_REPLAY)
    slow = {"PYTHONPATH": str(tmp_path / "slow"), "REPLAYED": str(replayed)}
    with serving("--data-dir", str(data_dir), **slow) as server:
        until = time.monotonic() + TIMEOUT_SECONDS
        while not replayed.exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert get(server, "/readyz")[0] == 503
        server.send(number)
        code, _, log = server.finish()
    assert code == 0, log
    assert "fault" not in log
    assert 0 < replayed.stat().st_size < changes, "it was waited for to the end"
    assert omendb_ws("inspect", str(data_dir)).returncode == 0
    with serving("--data-dir", str(data_dir)) as server, sync.connect(server.url) as db:
        wait_until(lambda: get(server, "/readyz")[0] == 200)
        assert db.count("items") == changes
