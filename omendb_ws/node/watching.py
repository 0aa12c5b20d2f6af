"""The timer that looks at the server's load (``sessions/overload.py``) while there is some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ..runtime.faults import as_error
from ..runtime.few_lines import FewLines, more
from ..sessions.overload import LOOK_SECONDS, Overload
from ..telemetry.metrics import Metrics

#: How long a request that is let in should wait, of the time after which it is refused.
_TARGET: Final = 1 / 10
#: How long a fault of it is only counted after one was logged: there may be a hundred a second.
SAY_US: Final = 10_000_000


def watched(queue_deadline_ms: int, clock_us: Callable[[], int], metrics: Metrics) -> Overload:
    """The load of a server, looked at by the loop that runs when there is some."""
    lines = FewLines(1, SAY_US)

    def watch() -> None:
        due_us = clock_us() + round(LOOK_SECONDS * 1e6)
        asyncio.get_running_loop().call_later(LOOK_SECONDS, look, due_us)

    def look(due_us: int) -> None:
        goes_on = True
        try:
            goes_on = overload.look(max(clock_us() - due_us, 0))
            metrics.queue_wait_seconds = overload.delay_us / 1e6
        except Exception as error:
            metrics.faults += 1
            passed_over = lines.next(clock_us())
            if passed_over is not None:
                as_error(error, f"looking at the load{more(passed_over)}")
        if goes_on:
            watch()

    overload = Overload(queue_deadline_ms * 1000 * _TARGET, clock_us, watch)
    return overload
