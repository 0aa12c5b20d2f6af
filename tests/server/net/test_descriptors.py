"""Descriptors run out: connections are turned away before logs find none, in few words."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import select
import socket
import subprocess
import sys
from typing import Any

import pytest

from omendb_ws.net.server import Server
from omendb_ws.runtime import descriptors
from omendb_ws.runtime.descriptors import Descriptors, close_waiting
from omendb_ws.sync import connect
from tests.cli.commands import TIMEOUT_SECONDS, serving
from tests.patience import PATIENCE_SECONDS
from tests.server.net import hostile, short_server
from tests.server.net.good import good
from tests.server.net.hostile import Place
from tests.server.raw import settings

LIMIT = 64


def is_closed(one: socket.socket) -> bool:
    """Whether the server has closed it, without a word."""
    try:
        return one.recv(1) == b""
    except ConnectionError:
        return True


def turned_away(storm: list[socket.socket], at_least: int) -> int:
    """How many the server has closed; waits for that many."""
    closed = 0
    waiting = list(storm)
    while closed < at_least:
        readable, _, _ = select.select(waiting, [], [], TIMEOUT_SECONDS)
        assert readable, f"{closed} of {len(storm)} were turned away"
        closed += sum(map(is_closed, readable))
        waiting = [one for one in waiting if one not in readable]
    return closed


def sockets_of(pid: int) -> int:
    """How many a process has."""
    count = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
    return count


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
def test_a_storm_of_connections_takes_no_descriptor_that_a_log_needs(
    event_loop: str, tmp_path: Any
) -> None:
    if event_loop == "uvloop":
        pytest.importorskip("uvloop")
    with serving("--data-dir", str(tmp_path), OMENDB_EVENT_LOOP=event_loop) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        with connect(server.url) as db:
            db.create("items", dim=16, capacity=1000, ids="auto", durability="always")
            at = ("127.0.0.1", server.port)
            storm = [socket.create_connection(at, TIMEOUT_SECONDS) for _ in range(3 * LIMIT)]
            try:
                assert turned_away(storm, at_least=2 * LIMIT) < 3 * LIMIT
                for _ in range(200):  # several segments of 1 MiB
                    db.add("items", [[1.0] * 16] * 100)
            finally:
                for one in storm:
                    one.close()
            assert db.stats("items")["journal"]["written_bytes"] > 1 << 20
            with connect(server.url) as another:
                assert another.count("items") == 1000
        server.process.terminate()
        code, _, log = server.finish()
    assert code == 0
    assert "turned away" in log
    assert log.count("\n") < 20, log


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
async def test_descriptors_run_out_among_clients_that_send_and_take_half(
    event_loop: str, tmp_path: Any
) -> None:
    """They take all there are, again and again; whoever is there goes on, and its log too."""
    if event_loop == "uvloop":
        pytest.importorskip("uvloop")
    attacks = hostile.UNKNOWN | hostile.OPEN | hostile.HALF_CLOSED
    with short_server.running(str(tmp_path), event_loop) as (process, port):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        place = Place(port)
        async with good(place) as one:
            await one.fill(durability="always")
            before = sockets_of(process.pid)
            for _ in range(2):
                ends = asyncio.gather(
                    *(attack(place) for attack, _ in attacks.values() for _ in range(3)),
                    return_exceptions=True,
                )
                while not ends.done():
                    await one.ask("update", collection="items", rows=[{"id": 1, "metadata": {}}])
                    await one.search()
                    await asyncio.wait([ends], timeout=hostile.PACE_SECONDS)
                assert all(isinstance(end, str | OSError | EOFError) for end in ends.result())
                while sockets_of(process.pid) > before:
                    await one.search()
            async with good(place) as another:
                await another.search()
            assert one.answers > 10
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert "turned away" in log
    assert "ERROR" not in log
    assert "Traceback" not in log
    assert log.count("\n") < 60, log


async def test_accepting_that_finds_no_descriptor_closes_who_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    watch = Descriptors(10)
    watch.open()
    error = OSError(errno.EMFILE, "Too many open files")
    with socket.create_server(("127.0.0.1", 0)) as listener, caplog.at_level(logging.WARNING):
        listener.setblocking(False)
        for _ in range(3):
            waiting = [socket.create_connection(listener.getsockname()) for _ in range(5)]
            failed = {"message": "accept", "exception": error, "socket": listener}
            loop.call_exception_handler(failed)
            assert turned_away(waiting, at_least=5) == 5
            for one in waiting:
                one.close()
        assert close_waiting(listener.fileno()) == 0
    assert len(caplog.records) == 1
    assert not told
    other = {"message": "another fault", "exception": ValueError("x")}
    loop.call_exception_handler(other)
    assert told == [other]
    watch.close()
    loop.call_exception_handler(other)
    assert told == [other, other]


async def test_a_server_that_stops_in_a_storm_leaves_no_fault_behind() -> None:
    """asyncio tries to listen again a second later, on what is closed by then."""
    loop = asyncio.SelectorEventLoop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))

    async def stop_in_a_storm() -> None:
        watch = Descriptors(10)
        watch.open()
        listening = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        [listener] = listening.sockets
        error = OSError(errno.EMFILE, "Too many open files")
        loop.call_exception_handler({"message": "a", "exception": error, "socket": listener})
        loop.call_later(0.01, loop._start_serving, asyncio.Protocol, _Closed())  # type: ignore[attr-defined]
        listening.close()
        watch.close()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while loop.get_exception_handler() == watch._handle:  # noqa: ASYNC110 - a timer
                await asyncio.sleep(0.01)
        loop.call_exception_handler({"message": "another fault"})

    await asyncio.to_thread(loop.run_until_complete, stop_in_a_storm())
    loop.close()
    assert told == [{"message": "another fault"}]


class _Closed:
    """A socket that is closed."""

    def fileno(self) -> int:
        return -1


def test_the_soft_limit_becomes_the_hard_one() -> None:
    code = (
        "import resource; from omendb_ws.runtime import descriptors\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, min(hard, 1000)))\n"
        "descriptors.raise_limit(); print(descriptors.limit() == min(hard, 1000))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("limit", "is_said"), [(1024, True), (11_000, True), (20_000, False), (None, False)]
)
async def test_more_connections_than_descriptors_are_warned_of(
    limit: int | None,
    is_said: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(descriptors, "limit", lambda: limit)
    with caplog.at_level(logging.WARNING, logger="omendb_ws"):
        async with Server(settings()):
            pass
    assert ("are 11024 together" in caplog.text) == is_said
