"""The event loop behind synchronous clients and named ``memory://`` servers: one a process.

It runs in a daemon thread that starts with the first that needs it, on uvloop where that is
installed (a ``ping`` over a socket takes 80 µs instead of 100). Nothing of a user runs there, so a
user's thread may always wait for it: inside a running event loop (notebooks) too. When the
interpreter ends, clients that were forgotten are closed, for at most a second. A forked process
has no such thread, and gets its own; what was connected before the fork is not its to use.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, ParamSpec, TypeVar

from omendb_core.model.errors import OmenError

from ..errors import ConnectionLost
from ..runtime import event_loops

#: How long the end of the interpreter waits for clients that nobody closed.
LEAVE_SECONDS: Final = 1.0
#: How long an interrupted call waits until it is certain that nothing of it happens any more.
CANCEL_SECONDS: Final = 1.0

P = ParamSpec("P")
T = TypeVar("T")
Close = Callable[[], Awaitable[None]]


class Background:
    """An event loop in a daemon thread. Use ``shared``."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._closes: dict[int, Close] = {}
        self._is_running = threading.Event()
        self._over: asyncio.Event
        self.loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="omendb-client", daemon=True)
        self._thread.start()
        self._is_running.wait()

    @property
    def is_here(self) -> bool:
        """Whether its thread runs in this process."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on the loop, wait for it, and return or raise what it does.

        An interruption of the waiting thread (Ctrl-C) cancels it, and is raised once it has ended.
        Raises ConnectionLost where the loop is gone.
        """
        if not self.is_here:
            coroutine.close()
            raise ConnectionLost("this client is that of another process; connect anew")
        if threading.current_thread() is self._thread:  # as a log handler may
            coroutine.close()
            raise RuntimeError("the thread that answers calls cannot wait for one")
        call = _Call(coroutine)
        try:
            self.loop.call_soon_threadsafe(call.start)
        except RuntimeError:
            coroutine.close()
            raise ConnectionLost("the interpreter is ending") from None
        try:
            call.wait()
        except BaseException:
            self.loop.call_soon_threadsafe(call.cancel)
            call.wait(CANCEL_SECONDS)
            raise
        try:
            return call.result()
        finally:
            del call  # what it raises refers to this frame

    def soon(
        self,
        coroutine_of: Callable[P, Coroutine[Any, Any, None]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """Run a coroutine on the loop at some time, and wait for nothing. Safe in finalizers."""
        if not self.is_here:
            return
        coroutine = coroutine_of(*args, **kwargs)
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:  # the loop has just ended
            coroutine.close()

    # -- on the loop ----------------------------------------------------------------------

    def keep(self, key: int, close: Close) -> None:
        """Call ``close`` when the interpreter ends."""
        self._closes[key] = close

    def release(self, key: int) -> None:
        """Forget ``keep``."""
        self._closes.pop(key, None)

    # -- inside ---------------------------------------------------------------------------

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=event_loops.choose().new_loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._is_running.set()
        await self._over.wait()
        closing = [asyncio.ensure_future(close()) for close in self._closes.values()]
        if closing:
            await asyncio.wait(closing, timeout=LEAVE_SECONDS)

    def stop(self) -> None:
        """Close what is open, and end the thread."""
        if self.is_here:
            self.loop.call_soon_threadsafe(self._over.set)
            self._thread.join(2 * LEAVE_SECONDS)


class _Call(Generic[T]):
    """One coroutine that a thread waits for. A bare lock: a Future's condition costs 10 µs more."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._has_ended = False
        self._running = threading.Lock()
        self._running.acquire()
        self._task: asyncio.Task[T]

    def wait(self, timeout_seconds: float = -1) -> None:
        """Return when the coroutine has ended, or it took too long. On the caller's thread."""
        if not self._has_ended:  # a wait that was interrupted may have taken the lock
            self._running.acquire(timeout=timeout_seconds)

    def result(self) -> T:
        """What the coroutine returned. Raises what it raised.

        Errors that say what was wrong come without the ten frames of this client that raised them.
        """
        if self._task.cancelled():
            raise ConnectionLost("the interpreter is ending")
        error = self._task.exception()
        if isinstance(error, OmenError | TimeoutError):
            error = error.with_traceback(None)
        try:
            if error is not None:
                raise error
            return self._task.result()
        finally:
            del self, error  # what is raised refers to this frame

    def start(self) -> None:
        """Begin. On the loop's thread."""
        self._task = asyncio.get_running_loop().create_task(self._coroutine)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """End it early. On the loop's thread."""
        self._task.cancel()

    def _end(self, _: asyncio.Task[T]) -> None:
        self._has_ended = True
        self._running.release()


_shared: Background | None = None
_lock = threading.Lock()


def shared() -> Background:
    """Return the process's, started where need be."""
    global _shared
    with _lock:
        if _shared is None or not _shared.is_here:
            _shared = Background()
            atexit.register(_shared.stop)
        return _shared


def _after_fork() -> None:
    """In a new process: whoever held the lock is not here."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
