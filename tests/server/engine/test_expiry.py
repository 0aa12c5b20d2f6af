"""Rows that are due together leave some at a time, with everybody else's work in between."""

from __future__ import annotations

from pathlib import Path

import pytest
from omendb_core.admission import admission

from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.patience import eventually
from tests.server.engine.test_long_answers import made_rows
from tests.server.raw import Clock, client, running, settings


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_EXPIRED", 10)


@pytest.mark.parametrize("durability", ["memory", "always"])
async def test_all_rows_that_are_due_leave_by_changes_of_so_many_each(
    durability: str, tmp_path: Path
) -> None:
    clock = Clock()
    asked: Settings = settings(data_dir=str(tmp_path / "data"))
    server = Server(asked, clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(capacity=100, ttl=5, durability=durability)
        await raw.ok("add", collection="items", rows=made_rows(0, 95))
        clock.move(3)
        await raw.ok("add", collection="items", rows=made_rows(200, 3))
        shard = server.context.catalog.find("default", "items").shard
        before = shard.window.version
        clock.move(2.5)  # from here on it stands: only what goes on by itself is done
        await eventually(lambda: shard.window.state.expired >= 95)
        assert shard.window.version == before + 10
        assert (await raw.ok("count", collection="items"))["count"] == 3
        await raw.ok("add", collection="items", rows=made_rows(300, 2))
        clock.move(20)
        await eventually(lambda: shard.window.rows == 0)
        with server.context.engine._windows:  # it may be in the middle of that change
            shard.window.check()


async def test_others_are_answered_in_between() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as other:
        await raw.create(capacity=5000, ttl=5)
        for first in range(0, 5000, 1000):
            await raw.ok("add", collection="items", rows=made_rows(first, 1000))
        shard = server.context.catalog.find("default", "items").shard
        await other.create("small")
        clock.move(6)
        seen = set()
        while shard.window.rows:
            await other.ok("count", collection="small")
            seen.add(shard.window.rows)
        assert len(seen) > 2
