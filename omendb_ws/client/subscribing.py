"""How live queries subscribe: many at a time, those that are alike in all but the vector.

Queries that ask within one turn of the loop go out together by SUBSCRIBE (PROTOCOL section 7), at
most ``max_queries`` in a message: thousands do so at once when a connection comes back. Those that
ask by examples go out alone. A batch
that is refused because of one vector, or as too much at once, is halved until what is refused
stands alone. Knows connections and links, no socket.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from omendb_core.model.errors import NonFinite, OmenError, Quota, TooLarge, ZeroNorm

from ..errors import ConnectionLost
from ..wire import messages
from . import live_requests
from .answers import Snapshot, read_snapshots
from .connection import Connection
from .descriptions import Opened
from .link import Answer, Link
from .live_requests import Asked, LiveOptions

#: Refusals that fewer vectors at a time may avoid.
_DIVISIBLE: Final = (NonFinite, ZeroNorm, TooLarge, Quota)


class Subscriber(Protocol):
    """Who is subscribed: a live query."""

    def begin(self, link: Link, sub: int, snapshot: Snapshot, asked: Asked) -> None:
        """Be carried by ``link`` under ``sub``, from ``snapshot`` of what was ``asked`` on."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One query that waits, in ``task``. ``future`` is done if nobody waits."""

    subscriber: Subscriber
    asked: Asked
    future: asyncio.Future[None]
    task: asyncio.Task[Any] | None


class Subscribing:
    """Subscribes the live queries of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[tuple[bytes, int], list[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def subscribe(self, subscriber: Subscriber, asked: Asked) -> None:
        """Subscribe ``subscriber`` as ``asked``; return when it has begun.

        Cancelling leaves nothing behind. Raises the server's error, ConnectionLost.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(subscriber, asked, loop.create_future(), asyncio.current_task())
        alike = (asked.options.text, 0 if asked.vector is None else asked.vector.shape[1])
        if alike not in self._waiting:
            self._waiting[alike] = []
            loop.call_soon(self._send, alike, asked.options)
        self._waiting[alike].append(waiting)
        await waiting.future

    async def close(self) -> None:
        """End. Whoever still waits raises ConnectionLost."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # -- inside ---------------------------------------------------------------------------

    def _send(self, alike: tuple[bytes, int], options: LiveOptions) -> None:
        batch = [one for one in self._waiting.pop(alike) if not one.future.done()]
        if batch:
            task = asyncio.get_running_loop().create_task(self._ask(options, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, options: LiveOptions, batch: list[_Waiting]) -> None:
        """Subscribe a batch of any size; every future is done afterwards."""
        try:
            most = (await self._connection.ready(waits=True)).limits.max_queries
            if batch[0].asked.vector is None:
                most = 1
            parts = [batch[start : start + most] for start in range(0, len(batch), most)]
            await asyncio.gather(*[self._ask_part(options, part) for part in parts])
        except OmenError as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            _fail(batch, ConnectionLost("this client is closed"))
            raise
        except Exception as error:
            _fail(batch, ConnectionLost(f"a fault of this client: {error!r}"))
            raise

    async def _ask_part(self, options: LiveOptions, part: list[_Waiting]) -> None:
        given = [one.asked.vector for one in part if one.asked.vector is not None]
        try:
            with self._connection.asking_for([one.task for one in part]):
                await self._connection.call(
                    live_requests.subscribe(np.concatenate(given) if given else None, options),
                    repeat=True,
                    collection=options.collection,
                    reads=options.collection,
                    accept=partial(_accept, part),
                    waits=True,
                )
        except OmenError as error:
            if len(part) == 1 or not isinstance(error, _DIVISIBLE):
                return _fail(part, error)
            half = len(part) // 2
            for fewer in (part[:half], part[half:]):
                await self._ask_part(options, fewer)
        return None


def _accept(
    part: list[_Waiting], link: Link, opened: Opened | None, answer: Answer, *, is_wanted: bool
) -> None:
    """Hand each query its part of the answer; give up what nobody waits for any more."""
    assert opened is not None
    assert isinstance(answer, messages.Results)
    snapshots = read_snapshots(answer, opened.description.epoch)
    for one, sub, snapshot in zip(part, answer.subs or [], snapshots, strict=True):
        if not is_wanted or one.future.done():
            link.detach(sub)
        else:
            one.subscriber.begin(link, sub, snapshot, one.asked)
            one.future.set_result(None)


def _fail(batch: list[_Waiting], error: OmenError) -> None:
    """Tell those who still wait. Each has its own copy: it is raised in many tasks."""
    for one in batch:
        if not one.future.done():
            row = error.row if one.asked.vector is None else None
            copy = type(error)(error.message, row=row, **error.details)
            copy.__cause__ = error
            one.future.set_exception(copy)
            one.future.exception()  # seen: the asker may be cancelled before it looks
