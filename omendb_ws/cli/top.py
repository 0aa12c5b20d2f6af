"""``omendb-ws top``: a server, live, in a full screen."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from . import reaching
from .failure import WRONG, fail
from .output import print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ..client import Client
    from .top_model import Model

#: How often it is looked for collections that are new, or gone.
_LOOK_SECONDS: Final = 2.0
#: Without anything for so long, or for three of the times asked for, the server is away.
_LATE_SECONDS: Final = 3.0
#: The screen is drawn when something has come, at most and at least so often.
_DRAW_SECONDS: Final = 0.1
_DRAW_AT_LEAST_SECONDS: Final = 1.0


def top(
    every_ms: Annotated[
        int, typer.Option(min=100, max=60_000, help="Milliseconds between two figures.")
    ] = 1000,
    count: Annotated[
        int | None, typer.Option(min=1, help="With --json: end after so many lines.")
    ] = None,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Watch a server and its collections, live, in a full screen.

    Keys: up and down pick a collection, enter shows all its figures, s and S sort by the next and
    the last column, r turns the order round, q quits. The server's own figures need the right
    admin. With --json: a line of figures each time.

    \b
    Examples:
      omendb-ws top
      omendb-ws top --every-ms 250 --url ws://127.0.0.1:9000/v1
      omendb-ws top --json --count 1
    """
    from rich.console import Console

    from .top_model import Model

    console = Console(highlight=False)
    if not as_json and (not console.is_terminal or console.is_dumb_terminal):
        fail(WRONG, "top: needs a terminal; --json prints lines, and stats prints once")
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    model = Model(url)

    async def work(db: Client) -> None:
        if as_json:
            await _print(db, model, every_ms, count)
        else:
            await _show(db, model, every_ms, console)

    reaching.reach(at, work, reconnect=True)


# -- figures ----------------------------------------------------------------------------------


class _Watch:
    """Keeps ``model`` up to date; sets ``news`` when it has changed."""

    def __init__(self, db: Client, model: Model, every_ms: int) -> None:
        self.news = asyncio.Event()
        self._db, self._model, self._every_ms = db, model, every_ms
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._heard = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Since anything came, beyond what was to be expected."""
        expected = max(3 * self._every_ms / 1000, _LATE_SECONDS)
        return max(time.monotonic() - self._heard - expected, 0.0)

    def _hear(self) -> None:
        self._heard = time.monotonic()
        self.news.set()

    async def run(self) -> None:
        """Follow the server and every collection, for ever; raises what ends the client."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server())
            while True:
                await self._look(group)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, group: asyncio.TaskGroup) -> None:
        """Follow new collections, forget those that are gone."""
        try:
            found = await self._db.list()
        except TimeoutError:
            return  # the client goes on connecting
        self._hear()
        described = {one.collection: one for one in found}
        for name in self._model.collections.keys() - described.keys():
            self._model.forget(name)
        for name, one in described.items():
            task = self._tasks.get(name)
            if task is None or task.done():
                kind = {key: getattr(one, key) for key in
                        ("metric", "ids", "ttl", "durability", "columns")}  # fmt: skip
                self._tasks[name] = group.create_task(self._collection(name, kind))

    async def _server(self) -> None:
        from ..errors import Forbidden

        try:
            async for figures in self._db.watch_stats(every_ms=self._every_ms):
                if figures["rss_bytes"] is None:
                    raise Forbidden("these are the tenant's own")
                self._model.server = figures
                self._hear()
        except Forbidden:
            self._model.server_why = "the figures of the server need a key with the right operator"
            self.news.set()

    async def _collection(self, name: str, kind: dict[str, Any]) -> None:
        from ..errors import Forbidden, NotFound, Unavailable

        with suppress(NotFound, Forbidden, Unavailable):
            async for figures in self._db.watch_stats(name, every_ms=self._every_ms):
                self._model.take({**kind, **figures})
                self._hear()
        self._model.forget(name)
        self.news.set()


async def _print(db: Client, model: Model, every_ms: int, count: int | None) -> None:
    """Print a line of figures every ``every_ms``."""
    from ..errors import Forbidden
    from .top_view import document

    left = count
    while left is None or left > 0:
        for one in await db.list():
            model.take(await db.stats(one.collection))
        with suppress(Forbidden):
            model.server = await db.stats()
        print_json(document(model))
        sys.stdout.flush()
        model.collections.clear()
        left = None if left is None else left - 1
        if left != 0:
            await asyncio.sleep(every_ms / 1000)


# -- the screen -------------------------------------------------------------------------------


async def _show(db: Client, model: Model, every_ms: int, console: Console) -> None:
    """Draw until ``q``, Ctrl-C or a signal."""
    watch = _Watch(db, model, every_ms)
    following = asyncio.ensure_future(watch.run())
    try:
        with _keys(model, watch.news), _signals(model, watch.news) as told:
            await _draw(model, watch, following, console)
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait([following])
    if told:
        raise typer.Exit(128 + told[0])
    _raise_first(following)


async def _draw(
    model: Model, watch: _Watch, following: asyncio.Future[None], console: Console
) -> None:
    from rich.live import Live

    from .top_view import view

    following.add_done_callback(lambda _: watch.news.set())
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            model.silent_seconds = watch.silent_seconds
            live.update(view(model, *console.size), refresh=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAW_AT_LEAST_SECONDS):
                    await watch.news.wait()
            if model.is_over or following.done():
                return
            watch.news.clear()
            await asyncio.sleep(_DRAW_SECONDS)


def _raise_first(following: asyncio.Future[None]) -> None:
    """Raise what ended the following, if anything did: the first of a group."""
    if following.cancelled() or following.exception() is None:
        return
    error: BaseException | None = following.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert error is not None
    raise error


@contextmanager
def _keys(model: Model, news: asyncio.Event) -> Iterator[None]:
    """Hand the terminal's keys to ``model`` while entered."""
    from . import keys

    loop = asyncio.get_running_loop()
    with keys.unbuffered() as terminal:
        if terminal is None:
            yield
            return

        def read() -> None:
            pressed = keys.read(terminal)
            if not pressed:  # the terminal is gone
                model.is_over = True
            for key in pressed:
                model.press(key)
            news.set()

        loop.add_reader(terminal, read)
        # uvloop makes non-blocking what it watches, and pictures go to the same open terminal: a
        # write that a slow one has no room for would fail instead of waiting.
        os.set_blocking(terminal, True)
        try:
            yield
        finally:
            loop.remove_reader(terminal)


@contextmanager
def _signals(model: Model, news: asyncio.Event) -> Iterator[list[int]]:
    """Draw anew when the size changes; end in order when told to: the list has by which signal."""
    loop = asyncio.get_running_loop()
    told: list[int] = []
    handled: list[int] = []

    def end(number: int) -> None:
        told.append(number)
        model.is_over = True
        news.set()

    for name in ("SIGWINCH", "SIGTERM", "SIGHUP"):
        with suppress(AttributeError, NotImplementedError):  # Windows
            number = getattr(signal, name)
            react = news.set if name == "SIGWINCH" else partial(end, number)
            loop.add_signal_handler(number, react)
            handled.append(number)
    try:
        yield told
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
