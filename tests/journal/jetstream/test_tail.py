"""A tail that has no consumer: how it asks for messages then. Without NATS."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from omendb_ws.journal.jetstream.tail import _RETRY_SECONDS, Tail


class Room(asyncio.Event):
    """Room for one message, and the times at which it was asked whether there is any since."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def is_set(self) -> bool:
        if not super().is_set():
            self.asked.append(asyncio.get_running_loop().time())
        return super().is_set()


async def test_one_that_has_no_room_does_not_spin_while_it_waits_for_a_consumer() -> None:
    async def message_of_any(stream: str, sequence: int) -> tuple[bytes, int]:
        return b"", sequence

    async def idle() -> None:
        """Follows nothing by itself."""

    is_made, received = asyncio.Event(), list[int]()

    def receive(sequence: int, message: bytes, time_ns: int) -> None:
        received.append(sequence)
        room.clear()

    def begin(work: Any) -> asyncio.Task[None]:
        work.close()
        return asyncio.create_task(idle())

    jetstream: Any = SimpleNamespace(
        connection=SimpleNamespace(begin=begin), message_of_any=message_of_any
    )
    tail = Tail(jetstream, "stream", 7, receive, lambda error: None)
    tail.has_room = room = Room()
    room.set()
    receiving = asyncio.create_task(tail._receive_until(is_made))
    while len(room.asked) < 4:  # noqa: ASYNC110 - nobody sets an event
        await asyncio.sleep(0)
    is_made.set()
    await receiving
    assert received == [7]
    pauses = [after - before for before, after in zip(room.asked, room.asked[1:], strict=False)]
    assert min(pauses) > _RETRY_SECONDS / 2
