"""When the server gives freed memory back to the system."""

from __future__ import annotations

import pytest

from omendb_ws.node.samples import AGAIN_AFTER_SAMPLES
from omendb_ws.runtime import freed_memory
from tests.server.raw import running

MIB = 1 << 20


async def test_it_is_returned_after_much_was_freed_and_once_more_when_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    returns: list[int] = []
    monkeypatch.setattr(freed_memory, "give_back_freed_memory", lambda: returns.append(1))
    async with running() as server:
        node, budget = server.node, server.context.catalog.budget

        async def returned_in(samples: int) -> int:
            before = len(returns)
            for _ in range(samples):
                await node.samples.freed.look(budget.taken_bytes)
            return len(returns) - before

        budget.take(40 * MIB, "this test takes")
        assert await returned_in(10) == 0
        budget.give_back(10 * MIB)
        assert await returned_in(10) == 0  # little was freed
        budget.give_back(20 * MIB)
        assert await returned_in(1) == 1
        assert await returned_in(AGAIN_AFTER_SAMPLES - 1) == 0
        assert await returned_in(1) == 1
        assert await returned_in(10) == 0
        budget.give_back(10 * MIB)
