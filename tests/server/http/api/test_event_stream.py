"""One stream as an ASGI application: what is sent when, and when it ends; no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from omendb_ws.http.api.events import EventStream
from omendb_ws.http.api.events_text import COMMENT, Begun
from omendb_ws.sessions.subscriptions.beats import Beat, Beats
from omendb_ws.telemetry.metrics import Metrics

PUSH = b'{"event":"feed","sub":1,"version":2,"to_seq":%d,"rows":[]}'
ENDED = b'{"event":"ended","sub":1,"reason":"dropped"}'
BEGUN = Begun("e1", b"event: feed\ndata: {}\n\n")


class Source:
    """Pushes that are there when the test says so; ``asked``: how many were asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.pushed: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def pushes(self) -> AsyncIterator[bytes]:
        while True:
            self.asked += 1
            push = await self.pushed.get()
            if push is None:
                return
            yield push


class Socket:
    """ASGI's ``send``, which waits while it is full."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.room = asyncio.Event()
        self.room.set()

    async def __call__(self, message: Any) -> None:
        await self.room.wait()
        self.sent.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [one["body"] for one in self.sent[1:]]

    @property
    def is_ended(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def started(source: Source, socket: Socket) -> asyncio.Task[None]:
    stream = EventStream(source, BEGUN, Beats(), Metrics(0))
    return asyncio.create_task(stream({}, None, socket))


async def test_pushes_are_sent_as_they_come_and_the_end_ends_it() -> None:
    source, socket = Source(), Socket()
    task = started(source, socket)
    await turns()
    assert socket.sent[0]["status"] == 200
    assert socket.bodies == [BEGUN.first]
    source.pushed.put_nowait(PUSH % 7)
    await turns()
    assert socket.bodies[1] == b"event: feed\nid: e1:7\ndata: " + PUSH % 7 + b"\n\n"
    source.pushed.put_nowait(ENDED)
    await task
    assert socket.bodies[2].startswith(b"event: ended\nid: e1:ended\n")
    assert socket.is_ended
    assert source.asked == 2


async def test_the_next_push_is_asked_for_when_the_socket_took_the_one_before() -> None:
    source, socket = Source(), Socket()
    task = started(source, socket)
    await turns()
    socket.room.clear()
    source.pushed.put_nowait(PUSH % 1)
    source.pushed.put_nowait(PUSH % 2)
    await turns()
    assert source.asked == 1
    socket.room.set()
    await turns()
    assert source.asked == 3
    source.pushed.put_nowait(None)
    await task


async def test_a_stream_whose_session_ended_ends() -> None:
    source, socket = Source(), Socket()
    task = started(source, socket)
    source.pushed.put_nowait(None)
    await task
    assert socket.bodies == [BEGUN.first, b""]
    assert socket.is_ended


class ByHand(Beats):
    """Beats when the test says so."""

    def begin(self, call: Callable[[], None], every_seconds: float) -> Beat:
        self.every_seconds = every_seconds
        self.one = Beat(self, call, every_seconds)
        self._going += 1
        return self.one

    def beat(self) -> None:
        if self.one.call is not None:
            self.one.call()


async def test_comments_come_while_nothing_is_sent_and_stop_with_it() -> None:
    source, socket, beats = Source(), Socket(), ByHand()
    task = asyncio.create_task(EventStream(source, BEGUN, beats, Metrics(0))({}, None, socket))
    await turns()
    assert beats.every_seconds == 15
    for count in (1, 2):
        beats.beat()
        await turns()
        assert socket.bodies[1:] == [COMMENT] * count
    # While the socket is full one waits, whatever goes by; behind a push none does.
    socket.room.clear()
    for _ in range(3):
        beats.beat()
        await turns()
    source.pushed.put_nowait(PUSH % 1)
    await turns()
    beats.beat()
    socket.room.set()
    await turns()
    assert sorted(body[:6] for body in socket.bodies[3:]) == [COMMENT, b"event:"]
    source.pushed.put_nowait(None)
    await task
    beats.beat()
    await turns()
    assert socket.is_ended


async def test_a_stream_that_is_cancelled_leaves_no_timer_and_no_task() -> None:
    source, socket, beats = Source(), Socket(), Beats()
    task = asyncio.create_task(EventStream(source, BEGUN, beats, Metrics(0))({}, None, socket))
    await turns()
    assert beats._going == 1
    task.cancel()
    await asyncio.wait([task])
    assert beats._going == 0
