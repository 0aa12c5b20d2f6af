"""Behind a proxy: whose address a connection has, over real sockets, and what strangers send."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from omendb_ws.access.logins import BURST
from omendb_ws.net import intake
from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.certificates import make_certificate
from tests.patience import eventually
from tests.server.net.test_proxy_protocol import BAD, GOOD, version_2
from tests.server.net.test_websocket_frames import frame
from tests.server.raw import PATIENCE_SECONDS, Clock, Raw, client, running, settings, with_keys

CLIENT = "198.51.100.7"
LINE = f"PROXY TCP4 {CLIENT} 192.0.2.1 4711 8765\r\n".encode()
STATS = b"GET /stats HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UPGRADE = (
    b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def behind(directory: Path, proxy: str = "127.0.0.1", **fields: Any) -> Settings:
    """Of a server with keys and an audit log, behind a proxy."""
    audit = {"audit_file": str(directory / "audit.jsonl")}
    return with_keys(directory, **{"trusted_proxies": (proxy,), **audit, **fields})


def addresses(directory: Path) -> list[str]:
    """Of all entries of the audit log."""
    lines = (directory / "audit.jsonl").read_text().splitlines()
    return [json.loads(line)["address"] for line in lines]


async def said(port: int, *pieces: bytes, **options: Any) -> bytes:
    """All that a server says to ``pieces``, each written by itself, until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionError):
                return await reader.read()
        return b""
    finally:
        writer.transport.abort()


def closing(request: bytes) -> bytes:
    """An upgrade that ends at once, so that there is an end to read to."""
    return request + b"\r\n" + frame(8, b"")


# -- X-Forwarded-For ----------------------------------------------------------------------------


async def test_what_a_trusted_proxy_says_is_in_logs_buckets_and_the_audit_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "omendb_ws")
    forwarded = f"X-Forwarded-For: 1.2.3.4, {CLIENT}\r\n".encode()
    wrong = b"X-API-Key: nobody\r\n"
    async with running(Server(behind(tmp_path), clock_us=Clock())) as server:
        paces = server.context.logins._paces
        assert b" 401 " in await said(server.port, STATS + forwarded + wrong + b"\r\n")
        assert b"unauthenticated" in await said(server.port, closing(UPGRADE + forwarded + wrong))
        assert list(paces._paces) == [CLIENT]
        forwarded_6 = {"X-Forwarded-For": "[2001:db8::7]:4711", "X-API-Key": "token-root"}
        async with connect(server.url, additional_headers=forwarded_6, compression=None) as socket:
            raw = Raw(socket)
            await raw.create("a")
    assert addresses(tmp_path) == [CLIENT, CLIENT, *["[2001:db8::7]:4711"] * 2]
    assert f"failed login from {CLIENT}: the token is not known" in caplog.text
    assert f"refused /stats from {CLIENT}: 401" in caplog.text
    assert "create of collection a (tenant acme) by key root from [2001:db8::7]:4711" in caplog.text


async def test_what_a_stranger_says_of_himself_counts_for_nothing(tmp_path: Path) -> None:
    forwarded = f"X-Forwarded-For: {CLIENT}\r\nForwarded: for={CLIENT}\r\n".encode()
    wrong = b"X-API-Key: nobody\r\n"
    async with running(Server(behind(tmp_path, "192.0.2.0/24"), clock_us=Clock())) as server:
        assert b" 401 " in await said(server.port, STATS + forwarded + wrong + b"\r\n")
        assert list(server.context.logins._paces._paces) == ["127.0.0.1"]
    (address,) = addresses(tmp_path)
    assert address.startswith("127.0.0.1:")


async def test_clients_of_one_proxy_are_slowed_down_each_by_itself(tmp_path: Path) -> None:
    def wrong(host: str) -> bytes:
        return STATS + f"X-Forwarded-For: {host}\r\nX-API-Key: nobody\r\n\r\n".encode()

    async with running(Server(behind(tmp_path), clock_us=Clock())) as server:
        for _ in range(BURST):
            assert b" 401 " in await said(server.port, wrong(CLIENT))
        late = asyncio.create_task(said(server.port, wrong(CLIENT)))
        for number in range(30):
            assert b" 401 " in await said(server.port, wrong(f"203.0.113.{number}"))
        assert not late.done()
        late.cancel()


# -- the PROXY protocol -------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def expecting(directory: Path, **fields: Any) -> AsyncIterator[Server]:
    """A server that wants a PROXY header from this machine."""
    async with running(Server(behind(directory, proxy_protocol="on", **fields))) as server:
        yield server


@pytest.mark.parametrize("header", GOOD, ids=lambda header: repr(header[:40]))
async def test_the_address_in_the_header_is_the_clients(header: bytes, tmp_path: Path) -> None:
    request = STATS + b"X-Forwarded-For: 203.0.113.9\r\n\r\n"
    async with expecting(tmp_path) as server:
        assert b" 401 " in await said(server.port, header + request)
        assert b" 401 " in await said(server.port, header, request)
        assert b'"event":"hello"' in await said(server.port, header + closing(UPGRADE))
        assert server.metrics.proxy_failures == 0
    peer, (one, other) = GOOD[header], addresses(tmp_path)
    if peer is None:  # nobody knows the client's address, and he may have written the header
        assert one.startswith("127.0.0.1:")
        assert other.startswith("127.0.0.1:")
    else:
        assert one == other == str(peer)


async def test_a_proxy_behind_a_proxy_may_forward_for_its_clients(tmp_path: Path) -> None:
    trusted = ("127.0.0.1", "192.0.2.0/24")
    request = STATS + f"X-Forwarded-For: {CLIENT}\r\n\r\n".encode()
    async with expecting(tmp_path, trusted_proxies=trusted) as server:
        await said(server.port, version_2("192.0.2.9") + request)
        await said(server.port, version_2("203.0.113.9") + request)
    assert addresses(tmp_path) == [CLIENT, "203.0.113.9:4711"]


async def test_a_header_may_come_a_byte_at_a_time(tmp_path: Path) -> None:
    request = STATS + b"\r\n"
    async with expecting(tmp_path) as server:
        for header in (LINE, version_2("2001:db8::7", rest=bytes(50))):
            pieces = [bytes([one]) for one in header + request]
            assert b" 401 " in await said(server.port, *pieces)
    assert addresses(tmp_path) == [f"{CLIENT}:4711", "[2001:db8::7]:4711"]


async def test_a_header_comes_before_tls(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    files = {
        "tls_certificate_file": certificate.certificate_file,
        "tls_key_file": certificate.key_file,
    }
    async with expecting(tmp_path, **files) as server:
        for whole in (True, False):  # in one segment with what TLS begins with, and alone
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            secure = certificate.trusting().wrap_bio(
                incoming, outgoing, server_hostname="localhost"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            with pytest.raises(ssl.SSLWantReadError):
                secure.do_handshake()
            hello = outgoing.read()
            writer.write(LINE + hello if whole else LINE)
            if not whole:
                await writer.drain()
                writer.write(hello)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    try:
                        secure.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        writer.write(outgoing.read())
                        incoming.write(await reader.read(1 << 16))
                secure.write(STATS + b"\r\n")
                writer.write(outgoing.read())
                answer = b""
                while b" 401 " not in answer:
                    incoming.write(await reader.read(1 << 16))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        answer += secure.read(1 << 16)
            writer.transport.abort()
        with pytest.raises((ssl.SSLError, ConnectionError)):  # TLS alone is no header
            async with client(server, ssl=certificate.trusting()):
                pass
        assert server.metrics.proxy_failures == 1
    assert addresses(tmp_path) == [f"{CLIENT}:4711"] * 2


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_header_is_closed_without_an_answer(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with expecting(tmp_path) as server:
        assert await said(server.port, BAD[name] + STATS + b"\r\n") == b""
        assert server.metrics.proxy_failures == 1
        assert b" 401 " in await said(server.port, LINE + STATS + b"\r\n")
        assert not len(server._intake or ())
    (line,) = [one.getMessage() for one in caplog.records if "closing a connection" in one.message]
    assert "1.1.1.1" not in line


async def test_a_header_that_ends_or_does_not_come_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with expecting(tmp_path) as server:
        for header in (LINE, version_2(CLIENT)):
            for length in range(1, len(header)):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(header[:length])
                writer.write_eof()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await reader.read() == b""
                writer.transport.abort()
        assert server.metrics.proxy_failures == len(LINE) + len(version_2(CLIENT)) - 2
        # Whoever only looks whether the port is open has done nothing wrong.
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()
        await writer.wait_closed()
        before = server.metrics.proxy_failures
        monkeypatch.setattr(intake, "HEADER_SECONDS", 0.01)
        for header in (b"", b"PRO", LINE[:-1], version_2(CLIENT)[:-1]):
            assert await said(server.port, header) == b""
        assert server.metrics.proxy_failures == before + 4


async def test_a_stranger_who_sends_a_header_himself_is_no_proxy(tmp_path: Path) -> None:
    async with running(Server(behind(tmp_path, "192.0.2.0/24", proxy_protocol="on"))) as server:
        for header in (LINE, version_2(CLIENT), b"PROXY UNKNOWN\r\n"):
            answer = await said(server.port, header + STATS + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""
        assert b" 401 " in await said(server.port, STATS + b"\r\n")
        async with client(server, token="token-root") as raw:
            assert await raw.ok("list") == {"collections": []}
    assert all(one.startswith("127.0.0.1:") for one in addresses(tmp_path))


async def test_where_no_header_is_expected_a_proxys_is_refused_too(tmp_path: Path) -> None:
    async with running(Server(behind(tmp_path))) as server:
        for header in (LINE, version_2(CLIENT)):
            answer = await said(server.port, header + STATS + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""
        assert b" 401 " in await said(server.port, STATS + b"\r\n")


async def test_those_that_wait_are_bounded_and_the_oldest_leaves(tmp_path: Path) -> None:
    most = 4
    async with expecting(tmp_path, max_unauthenticated_connections=most) as server:
        waiting = []
        for _ in range(3 * most):
            waiting.append(await asyncio.open_connection("127.0.0.1", server.port))
            assert server._intake is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            for reader, _ in waiting[: 2 * most]:
                assert await reader.read() == b""
        assert len(server._intake or ()) == most
        assert server.metrics.shed_connections["strangers"] == 2 * most
        for _, writer in waiting[2 * most :]:
            writer.write(LINE + STATS + b"\r\n")
        for reader, writer in waiting[2 * most :]:
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert b" 401 " in await reader.read()
            writer.transport.abort()
    for _, writer in waiting:
        writer.transport.abort()


async def test_of_many_that_come_at_once_no_more_wait_either(tmp_path: Path) -> None:
    most = 4
    async with expecting(tmp_path, max_unauthenticated_connections=most) as server:
        address = ("127.0.0.1", server.port)
        # Nothing is accepted before the loop has its turn, and then all of them in one.
        waiting = [socket.create_connection(address) for _ in range(5 * most)]
        try:
            shed = server.metrics.shed_connections
            await eventually(lambda: shed["strangers"] == 4 * most)
            assert len(server._intake or ()) == most
            for one in waiting[: 4 * most]:
                one.setblocking(False)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await asyncio.get_running_loop().sock_recv(one, 1) == b""
            assert len(server._intake or ()) == most
        finally:
            for one in waiting:
                one.close()


async def test_leaving_closes_who_has_not_said_where_it_is(tmp_path: Path) -> None:
    async with expecting(tmp_path, drain_seconds=0.0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(LINE[:10])
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not len(server._intake or ()):  # noqa: ASYNC110 - accepted in another turn
                await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.transport.abort()


OVER_UVLOOP: dict[str, Callable[[Path], Awaitable[None]]] = {
    "version 1": partial(test_the_address_in_the_header_is_the_clients, LINE),
    "version 2": partial(test_the_address_in_the_header_is_the_clients, version_2("2001:db8::7")),
    "no address": partial(test_the_address_in_the_header_is_the_clients, version_2(None)),
    "by the byte": test_a_header_may_come_a_byte_at_a_time,
    "TLS": test_a_header_comes_before_tls,
    "a stranger": test_a_stranger_who_sends_a_header_himself_is_no_proxy,
    "too many": test_those_that_wait_are_bounded_and_the_oldest_leaves,
    "the end": test_leaving_closes_who_has_not_said_where_it_is,
}


@pytest.mark.parametrize("name", OVER_UVLOOP)
def test_uvloop_hands_over_sockets_as_asyncio_does(name: str, tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(OVER_UVLOOP[name](tmp_path))  # type: ignore[arg-type]


# -- settings -----------------------------------------------------------------------------------


def test_networks_are_checked_and_a_port_that_nobody_may_speak_to_is_refused() -> None:
    given = settings(trusted_proxies=["10.0.0.0/8", "::1"], proxy_protocol="on")
    assert given.trusted_proxies == ("10.0.0.0/8", "::1")
    for wrong in ("10.0.0.1/8", "proxy", ""):
        with pytest.raises(ValueError, match="trusted_proxies"):
            settings(trusted_proxies=[wrong])
    with pytest.raises(ValueError, match="nobody may send the header"):
        settings(proxy_protocol="on")
