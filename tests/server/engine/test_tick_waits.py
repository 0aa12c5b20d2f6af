"""How much of what the engine does a light read waits for: what is left of a tick, and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from omendb_ws.engine import changing
from omendb_ws.engine.pieces import long_reads as pieces
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.raw import client, queued, rows, running


class Held:
    """``call``, held each time until ``let_go``."""

    def __init__(self, call: Callable[..., Any], holds: Callable[[], bool] = lambda: True) -> None:
        self._call = call
        self._holds = holds
        self._leave = threading.Semaphore(0)
        self.entered = 0

    def __call__(self, *arguments: Any) -> Any:
        if self._holds():
            self.entered += 1
            self._leave.acquire(timeout=PATIENCE_SECONDS)
        return self._call(*arguments)

    def let_go(self, times: int = 1) -> None:
        self._leave.release(times)


async def test_an_answer_does_not_wait_for_reads_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces, "SLICE_US", 0)  # a piece a tick
    async with running() as server, client(server) as heavy, client(server) as light:
        await heavy.create(capacity=5_000)
        await heavy.ok("add", collection="items", rows=rows(*range(5_000)))
        long_reads = server.context.engine.tick.reading.long
        held = Held(long_reads.run, lambda: len(long_reads) > 0)
        monkeypatch.setattr(long_reads, "run", held)
        try:
            asked = await heavy.send("get", collection="items", ids=list(range(5_000)))
            await eventually(lambda: held.entered == 1)
            id = await light.send("count", collection="items")
            await queued(server, 2)
            held.let_go()
            await eventually(lambda: held.entered == 2)
            assert (await light.reply(id))["ok"]["count"] == 5_000
            assert held.entered == 2, "it came before the next piece was done"
        finally:
            held.let_go(1_000)
        assert len((await heavy.reply(asked))["ok"]["rows"]) == 5_000


async def test_a_read_that_comes_during_changes_is_answered_in_that_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changing, "TICK_CHANGES_US", 0)
    async with running() as server, client(server) as heavy, client(server) as light:
        await heavy.create()
        changes = server.context.engine.tick.changing.changes
        held = Held(changes.do)
        monkeypatch.setattr(changes, "do", held)
        try:
            adds = [await heavy.send("add", collection="items", rows=rows(n)) for n in (1, 2)]
            await eventually(lambda: held.entered == 1)
            await eventually(lambda: server.context.engine.depth == 1)  # the other add is there
            id = await light.send("count", collection="items")
            await queued(server, 2)
            held.let_go()
            await eventually(lambda: held.entered == 2)
            assert (await light.reply(id))["ok"]["count"] == 1
            assert held.entered == 2
        finally:
            held.let_go(1_000)
        for add in adds:
            assert "ok" in await heavy.reply(add)
