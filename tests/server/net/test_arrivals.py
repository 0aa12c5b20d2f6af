"""How late what was read is handled, and that requests count it as time that they waited."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from omendb_ws.net import connection as connections
from omendb_ws.net.arrivals import Arrivals
from omendb_ws.sessions.session import Session
from omendb_ws.wire import binary
from tests.server.raw import batch, client, running


def test_what_waits_counts_from_its_own_piece() -> None:
    arrivals = Arrivals()
    assert not arrivals
    arrivals.note(100, 1.0)
    arrivals.note(250, 3.0)
    assert arrivals
    assert arrivals.late_us(0, 4.0) == 3_000_000
    assert arrivals.late_us(99, 4.0) == 3_000_000
    assert arrivals.late_us(100, 4.5) == 1_500_000
    assert arrivals.late_us(250, 9.0) == 0
    assert not arrivals
    arrivals.note(300, 5.0)
    arrivals.clear()
    assert arrivals.late_us(260, 9.0) == 0


async def test_a_request_that_waits_for_its_turn_counts_from_when_its_bytes_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """200 messages in one piece, one of each turn of the loop: each turn takes a second."""
    turns = [0.0]
    monkeypatch.setattr(connections, "monotonic", lambda: turns[0])
    monkeypatch.setattr(connections, "TURN_MESSAGES", 1)
    late: list[int] = []
    real = Session.is_heard_late

    def heard(session: Session, late_us: int, waiting_bytes: int = 0) -> None:
        late.append(late_us)
        real(session, late_us, waiting_bytes)
        turns[0] += 1.0

    monkeypatch.setattr(Session, "is_heard_late", heard)
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        late.clear()
        turns[0] = 0.0
        ids = [raw.next_id() for _ in range(200)]
        frames = [binary.encode_search(id, handle, np.ones((1, 2), np.float32)) for id in ids]
        await asyncio.gather(*[raw.send_binary(frame) for frame in frames])
        for id in ids:
            await raw.reply(id)
    waited = [one for one in late if one]
    assert max(waited) >= 2_000_000
    assert len(waited) > 20
