"""Fixtures of the server's tests."""

from __future__ import annotations

import pytest

from omendb_ws.engine import changing
from omendb_ws.engine.streams import deliveries
from omendb_ws.engine.streams import standing_queries as standing

LONG_US = 3_600_000_000


@pytest.fixture
def whole_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits when a tick begins is done in it, however often this machine stops meanwhile.

    For tests of what one tick makes of it; their counts and bytes bound it as ever.
    """
    monkeypatch.setattr(changing, "TICK_CHANGES_US", LONG_US)
    monkeypatch.setattr(standing, "CATCH_UP_US", LONG_US)
    monkeypatch.setattr(deliveries, "TICK_PUSH_US", LONG_US)
