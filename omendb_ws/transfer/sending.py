"""Numbered batches to the server, several under way.

Go back N (the sliding window of data links): batches are sent in order, the oldest is looked at
first, and when one fails everything from it on is sent again under the same numbers, once nothing
is under way any more. That is always safe, because a number means the same rows every time and goes
in once. What can be tried again (a lost connection, an overloaded server) the client has tried by
itself before it gets here; what is left to do is to put batches in order that overtook each other
then.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from omendb_core.model.errors import OutOfOrder

from ..client import Added
from .cutting import Batch

#: Batches under way: 2 MiB, as the client's own pipeline has.
IN_FLIGHT: Final = 8
#: How long batches under way are waited for when a load is ended early.
_LEAVE_SECONDS: Final = 5.0


class Source(Protocol):
    """Where batches come from."""

    def take(self) -> Batch | None:
        """The next batch; None if there is none yet, or none any more. Raises FileError."""

    @property
    def is_over(self) -> bool:
        """Whether there is none any more."""


class _Sent(NamedTuple):
    batch: Batch
    task: asyncio.Future[Added]


class Sender:
    """Sends the batches of ``source`` with ``send``; ``acknowledged`` is told of each, in order.

    ``rate``: rows a second, None for all that goes. ``news`` must be set whenever the source has
    something new.
    """

    def __init__(
        self,
        source: Source,
        send: Callable[[Batch], Awaitable[Added]],
        acknowledged: Callable[[Batch, Added], None],
        rate: float | None,
    ) -> None:
        self.news = asyncio.Event()
        self._source = source
        self._send = send
        self._acknowledged = acknowledged
        self._rate = rate
        self._inflight: deque[_Sent] = deque()
        self._again: deque[Batch] = deque()
        self._next: Batch | None = None
        self._started = time.monotonic()
        self._rows_sent = 0
        self._stopped = False
        self._out_of_order = 0

    def stop(self) -> None:
        """Send nothing more; ``run`` returns when what is under way is answered."""
        self._stopped = True
        self.news.set()

    async def run(self) -> None:
        """Send all. Raises OmenError, TimeoutError, and what the source raises.

        However it ends, what the server acknowledged in time was told, and nothing is under way.
        """
        try:
            while not self._stopped:
                wait = self._fill()
                if not self._inflight and self._next is None and self._source.is_over:
                    break
                await self._hear(wait)
                await self._settle()
        finally:
            await self._leave()

    def _fill(self) -> float | None:
        """Send what may be sent now; return the seconds until more is due, None if unknown."""
        while len(self._inflight) < IN_FLIGHT:
            if self._next is None:
                self._next = self._again.popleft() if self._again else self._source.take()
            if self._next is None:
                break
            wait = self._wait_seconds()
            if wait > 0:
                return wait
            batch, self._next = self._next, None
            self._rows_sent += len(batch)
            task = asyncio.ensure_future(self._send(batch))
            task.add_done_callback(lambda _: self.news.set())
            self._inflight.append(_Sent(batch, task))
        return None

    def _wait_seconds(self) -> float:
        if self._rate is None:
            return 0.0
        return self._started + self._rows_sent / self._rate - time.monotonic()

    async def _hear(self, wait_seconds: float | None) -> None:
        """Wait for anything to happen, or for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self.news.wait()
        self.news.clear()

    async def _settle(self) -> None:
        """Judge the batches that are answered, the oldest first."""
        while self._inflight and self._inflight[0].task.done():
            batch, task = self._inflight[0]
            error = task.exception()
            if error is not None:
                await self._go_back(error)
                return
            self._inflight.popleft()
            self._acknowledged(batch, task.result())

    async def _go_back(self, error: BaseException) -> None:
        """Send again from the oldest batch on, or raise ``error``."""
        head = self._inflight[0].batch
        if not isinstance(error, OutOfOrder) or self._out_of_order == head.number:
            raise error
        # Those before it are in, so it went out too early. That cannot happen again.
        self._out_of_order = head.number
        await asyncio.wait([sent.task for sent in self._inflight])
        for sent in self._inflight:
            sent.task.exception()  # seen
            self._rows_sent -= len(sent.batch)
        self._again.extendleft(sent.batch for sent in reversed(self._inflight))
        if self._next is not None:
            self._again.append(self._next)
            self._next = None
        self._inflight.clear()

    async def _leave(self) -> None:
        """Wait a while for what is under way, and tell of what is in."""
        if not self._inflight:
            return
        tasks = [sent.task for sent in self._inflight]
        try:
            await asyncio.wait(tasks, timeout=_LEAVE_SECONDS)
        finally:
            late = [task for task in tasks if not task.done()]
            for task in late:
                task.cancel()
        if late:
            await asyncio.wait(late)
        while self._inflight:
            batch, task = self._inflight.popleft()
            if task.cancelled() or task.exception() is not None:
                break
            self._acknowledged(batch, task.result())
        for _, task in self._inflight:
            task.cancelled() or task.exception()  # seen
