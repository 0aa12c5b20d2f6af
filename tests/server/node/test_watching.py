"""The timer that looks at the load: it goes on behind a fault, which is counted."""

from __future__ import annotations

import asyncio

import pytest

from omendb_ws.engine.model.ticket import Lane
from omendb_ws.node.watching import watched
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
