"""Connections that are opened, greeted, ask one thing and are closed: the operation ``connect``.

Timed from the intended time until ``hello`` was read. At most ``places`` at once.
"""

from __future__ import annotations

import asyncio
import time

from omendb_core.model.errors import OmenError
from omendb_core.model.types import F64
from websockets.exceptions import InvalidHandshake

from omendb_ws.wire import messages, text

from .alarm import sleep_until
from .arrivals import LATE_SECONDS
from .connection import Connection, Endpoint
from .recording import Part, Recording, Span


class Storm:
    """``plan`` as of a Stream; None: closed, ``places`` connections at a time."""

    def __init__(self, endpoint: Endpoint, collection: str, places: int, plan: F64 | None) -> None:
        self.recording = Recording("connect")
        self._endpoint = endpoint
        self._request = text.encode_request(messages.Count(1, collection))
        self._places = places
        self._plan = plan
        self._next = 0
        self._is_over = False
        self._out: dict[asyncio.Task[None], tuple[float, float]] = {}
        self._main: asyncio.Task[None] | None = None

    @property
    def unanswered(self) -> int:
        """Connections that are being used."""
        return len(self._out)

    def start(self, began: float) -> None:
        """Open from ``began`` on."""
        if self._plan is not None:
            self._plan = self._plan + began
        self._main = asyncio.create_task(self._run(began))

    def stop(self) -> None:
        """Open nothing more."""
        self._is_over = True
        if self._main is not None:
            self._main.cancel()

    def part(self, span: Span) -> Part:
        """The figures, when it is over; ends what is still out."""
        for task, (intended, sent) in self._out.items():
            task.cancel()
            self.recording.never_answered(intended, sent)
        self._out.clear()
        return self.recording.part(span, self._plan, self._next)

    async def _run(self, began: float) -> None:
        await sleep_until(began)
        if self._plan is None:
            await asyncio.gather(*[self._one_by_one() for _ in range(self._places)])
            return
        had_place_at = began
        for number, intended in enumerate(self._plan.tolist()):
            await sleep_until(intended)
            while len(self._out) >= self._places:
                await asyncio.wait(list(self._out), return_when=asyncio.FIRST_COMPLETED)
                had_place_at = time.perf_counter()
            if time.perf_counter() - max(intended, had_place_at) > LATE_SECONDS:
                self.recording.generator_was_late(intended)
            self._next = number + 1
            self._begin(intended)

    async def _one_by_one(self) -> None:
        while not self._is_over:
            await asyncio.wait([self._begin(time.perf_counter())])

    def _begin(self, intended: float) -> asyncio.Task[None]:
        sent = time.perf_counter()
        task = asyncio.create_task(self._use(intended, sent))
        self._out[task] = (intended, sent)
        task.add_done_callback(lambda done: self._out.pop(done, None))
        return task

    async def _use(self, intended: float, sent: float) -> None:
        try:
            connection = await Connection.open(self._endpoint)
            self.recording.answered(intended, sent, time.perf_counter())
            await connection.ok(self._request, 1, is_patient=False)
            await connection.close()
        except OmenError as error:
            self.recording.failed(intended, sent, time.perf_counter(), error.code)
        except TimeoutError:
            self.recording.failed(intended, sent, time.perf_counter(), "timed_out")
        except InvalidHandshake:
            self.recording.failed(intended, sent, time.perf_counter(), "refused")
        except OSError:
            self.recording.failed(intended, sent, time.perf_counter(), "not_connected")
