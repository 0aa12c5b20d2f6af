"""The connection that outlives connections: connect, reconnect, ask again.

Owns the current link and the one task that reads it and replaces it (``dialer.py`` makes links).
Knows no socket and no meaning of requests. States: *connected* (``_link`` is there),
*reconnecting* (``_ready`` is an unfinished future), *over* (``_over`` says why, for good).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from omendb_core.model.errors import (
    Behind,
    OmenError,
    Quota,
    Retryable,
    Unauthenticated,
    Unavailable,
    WrongEpoch,
)

from ..errors import ConnectionLost
from ..runtime.transport import Opener
from ..wire import messages
from .backoff import MAX_ATTEMPTS, PASSING, retry_seconds
from .descriptions import Opened, may_be_stale
from .dialer import Dialer, Settings
from .link import Accept, Answer, Link, Lost, Standing
from .requests import Encode
from .seen import Seen
from .tokens import NoToken

log = logging.getLogger("omendb_ws.client")

T = TypeVar("T")

#: What a call waits out is not asked again later than this part of its time: an answer that is due
#: when all of it is over would be none.
LAST_PART = 0.9


class Connection:
    """A succession of links, and the calls that outlive them.

    ``start`` once, then any number of calls, then ``close``.
    """

    def __init__(self, opener: Opener, settings: Settings) -> None:
        self._settings = settings
        self.seen = Seen()
        self._dialer = Dialer(opener, settings)
        self._link: Link | None = None
        self._ready: asyncio.Future[None] | None = None
        self._over: OmenError | None = None
        self._trouble = "not connected yet"
        #: Why there is no connection, where there is an exception to show.
        self._cause: BaseException | None = None
        #: Tasks that are ``within`` a call: by what it was refused last, where that may pass.
        self._refused: dict[asyncio.Task[Any] | None, OmenError | None] = {}
        #: Tasks that ask for others: whom what they are refused is refused, too.
        self._asks_for: dict[asyncio.Task[Any] | None, Sequence[asyncio.Task[Any] | None]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._random = random.Random()

    # -- life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect for the first time: one attempt, whose failure is the caller's.

        Raises ConnectionLost, Unauthenticated, Forbidden, Unsupported, BadRequest, TimeoutError.
        """
        self._loop = asyncio.get_running_loop()
        try:
            link = await self._dialer.connect()
        except TimeoutError as error:
            raise TimeoutError(self._said(error)) from error
        except NoToken as error:
            raise ConnectionLost(self._said(error)) from error.__cause__
        except OSError as error:
            raise ConnectionLost(self._said(error)) from error
        self._link = link
        self._keeper = self._loop.create_task(self._keep(link))

    async def close(self) -> None:
        """Close for good. Calls that wait, and all later ones, raise ConnectionLost."""
        self.check_here()
        self._finish(ConnectionLost("this client is closed"))
        if self._link is not None:
            await self._link.close()
        tasks = [task for task in (self._keeper, self._dialer.renewing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._keeper = self._dialer.renewing = None
        if self._link is not None:  # it came up meanwhile
            await self._link.close()
            self._link = None

    def forget(self) -> None:
        """Close in a while, as nothing refers to the client any more. Safe in finalizers."""
        if self._over is None and self._loop is not None and self._pid == os.getpid():
            with suppress(RuntimeError):  # the loop is closed, and with it the connection
                self._loop.call_soon_threadsafe(self._close_soon)

    def _close_soon(self) -> None:
        self._closing = asyncio.get_running_loop().create_task(self.close())

    def check_here(self) -> None:
        """Raise ConnectionLost in another process, or on another event loop, than it began in.

        There nothing would ever wake up who waits for it.
        """
        if self._loop is None:
            return
        if self._pid != os.getpid():
            raise ConnectionLost("this client is that of another process; connect anew")
        if self._loop is not asyncio.get_running_loop():
            raise ConnectionLost(
                "this client is that of another event loop, the one it was connected on;"
                " connect anew on this one"
            )

    def _said(self, what: object) -> str:
        """``what`` of which address."""
        text, address = str(what) or type(what).__name__, self._settings.address
        return text if address in text else f"{address}: {text}"

    def __str__(self) -> str:
        """Where it leads, and whether it does."""
        state = "connected"
        if self._over is not None:
            state = self._over.message
        elif self._link is None:
            state = f"not connected: {self._trouble}"
        return f"{self._settings.address}, {state}"

    @property
    def is_connected(self) -> bool:
        """Whether there is a link just now."""
        return self._link is not None

    @property
    def request_timeout_seconds(self) -> float | None:
        """How long a call may take."""
        return self._settings.request_timeout_seconds

    def use_token(self, token: str, said: messages.JsonObject) -> None:
        """Authenticate with ``token`` from the next connection on; what was ``said`` of it."""
        self._dialer.token = token
        if self._link is not None:
            self._link.standing = Standing.of(said)

    # -- calls ----------------------------------------------------------------------------

    @property
    def fails_fast(self) -> bool:
        """Whether calls wait neither for a connection nor for a refusal to pass."""
        return self._settings.fail_fast

    def check_there(self) -> None:
        """Raise ConnectionLost where calls fail fast and there is no connection just now."""
        if self.fails_fast and self._link is None and self._over is None:
            raise ConnectionLost(f"not connected: {self._trouble}") from self._cause

    async def ready(self, *, waits: bool = False) -> Link:
        """Return the current link, waiting for one while reconnecting. Raises what ended it.

        Where calls fail fast only those that are no calls wait: subscriptions, by ``waits``.
        """
        self.check_here()
        while True:
            if self._over is not None:
                raise type(self._over)(self._over.message) from self._over.__cause__
            if self._link is not None:
                return self._link
            if not waits:
                self.check_there()
            assert self._ready is not None
            await asyncio.shield(self._ready)

    async def call(
        self,
        encode: Encode,
        *,
        repeat: bool,
        collection: str | None = None,
        reads: str | None = None,
        accept: Accept | None = None,
        waits: bool = False,
    ) -> tuple[Link, Answer]:
        """Ask until there is an answer; return it and the link that it came by.

        With ``collection`` its handle is opened first where need be; and once more where it, or
        what is known of the collection, turns out to be stale. ``reads``: the collection that it
        reads, at a version no older than what was seen of it. ``accept``: see ``Link.ask``.
        ``repeat``: asked again where the connection took the reply with it (unless the other side
        blamed a message); else that is ConnectionLost. Refusals that may pass are waited out
        (``_wait_out``). ``waits``: see ``ready``. Raises the server's error, and what ``encode``
        raises.
        """
        attempt, stale, began = 0, False, self._now()
        while True:
            opened = None
            if collection is None:
                link = await self.ready(waits=waits)
            else:
                link, opened = await self.opened(collection, waits=waits)
            wanted = None if reads is None else self.seen.wanted(link, reads)
            try:
                outcome = await link.ask(encode, opened, accept, wanted)
                if isinstance(outcome, messages.ErrorReply):
                    raise outcome.error
            except PASSING as error:
                attempt += 1
                await self._wait_out(error, attempt, began, waits=waits)
            except OmenError as error:
                if reads is not None and wanted is not None and isinstance(error, WrongEpoch):
                    self.seen.opened(reads, str(error.details.get("epoch")))
                    if not waits:
                        continue
                if collection is None or stale or not may_be_stale(error):
                    raise
                stale = True
                link.forget(collection, opened)
            else:
                if not isinstance(outcome, Lost):
                    self.seen.answered(link, reads or collection, outcome)
                    return link, outcome
                if not repeat or outcome.blamed:
                    raise ConnectionLost(f"{outcome.reason}; the outcome is unknown")

    async def opened(self, collection: str, *, waits: bool = False) -> tuple[Link, Opened]:
        """Return the current link and, on it, ``collection``. Raises the server's error."""
        attempt, began = 0, self._now()
        while True:
            link = await self.ready(waits=waits)
            found = await link.open(collection)
            if isinstance(found, Lost):
                if found.blamed:
                    raise ConnectionLost(found.reason)
                continue
            if not isinstance(found, messages.ErrorReply):
                self.seen.opened(collection, found.description.epoch)
                return link, found
            if not isinstance(found.error, PASSING):
                raise found.error
            attempt += 1
            await self._wait_out(found.error, attempt, began, waits=waits)

    async def pause(self, error: OmenError, attempt: int) -> None:
        """Wait after the refusal number ``attempt`` (from 1), as asked for or longer."""
        await asyncio.sleep(retry_seconds(error, attempt, self._random.random()))

    async def _wait_out(self, error: OmenError, attempt: int, began: float, *, waits: bool) -> None:
        """Wait before another attempt at what ``began`` then; raises ``error`` after the last, and
        at once where calls fail fast (``waits``: see ``ready``).

        A server is busy for seconds: MAX_ATTEMPTS. A collection that comes back takes as long as
        its log is, or as its log is behind: that is waited out as long as a call may take. Either
        way it is the refusal that the caller hears of, not that there was no answer.
        """
        if self.fails_fast and not waits:
            raise error
        wait = retry_seconds(error, attempt, self._random.random())
        limit = self._settings.request_timeout_seconds
        ends_late = limit is not None and self._now() + wait - began >= LAST_PART * limit
        if ends_late or (attempt >= MAX_ATTEMPTS and not isinstance(error, Behind | Unavailable)):
            raise error
        task = asyncio.current_task()
        for one in (task, *self._asks_for.get(task, ())):
            if one in self._refused:
                self._refused[one] = error
        await asyncio.sleep(wait)

    @contextmanager
    def asking_for(self, tasks: Sequence[asyncio.Task[Any] | None]) -> Iterator[None]:
        """What the current task is refused meanwhile is refused ``tasks``, which wait for it."""
        task = asyncio.current_task()
        self._asks_for[task] = tasks
        try:
            yield
        finally:
            del self._asks_for[task]

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def within(self, call: Awaitable[T]) -> T:
        """Await ``call`` for at most ``request_timeout_seconds``; raises TimeoutError.

        Where it was refused meanwhile, it is the last refusal that is raised.
        """
        try:
            self.check_here()
        except ConnectionLost:
            if asyncio.iscoroutine(call):
                call.close()
            raise
        limit = self._settings.request_timeout_seconds
        clock, task = asyncio.timeout(limit), asyncio.current_task()
        self._refused[task] = None
        try:
            async with clock:
                return await call
        except TimeoutError:
            if not clock.expired():
                raise
            if (refusal := self._refused.get(task)) is not None:
                raise refusal from None
            raise self.timed_out() from (self._cause if self._link is None else None)
        finally:
            self._refused.pop(task, None)
            del clock, task  # the task's error refers to this frame

    def timed_out(self) -> TimeoutError:
        """Return the error of a call that took too long."""
        limit = self._settings.request_timeout_seconds
        why = "" if self._link is not None else f" (not connected: {self._trouble})"
        return TimeoutError(f"no answer within {limit} s{why}")

    # -- the keeper -----------------------------------------------------------------------

    async def _keep(self, link: Link) -> None:
        """Run ``_replace_links``; a fault of our own must not leave calls waiting for ever."""
        try:
            await self._replace_links(link)
        except Exception as error:
            log.exception("the client's own fault")
            self._link = None
            self._finish(ConnectionLost(f"a fault of this client: {error!r}"))

    async def _replace_links(self, link: Link) -> None:
        """Read the link; when it goes, get another; until there is a reason not to."""
        attempt = 0
        while True:
            began = self._now()
            final = await link.run()
            self._link = None
            self._trouble, self._cause = link.loss, None
            if self._over is not None:
                return None
            # A token that ends as soon as it was shown is as good as none.
            is_brief = self._now() - began < self._settings.backoff.cap_seconds
            is_useless = isinstance(final, Unauthenticated) and is_brief
            attempt = 0 if link.useful and not is_useless else attempt + 1
            if link.useful:
                self._dialer.was_useful()
            if isinstance(final, Unauthenticated) and self._dialer.may_ask_again():
                final = None
            if final is None and not self._settings.reconnect:
                final = ConnectionLost("the connection is gone, and reconnect is off")
            if final is not None:
                return self._finish(final)
            self._ready = asyncio.get_running_loop().create_future()
            found = await self._reconnect(attempt)
            if found is None:
                return None
            link, attempt = found
            self._link = link
            self._ready.set_result(None)
            log.info("connected again")

    async def _reconnect(self, attempt: int) -> tuple[Link, int] | None:
        while True:
            wait = self._settings.backoff.delay_seconds(attempt, self._random.random())
            log.info("the connection is gone; connecting again in %.2f s", wait)
            await asyncio.sleep(wait)
            try:
                return await self._dialer.connect(), attempt
            except (OSError, Retryable, Quota, Unauthenticated) as error:
                # Quota: the place of the connection that is gone may not be free yet.
                if isinstance(error, Unauthenticated) and not self._dialer.may_ask_again():
                    self._finish(error)
                    return None
                self._trouble = str(error) or type(error).__name__
                self._cause = error.__cause__ if isinstance(error, NoToken) else None
                level = logging.WARNING if isinstance(error, NoToken) else logging.INFO
                log.log(level, "could not connect: %s", self._trouble)
                attempt += 1
            except OmenError as error:
                self._finish(error)
                return None

    def _finish(self, why: OmenError) -> None:
        if self._over is None:
            self._over = why
        self._dialer.rest()
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
