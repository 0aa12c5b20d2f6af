"""The machine's clock jumps, while the server runs or is down: rows keep their age all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from omendb_core.window import Window

from omendb_ws.engine.model.shard import Shard
from omendb_ws.engine.writes.changes import Changes
from omendb_ws.journal.local.store import LocalStore
from omendb_ws.net.server import Server
from omendb_ws.sessions import context
from omendb_ws.telemetry.metrics import Metrics
from tests.core.windows import LIMITS, History, definition
from tests.journal.logs import only
from tests.patience import PATIENCE_SECONDS
from tests.server.journal.test_durability import ready
from tests.server.raw import Clock, Raw, client, settings

HOUR = 3600.0
YEAR = 365 * 24 * HOUR


class Machine:
    """A data directory, the machine's clock, which may be set, and time as it passes."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = str(data_dir)
        self.wall = Clock()
        self.passed = Clock()
        self.wall.move(50 * YEAR)

    def pass_by(self, seconds: float) -> None:
        self.wall.move(seconds)
        self.passed.move(seconds)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Raw]:
        """A new process: its clock is the machine's as it begins, and counts on from there."""
        ahead_us = self.wall() - self.passed()
        server = Server(
            settings(data_dir=self.data_dir),
            clock_us=lambda: self.passed() + ahead_us,
            open_store=lambda path: LocalStore(
                path, wall_us=self.wall, seconds=lambda: self.passed() / 1e6
            ),
        )
        async with server, client(server) as one:
            await ready(server)
            yield one

    def times_us(self) -> list[int]:
        """When the changes in the log were made."""
        store = LocalStore(self.data_dir, wall_us=self.wall)
        recovery = store.recover(only(store), LIMITS)
        times = [change.time_us for change in recovery.changes() if hasattr(change, "time_us")]
        store.close()
        return times


async def count(one: Raw, expected: int) -> None:
    """Wait until there are so many rows."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await one.ok("count", collection="items"))["count"] != expected:
            pass


async def age(one: Raw) -> float | None:
    found = (await one.ok("stats", collection="items"))["oldest_age_s"]
    assert found is None or found >= 0
    return found  # type: ignore[no-any-return]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("jump", [-HOUR, -YEAR])
async def test_after_a_restart_with_the_clock_set_back_rows_stay_no_longer_than_their_ttl(
    machine: Machine, jump: float
) -> None:
    async with machine.serving() as one:
        await one.create("items", ttl=10)
        await one.add(1)
    machine.wall.move(jump)
    async with machine.serving() as one:
        machine.pass_by(4)
        await one.add(2)
        assert await age(one) == 4
        machine.pass_by(7)
        await count(one, 1)
        machine.pass_by(4)
        await count(one, 0)
        await one.add(3)
        assert await age(one) == 0
    times = machine.times_us()
    assert times == sorted(times)


async def test_downtime_counts(machine: Machine) -> None:
    async with machine.serving() as one:
        await one.create("items", ttl=10)
        await one.add(1)
        machine.pass_by(4)
        await one.add(2)
    machine.pass_by(7)
    async with machine.serving() as one:
        await count(one, 1)
        assert await age(one) == 7
        machine.pass_by(4)
        await count(one, 0)


@pytest.mark.parametrize("step", [YEAR, -HOUR, HOUR])
async def test_a_clock_that_is_set_while_the_server_runs_changes_no_age(
    machine: Machine, step: float
) -> None:
    """As where the time comes over the network after the start, or is put right."""
    async with machine.serving() as one:
        await one.create("items", ttl=10)
        await one.add(1)
        machine.wall.move(step)
        machine.pass_by(3)
        await one.add(2)
        assert await age(one) == 3
    machine.pass_by(5)
    async with machine.serving() as one:
        assert (await one.ok("count", collection="items"))["count"] == 2
        assert await age(one) == 8
        machine.pass_by(3)
        await count(one, 1)
        machine.pass_by(3)
        await count(one, 0)
    times = machine.times_us()
    assert times == sorted(times)


async def test_far_forward_and_back_again(machine: Machine) -> None:
    async with machine.serving() as one:
        await one.create("items", ttl=10)
        await one.add(1)
    machine.wall.move(YEAR)
    async with machine.serving() as one:  # for all that anybody can tell a year has passed
        await count(one, 0)
        await one.add(2)
        machine.pass_by(2)
        assert await age(one) == 2
    machine.wall.move(-YEAR)
    for seconds in (2, 3):
        async with machine.serving() as one:
            assert (await one.ok("count", collection="items"))["count"] == 1
            machine.pass_by(seconds)
    async with machine.serving() as one:
        assert await age(one) == 7
        await one.add(3)
        machine.pass_by(4)
        await count(one, 1)
        machine.pass_by(7)
        await count(one, 0)
    times = machine.times_us()
    assert times == sorted(times)


def test_the_usual_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    if context._BOOTTIME is None:
        pytest.skip("no such clock here")
    elapsed = context._elapsed_ns
    assert isinstance(elapsed, partial)
    assert (elapsed.func, elapsed.args) == (time.clock_gettime_ns, (time.CLOCK_BOOTTIME,))
    monkeypatch.setattr(context, "_elapsed_ns", lambda: 5_000_000)
    monkeypatch.setattr(context, "_SINCE_1970_NS", 1_000_000)
    assert context.monotonic_us() == 6_000


def test_what_is_made_up_for_arrived_by_the_servers_clock() -> None:
    window = Window(definition(), LIMITS)
    shard = Shard("acme", "items", "memory", window, 0.0)
    shard.ahead_us = round(HOUR * 1e6)
    change = History(window, 3).add()
    assert change is not None
    changes = Changes(Metrics(0.0))
    changes.make_up(shard, change)
    assert changes.changed == {shard: change.time_us - shard.ahead_us}
