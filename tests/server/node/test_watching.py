"""The timer that looks at the load: it goes on behind a fault, which is counted."""

from __future__ import annotations

import asyncio

import pytest

from omendb_ws.engine.model.ticket import Lane
from omendb_ws.node.watching import SAY_US, watched
from omendb_ws.sessions.overload import Overload
from omendb_ws.telemetry.metrics import Metrics
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import Clock


async def test_a_fault_is_counted_and_it_is_looked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, looked = Metrics(0.0), asyncio.Event()
    real = Overload.look

    def look(self: Overload, late_us: float = 0.0) -> bool:
        if not metrics.faults:
            raise RuntimeError("a fault")
        looked.set()
        return real(self, late_us)

    monkeypatch.setattr(Overload, "look", look)
    overload = watched(1000, Clock(), metrics)
    overload.came_late(overload.load(Lane()), 1.0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await looked.wait()
    assert metrics.faults == 1


async def test_a_fault_that_stays_is_logged_once_and_then_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, metrics, looked = Clock(), Metrics(0.0), asyncio.Event()

    def look(self: Overload, late_us: float = 0.0) -> bool:
        if metrics.faults == 20:
            clock.now_us += SAY_US
        if metrics.faults == 25:
            looked.set()
            return False
        raise RuntimeError("a fault that stays")

    monkeypatch.setattr(Overload, "look", look)
    overload = watched(1000, clock, metrics)
    overload.came_late(overload.load(Lane()), 1.0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await looked.wait()
    assert metrics.faults == 25
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("looking at the load")
    assert second.endswith("looking at the load (19 more since the last such line)")
