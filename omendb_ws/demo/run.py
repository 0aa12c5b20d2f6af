"""Runs the demo: a real server in a child process, clients of it here, and a view of them.

The view is drawn in a thread of its own, so that drawing does not stand in the way of searches.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from rich.console import Console
from rich.live import Live

from ..client import connect
from ..runtime.event_loops import choose
from . import digits, workload
from .child import Addresses, serving
from .figures import Snapshot, Tally
from .view import Canvas, live_view, plain_line

#: Never streamed, only searched with; 1,600 are left to stream.
HELD_OUT: Final = 197
_FRAMES_PER_SECOND: Final = 8
_SWITCH_INTERVAL_SECONDS: Final = 0.0005


class _Console(Console):
    """Raises what it is told by a pipe whose reader went away; rich would end the process there."""

    def on_broken_pipe(self) -> None:
        raise  # called where BrokenPipeError is handled


def run_demo(
    port: int, http_port: int | None, seconds: float | None, rows_per_second: float
) -> None:
    """Run until Ctrl-C or for ``seconds``, then print a summary. Raises ServerFailed.

    A live view in a terminal, a line a second elsewhere.
    """
    console = _Console(highlight=False)
    # Drawing is pure Python: at the default of 5 ms it would hold up the searches beside it.
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    with asyncio.Runner(loop_factory=choose().new_loop) as runner, _interruptible():
        summary = runner.run(_demo(console, serving(port, http_port), seconds, rows_per_second))
        console.print(summary, soft_wrap=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Where the loop cannot take signals (Windows), Ctrl-C still ends without a traceback."""
    with contextlib.suppress(KeyboardInterrupt):
        yield


async def _demo(
    console: Console,
    server: AbstractAsyncContextManager[Addresses],
    seconds: float | None,
    rows_per_second: float,
) -> str:
    streamed, asked = digits.split(digits.load(), HELD_OUT)
    tally = Tally()
    async with contextlib.AsyncExitStack() as stack:
        url, http_url = await stack.enter_async_context(server)
        producer = await stack.enter_async_context(connect(url))
        searcher = await stack.enter_async_context(connect(url))
        await workload.create(producer)
        await workload.fill(producer, streamed)
        started = time.monotonic()
        await _until_the_end(
            seconds,
            workload.stream(producer, streamed, rows_per_second),
            workload.search(searcher, asked, tally),
            workload.show(searcher, asked, tally),
            workload.watch(searcher, tally),
            workload.count(searcher, tally),
            _present(console, url, http_url, tally, started),
        )
        return _summary(tally.snapshot(time.monotonic() - started))


async def _until_the_end(seconds: float | None, *work: Coroutine[Any, Any, None]) -> None:
    """Run all of ``work`` until ``seconds`` have passed, a signal comes, or one fails."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(one) for one in (*work, _wait(stop))]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def _present(
    console: Console, url: str, http_url: str | None, tally: Tally, started: float
) -> None:
    """Say where the server is, then show it: a live view in a terminal, else lines."""
    hint = f"In a browser: {url.replace('ws://', 'http://').removesuffix('v1')}"
    console.print(f"Serving the demo at {url}", soft_wrap=True)
    console.print(hint, soft_wrap=True)
    if http_url is not None:
        console.print(f"The HTTP API: {http_url}/docs", soft_wrap=True)
    console.print(f"From another terminal: {_python()} -m websockets {url}", soft_wrap=True)
    console.print(
        f'then type: {{"id":1,"op":"describe","collection":"{workload.COLLECTION}"}}',
        soft_wrap=True,
    )
    if not console.is_terminal or console.is_dumb_terminal:
        while True:
            await asyncio.sleep(1.0)
            console.print(plain_line(tally.snapshot(time.monotonic() - started)), soft_wrap=True)
    colours = console.color_system in ("256", "truecolor")
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now = tally.snapshot(time.monotonic() - started)
            view = live_view(url, hint, now, Canvas(*console.size, colours))
            await asyncio.to_thread(live.update, view, refresh=True)
            await asyncio.sleep(1.0 / _FRAMES_PER_SECOND)


def _python() -> str:
    """This interpreter, as short as it can be said from here."""
    return min((sys.executable, os.path.relpath(sys.executable)), key=len)


def _summary(now: Snapshot) -> str:
    window = now.window
    return (
        f"{now.elapsed_seconds:.1f} s: {window.last_seq:,} rows streamed,"
        f" {window.evicted:,} evicted, {now.searches:,} searches"
        f" (p50 {now.p50_ms:.2f} ms, p99 {now.p99_ms:.2f} ms),"
        f" {now.right_label_share:.1%} of the neighbours show the right digit"
    )
