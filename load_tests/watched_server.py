"""A server that is watched from within: how long its engine and its loop were held at a stretch.

    python -m load_tests.watched_server serve --port 0

``omendb-ws`` with two measures taken around it, nothing else changed. Each line on standard input
is answered by one on standard output: the longest *hold* since the line before, of the engine (a
tick) and of the loop (what it did between two beats of a millisecond), in milliseconds of the
thread's own processor time, so that other load on the machine counts little. The process ends with
its standard input.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from omendb_ws.cli import main as serve
from omendb_ws.engine.engine import Engine

#: How often the loop is looked at.
_BEAT_SECONDS: Final = 0.001


class Holds:
    """The longest stretch of each thread so far, in nanoseconds of its own time."""

    def __init__(self) -> None:
        self.engine_ns = self.loop_ns = 0
        self._beat_ns = 0

    def take(self) -> tuple[float, float]:
        """Milliseconds of engine and loop since they were taken before."""
        engine_ns, loop_ns = self.engine_ns, self.loop_ns
        self.engine_ns = self.loop_ns = 0
        return engine_ns / 1e6, loop_ns / 1e6

    def ticked(self, work: Callable[[Engine], None], engine: Engine) -> None:
        """One tick, on the engine's thread."""
        started_ns = time.thread_time_ns()
        work(engine)
        self.engine_ns = max(self.engine_ns, time.thread_time_ns() - started_ns)

    def beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """On the loop's thread, again and again."""
        now_ns = time.thread_time_ns()
        if self._beat_ns:
            self.loop_ns = max(self.loop_ns, now_ns - self._beat_ns)
        self._beat_ns = now_ns
        loop.call_later(_BEAT_SECONDS, self.beat, loop)


def watch(holds: Holds) -> None:
    """Have every engine of this process, and the loop that starts it, measured."""
    start, work = Engine.start, Engine._work

    def started(engine: Engine, *arguments: object) -> None:
        holds.beat(asyncio.get_running_loop())
        start(engine, *arguments)  # type: ignore[arg-type]

    Engine.start = started  # type: ignore[method-assign]
    Engine._work = lambda engine: holds.ticked(work, engine)  # type: ignore[method-assign]


def _tell(holds: Holds) -> None:
    for _ in sys.stdin:
        engine_ms, loop_ms = holds.take()
        print(f"{engine_ms:.2f} {loop_ms:.2f}", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve as the command line says."""
    holds = Holds()
    watch(holds)
    threading.Thread(target=_tell, args=[holds], name="holds", daemon=True).start()
    serve()


if __name__ == "__main__":
    main()
