"""A start that fails, at whatever step, leaves nothing behind: the next one works.

No thread, no descriptor, no lock of the directory, no task.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from omendb_core.model.errors import OmenError

import omendb_ws
from omendb_ws.journal.local.store import LocalStore
from omendb_ws.net.server import Server
from omendb_ws.net.tls import TlsError
from tests.server.raw import PATIENCE_SECONDS, client, running, settings
from tests.server.walk import Injector, Thread


def held() -> tuple[set[str], int, int]:
    """Names of our threads, descriptors, tasks."""
    threads = {one.name for one in threading.enumerate() if one.name.startswith("omendb-")}
    tasks = [task for task in asyncio.all_tasks() if not task.done()]
    return threads, len(os.listdir("/proc/self/fd")), len(tasks)


async def settles(before: tuple[set[str], int, int], after: str = "") -> None:
    """Return when no more is held than ``before``: what was closed goes in a turn to come."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while held() != before:  # noqa: ASYNC110 - the system's count
                await asyncio.sleep(0.01)
    except TimeoutError:
        assert held() == before, after


@pytest.fixture
async def nothing_is_left() -> Any:
    async with running():  # what a first server leaves for good: descriptors of the loop
        pass
    before = held()
    yield
    await settles(before)


@pytest.mark.usefixtures("nothing_is_left")
async def test_any_call_of_a_start_may_fail(tmp_path: Path) -> None:
    """A fault in each call that a start makes, one server after the other in one directory."""
    fields = {"data_dir": str(tmp_path / "data"), "scan_threads": 1}
    async with running(**fields) as server, client(server) as raw:
        await raw.create(durability="everysec")
        await raw.add(1)
    noted = Injector("loop")
    await start(noted, fields)
    assert len(noted.seen) > 30
    before = held()
    for call in noted.seen:
        injector = Injector("loop", call)
        await start(injector, fields)
        await settles(before, f"after a fault instead of {call}")
    async with running(**fields) as server, client(server) as raw:
        while server.status() != "ok":
            await raw.ok("ping")
        assert (await raw.ok("count", collection="items"))["count"] == 1


async def start(injector: Injector, fields: dict[str, Any]) -> None:
    """Start a server, which may fail, and end it."""
    server = Server(settings(**fields))
    with injector.watching():
        injector.is_armed = True
        try:
            await server.start()
        except (MemoryError, OmenError):
            assert injector.has_raised
            return
        finally:
            injector.is_armed = False
    await server.drain()


@pytest.mark.parametrize("on", ["loop", "others"])
@pytest.mark.usefixtures("nothing_is_left")
async def test_any_call_of_a_stop_may_fail(
    on: Thread, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All else is ended, the fault is told, and what was acknowledged is there afterwards."""
    fields = {"data_dir": str(tmp_path / "data"), "scan_threads": 1}
    noted = Injector(on)
    await stopped(noted, fields, 1)
    before = held()
    assert len(noted.seen) > 5
    for number, call in enumerate(noted.seen, start=2):
        injector = Injector(on, call)
        caplog.clear()
        is_raised = await stopped(injector, fields, number)
        await settles(before, f"after a fault instead of {call}")
        is_told = "on purpose" in caplog.text or is_raised
        assert is_told or not injector.has_raised, f"nobody heard of a fault instead of {call}"


async def stopped(injector: Injector, fields: dict[str, Any], row: int) -> bool:
    """Start a server, find the rows of those before, add one, and stop it: whether that raised."""
    with injector.watching(), ThreadPoolExecutor() as helpers:
        asyncio.get_running_loop().set_default_executor(helpers)  # watched ones
        server = Server(settings(**fields))
        await server.start()
        async with client(server) as raw:
            while server.status() != "ok":
                await raw.ok("ping")
            await raw.create(durability="everysec", capacity=1000, if_exists="ok")
            assert (await raw.ok("count", collection="items"))["count"] == row - 1
            await raw.add(row)
        injector.is_armed = True
        try:
            await server.drain()
        except MemoryError:
            assert injector.has_raised
            return True
        finally:
            injector.is_armed = False
        return False


STEPS = {
    "the engine": "omendb_ws.engine.engine.Engine.stop",
    "recoveries": "omendb_ws.catalog.recovery.Recoveries.stop",
    "a log": "omendb_ws.journal.local.writer.Writer.close",
    "the store": "omendb_ws.journal.store_thread.Storage.close",
    "a window": "omendb_ws.engine.model.shard.Shard.let_go",
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.usefixtures("nothing_is_left")
async def test_a_step_of_a_stop_that_fails_once_is_tried_again_and_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"data_dir": str(tmp_path / "data"), "scan_threads": 1}
    await stopped(Injector("loop"), fields, 1)
    where, _, method = STEPS[name].rpartition(".")
    step = resolve_name(where).__dict__[method]
    times = 0

    def fails_once(self: Any) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            raise MemoryError("on purpose")
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(STEPS[name], fails_once)
        assert not await stopped(Injector("loop"), fields, 2)
    assert times >= 2
    assert "on purpose" in caplog.text
    await stopped(Injector("loop"), fields, 3)


@pytest.mark.usefixtures("nothing_is_left")
async def test_a_directory_that_cannot_be_read_is_given_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    fields = {"data_dir": str(tmp_path)}
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "stored", refused)
        with pytest.raises((OSError, OmenError)):
            async with Server(settings(**fields)):
                pass
        with pytest.raises((OSError, OmenError)):
            await omendb_ws.connect("memory://", server_settings=fields)
    async with omendb_ws.connect("memory://", server_settings=fields) as db:
        assert await db.list() == []
    async with running(**fields):
        pass


@pytest.mark.usefixtures("nothing_is_left")
async def test_an_address_that_is_taken_leaves_the_directory_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            async with Server(settings(data_dir=str(tmp_path), port=port)):
                pass
    async with running(data_dir=str(tmp_path)):
        pass


@pytest.mark.usefixtures("nothing_is_left")
async def test_a_certificate_that_is_none_leaves_the_directory_free(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    directory = str(tmp_path / "data")
    with pytest.raises(TlsError):
        async with Server(
            settings(data_dir=directory, tls_certificate_file=str(bad), tls_key_file=str(bad))
        ):
            pass
    async with running(data_dir=directory):
        pass
