"""Clients that send and take half, slowly or nothing: each ends in time, and harms nobody.

All of a kind come at once, some of each, to a server whose patience is short. Meanwhile a client
that was there before is answered, and others come and go; afterwards nothing of them is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.certificates import make_certificate
from tests.patience import PATIENCE_SECONDS
from tests.server.net import hostile
from tests.server.net.driven import Driven
from tests.server.net.good import good
from tests.server.net.hostile import Attack, Place
from tests.server.net.rfc6455.table import text
from tests.server.net.short_server import CONSTANTS, SHORT_SECONDS
from tests.server.raw import running, settings, with_keys

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
#: Of each kind of client.
EACH = 2

Attacks = dict[str, tuple[Attack, str]]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers whose patience is short."""
    for module, name, value in CONSTANTS:
        monkeypatch.setattr(module, name, value)


@asynccontextmanager
async def serving(given: Settings | None = None, **fields: Any) -> AsyncIterator[Server]:
    server = Server(
        given or settings(**fields), stall_seconds=SHORT_SECONDS, auth_seconds=SHORT_SECONDS / 2
    )
    async with running(server):
        yield server


async def newcomers(place: Place, token: str | None, served: list[int]) -> None:
    """Come, are answered, and go, again and again. Patience is short with them too: on a machine
    that stands still some are cut off."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with good(place, token) as one:
                await one.search()
                served.append(1)
        await asyncio.sleep(hostile.PACE_SECONDS)


def is_left_alone(server: Server) -> bool:
    """Whether one client is there, and nobody who wants to be one."""
    waiting = len(server._strangers) + len(server._intake or ())
    return len(server._known) == len(server._sessions) == 1 and not waiting


async def ended(attack: Attack, place: Place, expected: str) -> str:
    """How ``attack`` ends. One that is to be upgraded, and was not in time, comes again: patience
    with handshakes is short too, and a machine may stand still for as long."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            how = await attack(place)
            if how or not expected:
                return how


async def besieged(
    server: Server, place: Place, attacks: Attacks, token: str | None, port: int | None = None
) -> None:
    """All that the tests of this file ask. ``port``: the attacks go there."""
    attacked = place if port is None else place._replace(port=port)
    served: list[int] = []
    async with good(place, token) as one:
        await one.fill()
        before = len(os.listdir("/proc/self/fd"))
        names = [name for name in attacks for _ in range(EACH)]
        ends = asyncio.gather(
            *(ended(attacks[name][0], attacked, attacks[name][1]) for name in names)
        )
        coming = asyncio.create_task(newcomers(place, token, served))
        try:
            while not ends.done() or not (served or coming.done()):
                await one.search()
                await asyncio.wait([ends], timeout=hostile.PACE_SECONDS)
        finally:
            for task in (coming, ends):
                task.cancel()
            await asyncio.wait([coming, ends])
        assert coming.cancelled(), coming.exception()
        assert served
        wrong = {
            name: how
            for name, how in zip(names, ends.result(), strict=True)
            if how != attacks[name][1]
        }
        assert not wrong
        while not is_left_alone(server) or len(os.listdir("/proc/self/fd")) > before:
            await one.search()
        assert server._known.held_bytes == server._strangers.held_bytes == 0
        assert server.metrics.faults == 0


# -- servers of all kinds -------------------------------------------------------------------------


async def _open_server(_: Path) -> None:
    async with serving() as server:
        attacks = hostile.UNKNOWN | hostile.OPEN | hostile.HALF_CLOSED
        await besieged(server, Place(server.port), attacks, None)


async def _server_with_keys(directory: Path) -> None:
    """Whoever has no token is one of few, and has to say who it is in time."""
    async with serving(with_keys(directory)) as server:
        late = "4401"
        attacks: Attacks = {
            "no token": (hostile.saying(hostile.UPGRADE), late),
            "pings for a token": (
                hostile.saying(hostile.UPGRADE, hostile.endless(hostile.ping(b"x"))),
                late,
            ),
            "half a message for a token": (
                hostile.saying(hostile.UPGRADE + text("x" * 100)[:50], hostile.endless(b"x")),
                late,
            ),
        }
        await besieged(server, Place(server.port), hostile.UNKNOWN | attacks, "token-root")


async def _server_with_tls(directory: Path) -> None:
    made = make_certificate(directory)
    files = {"tls_certificate_file": made.certificate_file, "tls_key_file": made.key_file}
    tls = made.trusting()
    async with serving(**files) as server:
        attacks = hostile.UNKNOWN | hostile.OPEN | hostile.TLS | hostile.tls_halves(tls)
        await besieged(server, Place(server.port, tls=tls), attacks, None)


async def _server_behind_a_proxy(directory: Path) -> None:
    trusted = {"trusted_proxies": ("127.0.0.1",), "proxy_protocol": "on"}
    async with serving(with_keys(directory, **trusted)) as server:
        place = Place(server.port, hostile.PROXY_LINE)
        await besieged(server, place, hostile.UNKNOWN | hostile.PROXIED, "token-root")


async def _server_with_tls_behind_a_proxy(directory: Path) -> None:
    made = make_certificate(directory)
    given = with_keys(
        directory,
        trusted_proxies=("127.0.0.1",),
        proxy_protocol="on",
        tls_certificate_file=made.certificate_file,
        tls_key_file=made.key_file,
    )
    tls = made.trusting()
    async with serving(given) as server:
        place = Place(server.port, hostile.PROXY_LINE, tls)
        halves = hostile.tls_halves(tls, hostile.PROXY_LINE)
        attacks = hostile.UNKNOWN | hostile.PROXIED | halves
        await besieged(server, place, attacks, "token-root")


async def _http_api(_: Path) -> None:
    async with serving(http_port=0, http_idle_seconds=1.0) as server:
        assert server.http_url is not None
        port = int(server.http_url.rpartition(":")[2])
        await besieged(server, Place(server.port), hostile.HTTP, None, port)


SERVERS: dict[str, Callable[[Path], Awaitable[None]]] = {
    "open": _open_server,
    "with keys": _server_with_keys,
    "with TLS": _server_with_tls,
    "behind a proxy": _server_behind_a_proxy,
    "with TLS behind a proxy": _server_with_tls_behind_a_proxy,
    "the HTTP API": _http_api,
}


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
def test_half_slow_and_silent_clients_end_in_time_and_others_are_served(
    name: str, event_loop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new_loop = asyncio.new_event_loop
    if event_loop == "uvloop":
        new_loop = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(SERVERS[name](tmp_path))  # type: ignore[arg-type]
    assert not [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


async def test_what_came_before_a_connection_was_anybodys_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may be lost between the upgrade and its session."""
    driven = Driven(1000, is_attached=False)
    driven.feed(hostile.SEARCH + hostile.frame(hostile.TEXT, b"{") + hostile.frame(0x80, b"}"))
    driven.lose()
    assert not driven.heard
    assert not caplog.records
