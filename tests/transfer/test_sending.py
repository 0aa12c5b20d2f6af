"""The sender against a server that remembers batches, answers late, and fails as servers do."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from omendb_ws.client import Added
from omendb_ws.errors import ConnectionLost, NonFinite, OmenError, OutOfOrder, Overloaded
from omendb_ws.transfer.cutting import Batch
from omendb_ws.transfer.sending import IN_FLIGHT, Sender
from tests.patience import PATIENCE_SECONDS


def batch(number: int) -> Batch:
    return Batch(number, np.ones((2, 1), np.float32), None, None, np.array([0, 1]), None)


class Batches:
    """A source of ``count`` batches; ``dry``: numbers before which it has nothing for a while."""

    def __init__(self, count: int, dry: tuple[int, ...] = ()) -> None:
        self._numbers = iter(range(1, count + 1))
        self._dry = set(dry)
        self._next: int | None = next(self._numbers, None)
        self.sender: Sender | None = None

    @property
    def is_over(self) -> bool:
        return self._next is None

    def take(self) -> Batch | None:
        if self._next is None:
            return None
        if self._next in self._dry:
            self._dry.discard(self._next)
            assert self.sender is not None
            asyncio.get_running_loop().call_later(0.001, self.sender.news.set)
            return None
        number, self._next = self._next, next(self._numbers, None)
        return batch(number)


class Server:
    """Takes batches in order, each once. ``faults``: what the sendings raise, by count of them;
    with "applied" in them the batch goes in all the same."""

    def __init__(
        self, faults: dict[int, tuple[OmenError, bool]] | None = None, seed: int = 0
    ) -> None:
        self.log: list[int] = []
        self.sendings = 0
        self.most = self._now = 0
        self._faults = faults or {}
        self._random = random.Random(seed)

    async def send(self, batch: Batch) -> Added:
        self.sendings += 1
        fault = self._faults.get(self.sendings)
        outcome = self._apply(batch.number) if fault is None or fault[1] else None
        self._now += 1
        self.most = max(self.most, self._now)
        for _ in range(self._random.randrange(5)):
            await asyncio.sleep(0)
        self._now -= 1
        if fault is not None:
            raise fault[0]
        if isinstance(outcome, OmenError):
            raise outcome
        return Added(1, None, None, len(batch))

    def _apply(self, number: int) -> OmenError | None:
        expected = len(self.log) + 1
        if number > expected:
            return OutOfOrder("out of order", expected=expected)
        if number == expected:
            self.log.append(number)
        return None


async def run(
    server: Server, source: Batches, rate: float | None = None, stop_at: int | None = None
) -> list[int]:
    """Send all; the numbers that were told as acknowledged, in order."""
    told: list[int] = []

    def acknowledged(batch: Batch, _: Added) -> None:
        told.append(batch.number)
        if batch.number == stop_at:
            sender.stop()

    sender = source.sender = Sender(source, server.send, acknowledged, rate)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await sender.run()
    finally:
        assert told == sorted(set(told)), "told twice, or out of order"
        assert told == list(range(1, len(told) + 1))
        assert set(told) <= set(server.log), "told of a batch that is not in"
    return told


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
async def test_every_batch_goes_in_once_and_several_are_under_way(count: int) -> None:
    server = Server()
    assert await run(server, Batches(count)) == server.log == list(range(1, count + 1))
    assert server.sendings == count
    assert server.most <= IN_FLIGHT
    assert count < 9 or server.most > 1


async def test_a_source_that_is_slow_is_waited_for() -> None:
    server = Server()
    told = await run(server, Batches(20, dry=(1, 2, 10, 20)))
    assert told == server.log == list(range(1, 21))


@pytest.mark.parametrize("seed", range(20))
async def test_batches_that_overtook_each_other_are_sent_again(seed: int) -> None:
    # As after a reconnect: some are refused because one before them was not there yet.
    chance = random.Random(seed)
    faults = {at: (OutOfOrder("late", expected=1), False) for at in {chance.randrange(1, 40)}}
    server = Server(faults, seed)
    assert await run(server, Batches(30)) == server.log == list(range(1, 31))


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize(
    "error", [NonFinite("bad", row=1), Overloaded("busy"), ConnectionLost("x")]
)
async def test_what_ends_it_is_raised_and_what_is_in_was_told(
    error: OmenError, applied: bool
) -> None:
    server = Server({10: (error, applied)}, seed=3)
    with pytest.raises(type(error)):
        await run(server, Batches(30))
    assert 9 <= len(server.log) <= 9 + IN_FLIGHT


async def test_a_producer_that_was_forgotten_ends_it() -> None:
    server, source = Server(), Batches(20)

    async def forget(batch: Batch) -> Added:
        if batch.number == 6:
            server.log.clear()
        return await server.send(batch)

    told: list[int] = []
    sender = Sender(source, forget, lambda one, _: told.append(one.number), None)
    with pytest.raises(OutOfOrder):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await sender.run()
    assert told == [1, 2, 3, 4, 5]


async def test_stopping_waits_for_what_is_under_way_and_sends_nothing_more() -> None:
    server = Server(seed=1)
    told = await run(server, Batches(1000), stop_at=20)
    assert told == server.log
    assert 20 <= len(told) <= 20 + IN_FLIGHT


async def test_a_rate_is_kept() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await run(Server(), Batches(20), rate=400.0)  # 40 rows
    assert loop.time() - started >= 38 / 400 * 0.95


async def test_an_error_of_the_source_ends_it_after_what_came_before() -> None:
    class Broken(Batches):
        def take(self) -> Batch | None:
            one = super().take()
            if one is not None and one.number == 12:
                raise ValueError("the file")
            return one

    server = Server(seed=2)
    told: list[int] = []
    sender = Sender(Broken(20), server.send, lambda one, _: told.append(one.number), None)
    with pytest.raises(ValueError, match="the file"):
        await sender.run()
    assert told == server.log == list(range(1, 12))


async def test_cancelling_leaves_no_task_behind() -> None:
    async def never(_: Any) -> Added:
        await asyncio.sleep(3600)
        raise AssertionError

    sender = Sender(Batches(20), never, lambda *_: None, None)
    running = asyncio.ensure_future(sender.run())
    await asyncio.sleep(0.01)
    running.cancel()
    for _ in range(2):  # the second one does not wait for what is under way either
        await asyncio.sleep(0.01)
        running.cancel()
    await asyncio.wait([running], timeout=PATIENCE_SECONDS)
    assert running.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
