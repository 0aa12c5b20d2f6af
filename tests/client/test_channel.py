"""Channels between loops: order, bounds, ends; and no wake-up is ever lost."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from omendb_ws.runtime.channel import ROOM_BYTES, Channel
from omendb_ws.runtime.transport import Closed
from tests.patience import PATIENCE_SECONDS


class Far:
    """An event loop in another thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def far() -> Iterator[Far]:
    other = Far()
    yield other
    other.close()


def here() -> Channel:
    loop = asyncio.get_running_loop()
    return Channel(loop, loop)


async def test_messages_arrive_in_order_and_then_the_end() -> None:
    channel = here()
    channel.put([b"a", b"b"])
    channel.put([b"c"])
    channel.close(1001, "away")
    assert [await channel.get() for _ in range(3)] == [b"a", b"b", b"c"]
    for _ in range(2):
        with pytest.raises(Closed) as caught:
            await channel.get()
        assert (caught.value.code, caught.value.reason) == (1001, "away")
    with pytest.raises(Closed):
        channel.put([b"d"])


async def test_only_the_first_end_counts() -> None:
    channel = here()
    channel.close(1001, "away")
    channel.close(1002, "again")
    with pytest.raises(Closed) as caught:
        await channel.get()
    assert caught.value.code == 1001


async def test_a_sender_waits_while_too_much_is_on_its_way() -> None:
    channel = here()
    channel.put([bytes(ROOM_BYTES)] * 2)
    waiting = [asyncio.ensure_future(channel.room()) for _ in range(3)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    waiting[0].cancel()
    await channel.get()
    await channel.get()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*waiting[1:])


async def test_the_end_frees_whoever_waits() -> None:
    full, empty = here(), here()
    full.put([bytes(ROOM_BYTES)])
    waiting = [asyncio.ensure_future(full.room()), asyncio.ensure_future(empty.get())]
    await asyncio.sleep(0)
    full.close(1000, "")
    empty.close(1000, "")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waiting[0]
        with pytest.raises(Closed):
            await waiting[1]


@pytest.mark.parametrize("seed", range(3))
async def test_between_threads_everything_arrives_once_in_order_and_within_bounds(
    far: Far, seed: int
) -> None:
    channel = Channel(asyncio.get_running_loop(), far.loop)
    chance = random.Random(seed)
    sizes = [chance.choice([1, 10, 1000, ROOM_BYTES // 3]) for _ in range(3000)]
    most = 0

    async def read() -> list[bytes]:
        nonlocal most
        taken = []
        try:
            while True:
                most = max(most, channel._put_bytes - channel._got_bytes)
                message = await channel.get()
                taken.append(message[:8])
                if len(taken) % 50 == 0:
                    await asyncio.sleep(0)
        except Closed:
            return taken

    reading = far.run(read())
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number, size in enumerate(sizes):
            channel.put([number.to_bytes(8, "big") + bytes(size)])
            await channel.room()
            if size == 1:
                await asyncio.sleep(0)
        channel.close(1000, "")
        taken = await asyncio.wrap_future(reading)
    assert taken == [number.to_bytes(8, "big") for number in range(len(sizes))]
    assert most < 2 * ROOM_BYTES


async def test_a_question_and_an_answer_between_threads_never_wait_for_ever(far: Far) -> None:
    near = asyncio.get_running_loop()
    asked, answered = Channel(near, far.loop), Channel(far.loop, near)

    async def answer() -> None:
        try:
            while True:
                answered.put([await asked.get()])
        except Closed:
            answered.close(1000, "")

    answering = far.run(answer())
    async with asyncio.timeout(PATIENCE_SECONDS):
        for number in range(2000):
            asked.put([b"%d" % number])
            assert await answered.get() == b"%d" % number
        asked.close(1000, "")
        await asyncio.wrap_future(answering)


class Interrupted(asyncio.Event):
    """An event at whose ``clear`` the other thread does something."""

    def __init__(self, other: Callable[[], None]) -> None:
        super().__init__()
        self._other = other

    def clear(self) -> None:
        super().clear()
        self._other()


async def test_what_is_put_while_the_other_side_goes_to_wait_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = here()
    monkeypatch.setattr(channel, "_wake", lambda loop, event: None)
    channel._news = Interrupted(lambda: channel.put([b"a"]))
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await channel.get() == b"a"
    channel._news = Interrupted(lambda: channel.close(1000, ""))
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(Closed):
            await channel.get()


async def test_what_is_taken_while_the_other_side_goes_to_wait_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = here()
    monkeypatch.setattr(channel, "_wake", lambda loop, event: None)
    channel.put([bytes(ROOM_BYTES)])

    def take() -> None:
        channel._got_bytes += len(channel._messages.popleft())

    channel._room = Interrupted(take)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await channel.room()


async def test_a_loop_that_is_closed_holds_nobody_up() -> None:
    other = Far()
    channel = Channel(asyncio.get_running_loop(), other.loop)
    waiting = other.run(channel.get())
    channel.put([b"a"])
    assert waiting.result(PATIENCE_SECONDS) == b"a"
    other.close()
    channel._is_target_waiting = True
    channel.put([bytes(2 * ROOM_BYTES)])
    await channel.room()
    assert channel.is_closed
    with pytest.raises(Closed, match="loop is closed"):
        channel.put([b"c"])
    channel.close(1000, "")
