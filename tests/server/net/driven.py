"""A ``Connection`` without a socket and without a loop: a test says when each turn comes.

What it heard and what it wrote are kept, so that one stream of bytes can be read in any splits.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self, cast

from websockets.asyncio.server import Server as WebSocketServer
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from omendb_ws.net.connection import Connection
from omendb_ws.net.crowd import Crowd
from omendb_ws.sessions.outbox import Outbox
from omendb_ws.wire.encoded import Numbered, numbered


class Turns:
    """A loop whose time stands; calls are made when ``run`` is called."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def time(self) -> float:
        return 0.0

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
        self._calls.append((call, arguments))

    def call_later(self, _: float, call: Callable[..., object], *arguments: Any) -> None:
        """Time stands: it is the next turn."""
        self.call_soon(call, *arguments)

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """What would only wait for the client's end: the test brings that about itself."""
        work.close()
        return _NEVER_DONE

    def run(self) -> None:
        """All turns, until nothing is left to do."""
        while self._calls:
            call, arguments = self._calls.popleft()
            call(*arguments)


class _NeverDone:
    def add_done_callback(self, _: object) -> None:
        pass


_NEVER_DONE = cast("asyncio.Future[None]", _NeverDone())


class Wire:
    """A transport that takes everything."""

    def __init__(self) -> None:
        self.written = b""
        self.has_ended = self.is_paused = False

    def write(self, data: bytes) -> None:
        assert not self.has_ended
        self.written += data

    def set_write_buffer_limits(self, *_: object) -> None:
        pass

    def write_eof(self) -> None:
        self.has_ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> None:
        return None

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False

    def abort(self) -> None:
        raise AssertionError("broken off")


class Room:
    """A session that has room for another message, or now and then has not."""

    inflight_bytes = 0

    def __init__(self, turns: Turns, numbers: random.Random | None) -> None:
        self._turns = turns
        self._numbers = numbers

    @property
    def has_room(self) -> bool:
        return self._numbers is None or self._numbers.random() < 0.8

    def when_room(self, call: Callable[[], None]) -> None:
        self._turns.call_soon(call)

    def is_heard_late(self, late_us: int, waiting_bytes: int = 0) -> None:
        pass

    def close(self) -> None:
        pass


class Refusals:
    """Refuses messages, as many pieces of them as it was told; texts that are a number."""

    def __init__(self) -> None:
        self.pieces = 0
        self.has_refused = False
        self.refused: list[int] = []

    @property
    def is_on(self) -> bool:
        return self.pieces > 0

    @property
    def overload(self) -> Self:
        return self

    @property
    def is_shedding(self) -> bool:
        return self.is_on

    def id_of(self, start: bytes) -> int | None:
        return int(start) if start.isdigit() else None

    def refuse(self, ids: Sequence[int], size_bytes: int) -> list[Numbered]:
        assert size_bytes > 0
        self.pieces -= 1
        self.has_refused = True
        self.refused += ids
        return numbered(b"refused ", ids, b"")


class Heard:
    """Keeps what it hears."""

    def __init__(self, heard: list[str | bytes]) -> None:
        self.shedder = Refusals()
        self.receive = heard.append


class _Serving:
    """What websockets has of a server."""

    def __init__(self) -> None:
        self.handler_tasks: set[object] = set()

    async def handler(self, _: Connection) -> None:
        pass


class Driven:
    """A connection that is open. ``numbers``: its session has no room at times, by these.

    ``is_attached``: it has its session.
    """

    def __init__(
        self, max_bytes: int, numbers: random.Random | None = None, *, is_attached: bool = True
    ) -> None:
        self.turns = Turns()
        self.wire = Wire()
        self.heard: list[str | bytes] = []
        self.hearer = Heard(self.heard)
        self.protocol = ServerProtocol(max_size=max_bytes, state=OPEN)
        everybody = Crowd(10, 1 << 30, lambda _: None)
        server = cast(WebSocketServer, _Serving())
        made = Connection(self.protocol, server, strangers=everybody, known=everybody)
        self.connection = made
        made.loop = cast(asyncio.AbstractEventLoop, self.turns)
        made.connection_made(cast(asyncio.Transport, self.wire))
        made.is_shaking = False
        made.response = Response(101, "Switching Protocols", Headers())
        if not is_attached:
            return
        made.attach(Room(self.turns, numbers), self.hearer, Outbox())
        self.turns.run()

    def feed(self, data: bytes) -> None:
        """What one read of the socket had, and every turn that it takes."""
        self.connection.data_received(data)
        self.turns.run()

    def end(self) -> None:
        """The client sends nothing more."""
        self.connection.eof_received()
        self.turns.run()

    def lose(self) -> None:
        """The socket is gone."""
        self.connection.connection_lost(None)
        self.turns.run()
