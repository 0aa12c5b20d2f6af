"""A system that has no thread to give for a while: what waits for one goes on when it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.access import jwks_url, jwt_keys
from omendb_ws.catalog import recovery
from omendb_ws.cli.supervised import Supervised
from omendb_ws.net.server import Server
from omendb_ws.net.watch import Watch
from omendb_ws.runtime.systemd import Given, Notifier
from tests.access import jwt_making as making
from tests.deploy.manager import manager
from tests.patience import eventually
from tests.server.raw import client, running, settings


class Threads(ThreadPoolExecutor):
    """Those that ``to_thread`` takes from. ``missed``: how often there was none."""

    are_out = False
    missed = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.are_out:
            self.missed += 1
            raise RuntimeError("can't start new thread")
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
async def threads() -> Threads:
    found = Threads(2)
    asyncio.get_running_loop().set_default_executor(found)
    return found


async def test_connections_are_watched_still(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that could not be given back is no reason to let stalled ones stay for ever."""
    looks: list[Watch] = []
    monkeypatch.setattr(Watch, "_make_way", lambda watch: looks.append(watch))
    async with running(Server(settings(), stall_seconds=0.05)) as server:
        await eventually(lambda: looks)
        threads.are_out = True
        server._known.freed.most_bytes = 1 << 40
        await eventually(lambda: threads.missed)
        looks.clear()
        await eventually(lambda: len(looks) > 1)
        threads.are_out = False
        assert server.metrics.faults == 1


async def test_what_is_stored_comes_back_later(
    threads: Threads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_SPACE_SECONDS", 0.01)
    async with running(data_dir=str(tmp_path)) as server, client(server) as raw:
        await raw.create(durability="always")
        await raw.add(1)
    threads.are_out = True
    async with running(data_dir=str(tmp_path)) as server, client(server) as raw:
        await eventually(lambda: threads.missed > 1)
        refused = await raw.error("count", collection="items")
        assert refused["code"] == "unavailable"
        assert "no thread" in refused["message"]
        threads.are_out = False
        await eventually(lambda: server.status() == "ok")
        assert (await raw.ok("count", collection="items"))["count"] == 1


async def test_a_token_whose_key_cannot_be_fetched_is_refused(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the keys' own server does not answer: by what is known."""
    known = jwt_keys.from_jwks(making.jwks("rsa"))
    monkeypatch.setattr(jwks_url, "fetch", lambda _: known)
    given = {"jwt_jwks_url": "http://127.0.0.1:1/keys", "jwt_audience": "omendb"}
    async with running(Server(settings(**given))) as server:
        await server.node.keys.fetch()
        threads.are_out = True
        token = making.token("ec", aud="omendb")
        async with client(server, token=token, greeted=False) as raw:
            assert await raw.closed() == 4401
        assert threads.missed
        threads.are_out = False


async def test_a_service_manager_hears_all_the_same(threads: Threads) -> None:
    with manager() as listening:

        def has_heard(line: str) -> bool:
            listening.waiting()
            return any(line in lines for lines in listening.heard)

        supervised = Supervised(Given(Notifier(listening.address), None, ()))
        async with Server(settings()) as server:
            threads.are_out = True
            supervised.begin(server)
            await eventually(lambda: has_heard("READY=1"))
            await supervised.leave(10.0)
            assert has_heard("STOPPING=1")
            threads.are_out = False
            await supervised.end()
