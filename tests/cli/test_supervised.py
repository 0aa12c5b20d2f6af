"""``serve`` under a service manager: ready, reloading, stopping, beats, sockets that were open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omendb_ws import connect, sync
from omendb_ws.cli.supervised import Supervised
from omendb_ws.net.server import Server
from omendb_ws.net.sockets import Sockets, SocketsError, named, told_of
from omendb_ws.node.heartbeat import Heartbeat
from omendb_ws.runtime.systemd import Given, Notifier, monotonic_usec
from tests.cli.commands import TIMEOUT_SECONDS, omendb_ws, serving
from tests.deploy.manager import Manager, activated, manager, ports_of
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.raw import settings


@pytest.fixture
def listening() -> Iterator[Manager]:
    with manager() as one:
        yield one


def told(listening: Manager, name: str) -> list[str]:
    """Every value of ``name`` so far."""
    return [
        line.partition("=")[2]
        for lines in listening.heard
        for line in lines
        if line.startswith(f"{name}=")
    ]


def test_a_manager_hears_of_a_whole_life(listening: Manager) -> None:
    with serving(NOTIFY_SOCKET=listening.address) as server:
        assert f"STATUS=serving at {server.url}" in listening.next("READY=1")
        before = monotonic_usec()
        server.send(signal.SIGHUP)
        [line] = [
            line for line in listening.next("RELOADING=1") if line.startswith("MONOTONIC_USEC=")
        ]
        assert before <= int(line.partition("=")[2]) <= monotonic_usec()
        listening.next("READY=1")
        server.send(signal.SIGTERM)
        # drain_seconds are 10: the manager must not end it before.
        assert "EXTEND_TIMEOUT_USEC=40000000" in listening.next("STOPPING=1")
        code, _, log = server.finish()
    assert code == 0, log
    assert told(listening, "WATCHDOG") == [] == told(listening, "WATCHDOG_USEC")


def test_a_watchdog_is_fed_before_and_after_it_is_ready(listening: Manager) -> None:
    with serving(NOTIFY_SOCKET=listening.address, WATCHDOG_USEC="400000") as server:
        listening.next("READY=1")
        for _ in range(5):
            listening.next("WATCHDOG=1")
        server.send(signal.SIGTERM)
        listening.next("STOPPING=1")
        assert server.finish()[0] == 0


def test_it_is_ready_once_what_is_stored_was_read(listening: Manager, tmp_path: Path) -> None:
    with serving("--data-dir", str(tmp_path)) as server, sync.connect(server.url) as db:
        db.create("notes", dim=2, capacity=10)
        db.add("notes", [[1, 0]], ids=[1])
        server.send(signal.SIGTERM)
        assert server.finish()[0] == 0
    with serving("--data-dir", str(tmp_path), NOTIFY_SOCKET=listening.address) as server:
        listening.next("READY=1")
        status = httpx.get(f"http://127.0.0.1:{server.port}/readyz", trust_env=False)
        assert status.status_code == 200


def test_an_address_that_is_none_is_an_error_that_names_it() -> None:
    done = omendb_ws("serve", "--port", "0", NOTIFY_SOCKET="here")
    assert done.returncode == 2
    assert done.stderr == (
        "omendb-ws: NOTIFY_SOCKET = 'here' must be the path of a Unix socket, or @ and a name\n"
    )


async def test_no_beat_comes_while_the_engine_stands(
    listening: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on, and asks; the engine is in the middle of a tick that does not end."""
    goes_on, stands = threading.Event(), threading.Event()
    supervised = Supervised(Given(Notifier(listening.address), 0.02, ()))
    async with Server(settings()) as server, contextlib.AsyncExitStack() as stack:
        stack.callback(goes_on.set)
        tick = server.context.engine.tick
        do, ask = tick.do, Heartbeat.ask
        asks: list[Heartbeat] = []

        def counted(heartbeat: Heartbeat) -> None:
            asks.append(heartbeat)
            ask(heartbeat)

        def stand() -> int:
            stands.set()
            goes_on.wait(PATIENCE_SECONDS)
            return do()

        monkeypatch.setattr(Heartbeat, "ask", counted)
        supervised.begin(server)
        await eventually(lambda: ["WATCHDOG=1"] in listening.waiting())
        monkeypatch.setattr(tick, "do", stand)
        await eventually(stands.is_set)
        listening.waiting()
        asked = len(asks)
        await eventually(lambda: len(asks) >= asked + 20)
        assert listening.waiting() == []
        monkeypatch.setattr(tick, "do", do)
        goes_on.set()
        await eventually(lambda: ["WATCHDOG=1"] in listening.waiting())
        await supervised.end()


async def test_a_start_that_reads_for_long_asks_for_more_time_and_says_how_much_is_left(
    listening: Manager,
) -> None:
    class Reading:
        unread = 2

    supervised = Supervised(Given(Notifier(listening.address), None, ()))
    async with Server(settings()) as server:
        recoveries = server.node.recoveries = Reading()  # type: ignore[assignment]
        supervised.begin(server)
        await eventually(lambda: ["EXTEND_TIMEOUT_USEC=60000000"] in listening.waiting())
        await eventually(lambda: bool(listening.waiting()) and bool(told(listening, "STATUS")))
        assert told(listening, "STATUS") == ["reading 2 of the stored collections"]
        assert told(listening, "READY") == []
        recoveries.unread = 0
        await eventually(lambda: bool(listening.waiting()) and bool(told(listening, "READY")))
        server.node.recoveries = None
        await supervised.end()


def test_a_server_takes_the_sockets_that_are_open_and_says_their_addresses() -> None:
    websocket, http = ports_of(2)
    ports = [one.getsockname()[1] for one in (websocket, http)]
    with websocket, http, activated(http, websocket, names="http:ws") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"ready at ws://127.0.0.1:{ports[0]}/v1 and http://127.0.0.1:{ports[1]}" in line
        with sync.connect(f"ws://127.0.0.1:{ports[0]}/v1") as db:
            db.create("notes", dim=2, capacity=10)
        answer = httpx.get(f"http://127.0.0.1:{ports[1]}/v1/collections/notes", trust_env=False)
        assert answer.json()["dim"] == 2


async def test_who_comes_while_no_server_is_there_waits_for_the_next_one() -> None:
    [listening] = ports_of(1)
    url = f"ws://127.0.0.1:{listening.getsockname()[1]}/v1"
    with listening:
        coming = asyncio.create_task(_ask(url))
        await eventually(lambda: _has_waiting(listening))
        with activated(listening) as first:
            await coming
            first.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.wait, TIMEOUT_SECONDS) == 0
        coming = asyncio.create_task(_ask(url))
        await eventually(lambda: _has_waiting(listening))
        with activated(listening):
            await coming


async def _ask(url: str) -> None:
    async with connect(url, reconnect=False, open_timeout_seconds=PATIENCE_SECONDS) as db:
        await db.ping()


def _has_waiting(listening: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    return bool(select.select([listening], [], [], 0)[0])


@pytest.mark.parametrize("names", [["ws", "other"], ["http"], ["ws", "http", "http"]])
def test_sockets_that_are_not_one_and_one_for_http_are_refused(names: list[str]) -> None:
    sockets = ports_of(len(names))
    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.enter_context(one)
        with pytest.raises(SocketsError, match="LISTEN_FDS"):
            named(zip(names, sockets, strict=True))


def test_an_open_server_is_not_reached_by_others_through_a_socket_either() -> None:
    """Where the socket listens is where the server listens: the settings must allow it."""
    with socket.create_server(("", 0)) as everywhere, activated(everywhere) as process:
        assert process.wait(TIMEOUT_SECONDS) == 2
        assert process.stderr is not None
        log = process.stderr.read()
        assert "LISTEN_FDS: allow_origins: host 0.0.0.0 is reachable by others" in log
    given = settings(allow_origins=("http://your.site",), max_k=7)
    with socket.create_server(("", 0)) as everywhere:
        port = everywhere.getsockname()[1]
        found = told_of(given, Sockets(everywhere))
    assert found == given.model_copy(update={"host": "0.0.0.0", "port": port})


def test_a_process_that_the_sockets_are_not_for_does_not_take_them() -> None:
    with serving(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1") as server:
        assert server.port
