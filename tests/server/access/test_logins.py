"""Who came is in the log by the name of its key; wrong tokens are counted and slowed down."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import omendb_core.model.errors as errors
import pytest

from omendb_ws.access import logins
from omendb_ws.access.logins import (
    BURST,
    MOST_ADDRESSES,
    MOST_SECONDS,
    STEP_SECONDS,
    Logins,
)
from omendb_ws.access.peer import Peer, site
from omendb_ws.net.server import Server
from omendb_ws.runtime.logs import HIDDEN, TextFormatter
from omendb_ws.telemetry.metrics import Metrics
from tests.server.http.test_http_sockets import Address, get
from tests.server.raw import Clock, client, running, with_keys


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "omendb_ws")
    return caplog


def those(lines: pytest.LogCaptureFixture, part: str) -> list[logging.LogRecord]:
    return [line for line in lines.records if part in line.getMessage()]


async def test_who_comes_and_what_they_create_and_drop_is_in_the_log(
    tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
        client(server) as browser,
    ):
        await browser.ok("auth", token="token-keeper")
        await raw.ok("auth", token="token-root")  # a token that is refreshed is nobody new
        await raw.create("a")
        await raw.create("a", if_exists="ok")
        assert await raw.code("create", collection="a", dim=3, capacity=3) == "exists"
        await browser.ok("drop", collection="a")
        port = raw.socket.local_address[1]
    assert [one.key for one in those(lines, "login of key")] == ["root", "keeper"]  # type: ignore[attr-defined]
    (made,), (dropped,) = those(lines, "create of collection"), those(lines, "drop of collection")
    said = f"create of collection a (tenant acme) by key root from 127.0.0.1:{port}"
    assert made.getMessage() == said
    assert (dropped.key, dropped.collection) == ("keeper", "a")  # type: ignore[attr-defined]


async def test_an_open_server_logs_no_logins(lines: pytest.LogCaptureFixture) -> None:
    async with running() as server, client(server) as raw:
        await raw.ok("auth", token="anything")
        await raw.create("a")
    assert not those(lines, "login")
    assert those(lines, "create of collection a (tenant default) by key open")


async def test_a_refused_page_is_logged_in_words_with_its_peer(
    tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    async with running(Server(with_keys(tmp_path))) as server:
        assert (await get(Address(server.port), "/stats"))[0] == 401
    [line] = those(lines, "refused /stats")
    said = TextFormatter().format(line).partition("refused ")[2]
    assert re.fullmatch(r"/stats from 127\.0\.0\.1:\d+: 401 A token is needed", said)
    assert HIDDEN not in said


async def test_failed_logins_are_counted_and_logged_a_bit(
    tmp_path: Path, lines: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with running(Server(with_keys(tmp_path), clock_us=clock)) as server:
        for _ in range(BURST):
            async with client(server, token="nobody", greeted=False) as raw:
                assert await raw.closed() == 4401
        address = Address(server.port)
        assert (await get(address, "/stats"))[0] == 401
        assert server.metrics.failed_logins == BURST
        clock.move(100)
        assert (await get(address, "/stats", "X-API-Key: nobody"))[0] == 401
        assert server.metrics.failed_logins == BURST + 1
    assert len(those(lines, "failed login from 127.0.0.1")) == BURST + 1


def test_what_was_not_logged_is_said_in_the_next_line(lines: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    some = Logins(Metrics(0.0), clock)
    for _ in range(1000):
        some.failed(Peer("192.0.2.1"), "unknown")
    assert len(those(lines, "failed login")) == 10
    clock.move(1)
    some.failed(Peer("192.0.2.1"), "unknown")
    assert "(990 more since" in lines.records[-1].getMessage()
    clock.move(1)
    some.failed(Peer("192.0.2.1"), "unknown")
    assert "more since" not in lines.records[-1].getMessage()


def test_wrong_tokens_of_an_address_are_answered_later_and_later() -> None:
    clock = Clock()
    some = Logins(Metrics(0.0), clock)
    assert [some.failed(Peer("192.0.2.1"), "unknown") for _ in range(BURST)] == [0.0] * BURST
    waits = [some.failed(Peer("192.0.2.1"), "unknown") for _ in range(100)]
    assert waits[0] == STEP_SECONDS
    assert waits == sorted(waits)
    assert waits[-1] == MOST_SECONDS
    assert some.failed(Peer("192.0.2.2"), "unknown") == 0.0
    clock.move(2 * BURST * STEP_SECONDS)
    assert some.failed(Peer("192.0.2.1"), "unknown") == 0.0


def test_the_table_of_addresses_is_bounded() -> None:
    some = Logins(Metrics(0.0), Clock())
    for number in range(2 * MOST_ADDRESSES):
        some.failed(Peer(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"), "unknown")
    assert len(some._paces) == MOST_ADDRESSES


SITES = {
    "192.0.2.7": "192.0.2.7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2::9": "2001:db8:1:2::/64",
    "fe80::1%eth0": "fe80::/64",
    "unknown": "unknown",
}


@pytest.mark.parametrize("host", SITES)
def test_of_ipv6_a_whole_site_is_one_address(host: str) -> None:
    assert site(host) == SITES[host]


async def test_a_right_token_never_waits_for_wrong_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MOST_SECONDS", 3600.0)
    clock = Clock()
    async with running(Server(with_keys(tmp_path), clock_us=clock, auth_seconds=3600)) as server:
        for _ in range(2 * BURST):
            server.context.logins.failed(Peer("127.0.0.1"), "unknown")
        async with client(server, token="nobody", greeted=False) as header, client(server) as op:
            await op.send("auth", token="nobody", id=1)
            await op.send("auth", token="token-root", id=2)  # too late: it is refused already
            async with client(server, token="token-root") as known:
                assert await known.ok("list") == {"collections": []}
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /stats HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: nobody\r\n\r\n")
            asked = asyncio.create_task(reader.read())
            assert (await get(Address(server.port), "/stats", "X-API-Key: token-root"))[0] == 200
            assert server.metrics.failed_logins == 2 * BURST + 3
            assert not asked.done()
            assert not header.order
            assert not op.replies
            writer.transport.abort()
            assert await asked == b""


async def test_whoever_waits_for_its_refusal_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "MOST_SECONDS", 0.05)
    async with running(Server(with_keys(tmp_path), clock_us=Clock())) as server:
        for _ in range(2 * BURST):
            server.context.logins.failed(Peer("127.0.0.1"), "unknown")
        async with client(server, token="nobody", greeted=False) as raw:
            assert (await raw.named("error"))["code"] == errors.Unauthenticated.code
            assert await raw.closed() == 4401
        async with client(server) as raw:
            assert await raw.code("auth", token="nobody") == "unauthenticated"
            assert await raw.closed() == 4401


def test_a_peer_is_written_as_an_address() -> None:
    named: dict[Any, str] = {
        Peer("127.0.0.1", 5): "127.0.0.1:5",
        Peer("::1", 5): "[::1]:5",
        Peer("memory"): "memory",
    }
    assert {peer: str(peer) for peer in named} == named
