"""Live queries as async iterators: the standing top k, whole, each time it changes.

A ``LiveQuery`` is a subscription like those of ``subscriptions.py``: it attaches itself on demand,
here together with others (``subscribing.py``). What has arrived is kept by its ``View``, which
holds one answer however slow the reader is. Moves wait in a list; one task sends them, one at a
time, and passes over those that a later one makes void.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from types import EllipsisType
from typing import Final

from omendb_core.model.errors import (
    BadFilter,
    BadId,
    BadRequest,
    DimMismatch,
    NonFinite,
    NotFound,
    OmenError,
    Quota,
    TooLarge,
    ZeroNorm,
)

from ..wire import messages
from . import live_requests
from .answers import LiveAnswer, Snapshot, read_snapshots
from .backoff import MAX_ATTEMPTS, PASSING
from .connection import Connection
from .descriptions import Opened
from .ends import why_ended
from .given import Examples, Filter, IdsGiven, Vectors
from .link import Answer, Link, Push
from .live_requests import Asked, Change
from .subscribing import Subscribing
from .subscriptions import Subscription
from .view import View

#: Refusals that blame the vector of a request and nothing else of it.
_BAD_VECTOR: Final = (NonFinite, ZeroNorm)
#: Refusals that may blame what else a move changes.
_BAD_FIELD: Final = (BadFilter, BadId, BadRequest, DimMismatch, Quota, TooLarge)


@dataclass(slots=True, eq=False)
class _Move:
    """A call of ``move``. ``asked``: what was sent for it. ``future`` is done if nobody waits."""

    change: Change
    future: asyncio.Future[None]
    asked: Asked | None = None

    def may_be_blamed(self, error: OmenError) -> bool:
        """Whether ``error`` may be about what it changes."""
        if isinstance(error, NotFound):
            return error.row is not None  # an example; without one it is the collection
        return isinstance(error, _BAD_VECTOR) or (
            bool(self.change.fields) and isinstance(error, _BAD_FIELD)
        )


class LiveQuery(Subscription[LiveAnswer]):
    """The ``k`` nearest rows of a collection, now and whenever that changes.

    Yields ``LiveAnswer``: first the answer of this moment, then each that differs from the one
    yielded before, always the latest. A slow reader skips answers and never sees a stale one;
    ``entered`` and ``left`` then span what it skipped. After a lost connection it yields one
    answer with ``resumed``. It ends when the collection is dropped; it raises NotFound where a
    reconnect finds no such collection, and DimMismatch where that has another dimension. One that
    asks by examples looks them up again after a lost connection, and raises NotFound, with ``row``,
    where one of them has left the window since.
    """

    def __init__(self, connection: Connection, subscribing: Subscribing, asked: Asked) -> None:
        super().__init__(connection, asked.options.collection)
        self._subscribing = subscribing
        self._asked = asked
        self._view = View(asked.options.order)
        self._has_begun = False
        self._moves: list[_Move] = []
        self._mover: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()

    async def move(
        self,
        vector: Vectors | None = None,
        *,
        positive: Examples | None = None,
        negative: Examples | None = None,
        exclude: IdsGiven | EllipsisType | None = ...,
        filter: Filter | EllipsisType | None = ...,
        min_score: float | EllipsisType | None = ...,
    ) -> None:
        """Point the query at ``vector`` (dim,), or change what else is given; return once answers
        are for that, or for a later move.

        ``positive`` and ``negative`` examples instead of ``vector``, as in ``live``. What is not
        given stays as it was; None (or nothing in it) clears ``exclude``, ``filter`` or
        ``min_score``. Answers yielded before are for what was asked before; the first for the new
        has ``moved``. Of moves that are called faster than the server answers, those are passed
        over whose every argument a later one gives too; where no connection stands, the query
        subscribes with the next. Cancelled, or timed out, it may still take effect.

        Raises BadVector, DimMismatch, NonFinite, ZeroNorm, BadId, BadFilter, BadRequest, TooLarge,
        Quota, NotFound with ``row`` (an example): the query stays as it was; NotFound (it has
        ended), Forbidden, Unavailable, ConnectionLost, TimeoutError.
        """
        self._connection.check_here()
        change = live_requests.change(
            vector,
            positive=positive,
            negative=negative,
            exclude=exclude,
            filter=filter,
            min_score=min_score,
        )
        if not change.names:
            raise BadRequest("vector: missing; a move gives at least one argument")
        self._check_dim(change)
        if self._ended is not None:
            raise self._end_error()
        self._connection.check_there()
        while self._moves and self._moves[-1].future.done():
            self._moves.pop()
        loop = asyncio.get_running_loop()
        move = _Move(change, loop.create_future())
        self._moves.append(move)
        if self._mover is None:
            self._mover = loop.create_task(self._send_moves())
        await self._connection.within(move.future)

    def _check_dim(self, change: Change) -> None:
        wanted, before = change.vector, self._asked.vector
        if wanted is not None and before is not None and wanted.shape != before.shape:
            raise DimMismatch(f"vector: has {wanted.shape[1]} dimensions, not {before.shape[1]}")

    async def close(self) -> None:
        """End it: nothing comes any more. May be called twice."""
        await super().close()
        self._fail_moves(self._end_error())
        if self._mover is not None:
            self._mover.cancel()

    # -- for Subscribing and the link ------------------------------------------------------

    def begin(self, link: Link, sub: int, snapshot: Snapshot, asked: Asked) -> None:
        """Be carried by ``link`` under ``sub``, from ``snapshot`` of what was ``asked`` on."""
        if self._attach(link, sub):
            self._epoch = snapshot.epoch
            self._arrive(snapshot, asked, resumed=self._has_begun)
            self._has_begun = True

    # -- inside ---------------------------------------------------------------------------

    async def _subscribe(self) -> None:
        """As ``Subscription._subscribe``; the reader and the mover may both ask."""
        async with self._order:
            if self._link is None and self._ended is None:
                await super()._subscribe()

    async def _ask(self) -> None:
        move = self._next_move()
        try:
            await self._subscribing.subscribe(self, self._made(move))
        except OmenError as error:
            if move is None or not move.may_be_blamed(error):
                raise
            self._refuse(move, error)

    def _made(self, move: _Move | None) -> Asked:
        """What is asked after ``move``."""
        if move is None:
            return self._asked
        move.asked = move.change.made(self._asked)
        return move.asked

    def _keep(self, push: Push, size_bytes: int) -> None:
        if isinstance(push, messages.Live):
            self._view.push(push)

    def _next_item(self) -> LiveAnswer | None:
        return self._view.answer()

    def _arrive(self, snapshot: Snapshot, asked: Asked, *, resumed: bool = False) -> None:
        """Show the answer to what was ``asked``; the move that it is for, and those before, are
        done."""
        self._view.replace(snapshot, moved=asked is not self._asked, resumed=resumed)
        self._asked = asked
        if any(move.asked is asked for move in self._moves):
            is_done = False
            while not is_done:
                move = self._moves.pop(0)
                is_done = move.asked is asked
                if not move.future.done():
                    move.future.set_result(None)
        self._news.set()

    # -- moves ----------------------------------------------------------------------------

    def _next_move(self) -> _Move | None:
        """The last move that sets all that those before it set."""
        found, names = None, frozenset[str]()
        for move in self._moves:
            if names <= move.change.names:
                found = move
            names |= move.change.names
        return found

    async def _send_moves(self) -> None:
        """Send moves until there are none. Every move is settled afterwards."""
        try:
            while self._moves:
                link = self._link
                if self._ended is not None:
                    self._fail_moves(self._end_error())
                elif link is None:
                    await self._subscribe()
                elif (move := self._next_move()) is not None:
                    await self._send_move(link, move)
        except (OmenError, TimeoutError) as error:
            self._fail_moves(error)
        finally:
            self._mover = None

    async def _send_move(self, link: Link, move: _Move) -> None:
        """Send one move; refusals that may pass are waited out, as long as it is the next one."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            asked = self._made(move)
            outcome = await link.ask(
                live_requests.move(self._sub, move.change), accept=partial(self._moved, asked)
            )
            if not isinstance(outcome, messages.ErrorReply):
                return None
            is_last = attempt == MAX_ATTEMPTS or self._connection.fails_fast
            if is_last or not isinstance(outcome.error, PASSING):
                return self._refuse(move, outcome.error)
            await self._connection.pause(outcome.error, attempt)
            if self._link is not link or self._next_move() is not move:
                return None
        return None

    def _moved(
        self, asked: Asked, link: Link, opened: Opened | None, answer: Answer, *, is_wanted: bool
    ) -> None:
        assert isinstance(answer, messages.Results)
        if self._link is link:
            [snapshot] = read_snapshots(answer, self._view.epoch)
            self._arrive(snapshot, asked)

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
