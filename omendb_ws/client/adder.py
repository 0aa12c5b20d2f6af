"""Drives the add pipeline of one collection over whatever link there is.

Owns a Pipeline and the task that sends its frames while there are any. The judgement is all in
``adding.py``; here is only when: on a call, on an answer, on a new connection, after a pause.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from functools import partial

from omendb_core.model.errors import BadFrame, OmenError

from ..errors import ConnectionLost
from ..wire import messages
from ..wire.messages import JsonObject
from .added import Added
from .adding import Pipeline
from .connection import Connection
from .descriptions import Opened
from .frames import Frame, Job
from .link import Link, Lost, Outcome
from .rows import GivenRows, checked_rows

log = logging.getLogger("omendb_ws.client")

#: Random bytes of a producer's name: no two clients ever share one.
PRODUCER_BYTES = 12


class Adder:
    """Adds rows to ``collection``. Calls from many tasks keep their order."""

    def __init__(self, connection: Connection, collection: str) -> None:
        self._connection = connection
        self._collection = collection
        self._pipeline = Pipeline(
            partial(secrets.token_urlsafe, PRODUCER_BYTES), fails_fast=connection.fails_fast
        )
        self._order = asyncio.Lock()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def add(self, rows: GivenRows, unless_near: JsonObject | None) -> Added:
        """See ``Client.add``."""
        future: asyncio.Future[Added] = asyncio.get_running_loop().create_future()
        job = await self._connection.within(self._submit(rows, unless_near, future))
        watch = _Watch(self._connection, self._pipeline, job, future)
        try:
            return await future
        except TimeoutError as error:
            error.add_note(f"{job.acknowledged} of {len(job.rows)} rows were acknowledged")
            raise
        finally:
            watch.end()
            if not job.over:
                self._pipeline.abandon(job)
                self._news.set()

    async def close(self) -> None:
        """Stop sending. Calls that still wait end with ConnectionLost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._pipeline.fail(ConnectionLost("this client is closed"))

    # -- calls ----------------------------------------------------------------------------

    async def _submit(
        self, rows: GivenRows, unless_near: JsonObject | None, future: asyncio.Future[Added]
    ) -> Job:
        """Check the rows and queue them; the lock is fair, so calls queue in their order."""
        async with self._order:
            link, opened = await self._connection.opened(self._collection)
            try:
                checked = checked_rows(opened.description, rows)
            except OmenError:
                # The collection may have been made anew under this name, as something else.
                link.forget(self._collection, opened)
                link, fresh = await self._connection.opened(self._collection)
                if fresh.handle == opened.handle:
                    raise
                checked = checked_rows(fresh.description, rows)
                opened = fresh
            job = Job(
                checked,
                max_rows=min(link.limits.max_rows, opened.description.capacity),
                max_bytes=link.limits.max_message_bytes,
                done=partial(_settle, future),
                unless_near=unless_near,
                id_kind=opened.description.ids,
            )
            self._pipeline.submit(job)
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drive())
        return job

    # -- the task -------------------------------------------------------------------------

    async def _drive(self) -> None:
        """Send until every call has ended; a fault of our own must not leave one waiting."""
        try:
            await self._send_all()
        except Exception as error:
            log.exception("the client's own fault")
            self._pipeline.fail(ConnectionLost(f"a fault of this client: {error!r}"))

    async def _send_all(self) -> None:
        while self._pipeline.is_busy:
            try:
                link, opened = await self._connection.opened(self._collection)
            except OmenError as error:
                self._pipeline.fail(error)
            else:
                self._pipeline.opened(opened.description)
                self._pipeline.resume()
                await self._use(link, opened)

    async def _use(self, link: Link, opened: Opened) -> None:
        """Send and settle until there is nothing to do, or the link or the handle is gone."""
        pipeline = self._pipeline
        while pipeline.is_busy and link.is_alive and not pipeline.is_cut_off:
            if pipeline.must_settle:
                settled = pipeline.settle()
                if settled.reopen:
                    return link.forget(self._collection, opened)
                if settled.pause is not None:
                    await self._connection.pause(settled.pause, settled.attempt)
                continue
            frame = pipeline.next_frame()
            if frame is None:
                await self._next_news()
            else:
                await self._send(link, opened, frame)
        return None

    async def _send(self, link: Link, opened: Opened, frame: Frame) -> None:
        try:
            sending = link.post(frame.encode, partial(self._outcome, frame, link), opened)
        except OmenError as error:
            self._pipeline.refused(frame, error)
        else:
            self._pipeline.was_sent(frame)
            await sending

    def _outcome(self, frame: Frame, link: Link, outcome: Outcome) -> None:
        if isinstance(outcome, messages.Added):
            self._connection.seen.answered(link, self._collection, outcome)
            self._pipeline.acknowledged(frame, outcome)
        elif isinstance(outcome, Lost):
            self._pipeline.lost(frame, blamed=outcome.blamed)
        elif isinstance(outcome, messages.ErrorReply):
            self._pipeline.refused(frame, outcome.error)
        else:
            self._pipeline.refused(frame, BadFrame("the server answered an add with another kind"))
        self._news.set()

    async def _next_news(self) -> None:
        self._news.clear()
        await self._news.wait()


class _Watch:
    """Fails the call ``future``, as refused if it was, when too long no frame is acknowledged."""

    def __init__(
        self,
        connection: Connection,
        pipeline: Pipeline,
        job: Job,
        future: asyncio.Future[Added],
    ) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self._job = job
        self._future = future
        self._timer: asyncio.TimerHandle | None = None
        self._begin()

    def end(self) -> None:
        """The call has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        limit = self._connection.request_timeout_seconds
        if limit is not None:
            self._seen = self._pipeline.acknowledgements
            self._timer = self._future.get_loop().call_later(limit, self._look)

    def _look(self) -> None:
        if self._pipeline.acknowledgements != self._seen:
            self._begin()
        elif (refusal := self._pipeline.refusal(self._job)) is not None:
            self._job.fail(refusal)
        elif not self._future.done():
            self._future.set_exception(self._connection.timed_out())


def _settle(future: asyncio.Future[Added], outcome: Added | OmenError) -> None:
    if future.done():
        return
    if isinstance(outcome, OmenError):
        future.set_exception(outcome)
        future.exception()  # seen: the caller may be cancelled before it looks
    else:
        future.set_result(outcome)
