"""``get_token``: a caller's function that is asked for a token whenever one is needed.

It may be synchronous or not. The asyncio client calls it on its own loop; the synchronous client in
a thread, so it may block there, and use a client itself. One that does not answer is cancelled on a
loop; in a thread, where nothing can be, whoever asks next waits for the same call.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeAlias

from omendb_core.model.errors import BadRequest

from . import arguments

#: What callers pass; and what is made of it.
GetToken: TypeAlias = Callable[[], str | Awaitable[str]]
AskToken: TypeAlias = Callable[[], Awaitable[str]]

#: A token is renewed when so much of its time has gone, and never sooner than after a second.
RENEW_PART: Final = 0.8
LEAST_RENEW_SECONDS: Final = 1.0
#: The same where the server says that it ends soon: of one that lives shorter than the notice, it
#: says so at once.
NOTICED_PART: Final = 0.5
#: So many tokens in a row may be refused before the refusal is the callers' to know.
MAX_REFUSALS: Final = 3


class NoToken(ConnectionError):
    """``get_token`` raised, or returned what is no token of use; another attempt may do better."""


def on_this_loop(get_token: Any) -> AskToken:
    """What asks ``get_token`` on the running loop. Raises BadRequest."""
    if not callable(get_token):
        raise BadRequest(f"get_token: must be callable, not {arguments.kind(get_token)}")

    async def ask() -> str:
        try:
            given = get_token()
            return arguments.token(await given if inspect.isawaitable(given) else given)
        except Exception as error:
            raise NoToken(f"get_token failed: {error!r}") from error

    return ask


def in_a_thread(get_token: Any) -> AskToken:
    """What asks ``get_token`` in a thread of its own. Raises BadRequest."""
    if not callable(get_token):
        raise BadRequest(f"get_token: must be callable, not {arguments.kind(get_token)}")

    def call() -> Any:
        given = get_token()
        return asyncio.run(_awaited(given)) if inspect.isawaitable(given) else given

    return _InAThread(call).ask


class _InAThread:
    """One call at a time, in a daemon thread: one that hangs holds up neither work nor exit."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._under_way: Future[Any] | None = None

    async def ask(self) -> Any:
        if self._under_way is None:
            self._under_way = self._begun()
        under_way, loop, done = self._under_way, asyncio.get_running_loop(), asyncio.Event()

        def told(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        under_way.add_done_callback(told)
        await done.wait()
        if self._under_way is under_way:
            self._under_way = None
        return under_way.result()

    def _begun(self) -> Future[Any]:
        answer: Future[Any] = Future()
        context = contextvars.copy_context()

        def run() -> None:
            try:
                given = context.run(self._call)
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(given)

        threading.Thread(target=run, name="omendb-get-token", daemon=True).start()
        return answer


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given
