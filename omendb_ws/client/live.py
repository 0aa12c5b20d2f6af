"""Live queries as async iterators: the standing top k, whole, each time it changes.

A ``LiveQuery`` is a subscription like those of ``subscriptions.py``: it attaches itself on demand,
here together with others (``subscribing.py``). What has arrived is kept by its ``View``, which
holds one answer however slow the reader is. Moves wait in a list; one task sends the newest of them
while there are any, one at a time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

from omendb_core.model.errors import DimMismatch, NonFinite, NotFound, OmenError, ZeroNorm
from omendb_core.model.types import F32

from ..wire import messages
from . import requests
from .answers import LiveAnswer, Opened, Snapshot, read_snapshots
from .backoff import MAX_ATTEMPTS, PASSING
from .connection import Connection
from .given import Vectors
from .link import Answer, Link, Push
from .requests import LiveOptions
from .subscribing import Subscribing
from .subscriptions import Subscription, why_ended
from .view import View

#: Refusals that blame the vector of a request and nothing else of it.
_BAD_VECTOR: Final = (NonFinite, ZeroNorm)


@dataclass(slots=True, eq=False)
class _Move:
    """A call of ``move``; ``vector`` float32 (1, dim). ``future`` is done if nobody waits."""

    vector: F32
    future: asyncio.Future[None]


class LiveQuery(Subscription[LiveAnswer]):
    """The ``k`` nearest rows of a collection, now and whenever that changes.

    Yields ``LiveAnswer``: first the answer of this moment, then each that differs from the one
    yielded before, always the latest. A slow reader skips answers and never sees a stale one;
    ``entered`` and ``left`` then span what it skipped. After a lost connection it yields one
    answer with ``resumed``. It ends when the collection is dropped; it raises NotFound where a
    reconnect finds no such collection, and DimMismatch where that has another dimension.
    """

    def __init__(
        self,
        connection: Connection,
        subscribing: Subscribing,
        options: LiveOptions,
        vector: F32,
    ) -> None:
        super().__init__(connection)
        self._subscribing = subscribing
        self._options = options
        self._vector = vector
        self._view = View()
        self._has_begun = False
        self._moves: list[_Move] = []
        self._mover: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()

    async def move(self, vector: Vectors) -> None:
        """Point the query at ``vector`` (dim,); return once answers are for it, or a later one.

        Answers yielded before are for the old vector; the first for the new one has ``moved``.
        Of moves that are called faster than the server answers only the newest is sent; where no
        connection stands, the query subscribes with it. Cancelled, or timed out, it may still take
        effect.

        Raises BadVector, DimMismatch, NonFinite, ZeroNorm (the query stays where it was), NotFound
        (it has ended), Forbidden, Unavailable, ConnectionLost, TimeoutError.
        """
        self._connection.check_here()
        wanted = requests.one_vector(vector)
        if wanted.shape != self._vector.shape:
            raise DimMismatch(
                f"vector: has {wanted.shape[1]} dimensions, not {self._vector.shape[1]}"
            )
        if self._ended is not None:
            raise self._end_error()
        self._connection.check_there()
        while self._moves and self._moves[-1].future.done():
            self._moves.pop()
        loop = asyncio.get_running_loop()
        move = _Move(wanted, loop.create_future())
        self._moves.append(move)
        if self._mover is None:
            self._mover = loop.create_task(self._send_moves())
        await self._connection.within(move.future)

    async def close(self) -> None:
        """End it: nothing comes any more. May be called twice."""
        await super().close()
        self._fail_moves(self._end_error())
        if self._mover is not None:
            self._mover.cancel()

    # -- for Subscribing and the link ------------------------------------------------------

    def begin(self, link: Link, sub: int, snapshot: Snapshot, vector: F32) -> None:
        """Be carried by ``link`` under ``sub``, from ``snapshot`` of ``vector`` on."""
        if self._attach(link, sub):
            self._arrive(snapshot, vector, resumed=self._has_begun)
            self._has_begun = True

    # -- inside ---------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        """As ``Subscription._subscribe``; the reader and the mover may both ask."""
        async with self._order:
            if self._link is None and self._ended is None:
                await super()._subscribe()

    async def _ask(self) -> None:
        move = self._moves[-1] if self._moves else None
        vector = self._vector if move is None else move.vector
        try:
            await self._subscribing.subscribe(self, self._options, vector)
        except _BAD_VECTOR as error:
            if move is None:
                raise
            self._refuse(move, error)

    def _keep(self, push: Push, size_bytes: int) -> None:
        if isinstance(push, messages.Live):
            self._view.push(push)

    def _next_item(self) -> LiveAnswer | None:
        return self._view.answer()

    def _arrive(self, snapshot: Snapshot, vector: F32, *, resumed: bool = False) -> None:
        """Show the answer for ``vector``; moves to it, and those before, are done."""
        self._view.replace(snapshot, moved=vector is not self._vector, resumed=resumed)
        self._vector = vector
        if any(move.vector is vector for move in self._moves):
            is_done = False
            while not is_done:
                move = self._moves.pop(0)
                is_done = move.vector is vector
                if not move.future.done():
                    move.future.set_result(None)
        self._news.set()

    # -- moves ----------------------------------------------------------------------------

    async def _send_moves(self) -> None:
        """Send the newest move until there is none. Every move is settled afterwards."""
        try:
            while self._moves:
                link = self._link
                if self._ended is not None:
                    self._fail_moves(self._end_error())
                elif link is None:
                    await self._subscribe()
                else:
                    await self._send_move(link, self._moves[-1])
        except (OmenError, TimeoutError) as error:
            self._fail_moves(error)
        finally:
            self._mover = None

    async def _send_move(self, link: Link, move: _Move) -> None:
        """Send one move; refusals that may pass are waited out, as long as it is the newest."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            outcome = await link.ask(
                requests.move(self._sub, move.vector), accept=partial(self._moved, move.vector)
            )
            if not isinstance(outcome, messages.ErrorReply):
                return None
            if not isinstance(outcome.error, PASSING) or attempt == MAX_ATTEMPTS:
                return self._refuse(move, outcome.error)
            await self._connection.pause(outcome.error, attempt)
            if self._link is not link or self._moves[-1:] != [move]:
                return None
        return None

    def _moved(
        self, vector: F32, link: Link, opened: Opened | None, answer: Answer, *, is_wanted: bool
    ) -> None:
        assert isinstance(answer, messages.Results)
        if self._link is link:
            [snapshot] = read_snapshots(answer, self._view.epoch)
            self._arrive(snapshot, vector)

    def _refuse(self, move: _Move, error: Exception) -> None:
        """Fail one move; those it had overtaken are in force again."""
        self._moves = [one for one in self._moves if one is not move]
        _fail(move, error)

    def _fail_moves(self, error: Exception) -> None:
        moves, self._moves = self._moves, []
        for move in moves:
            _fail(move, error)

    def _end_error(self) -> OmenError:
        """What a move of a query that has ended raises."""
        reason = str(self._ended)
        return why_ended(reason) or NotFound(f"this live query has ended: {reason}")


def _fail(move: _Move, error: Exception) -> None:
    if not move.future.done():
        move.future.set_exception(error)
        move.future.exception()  # seen: the caller may be cancelled before it looks
