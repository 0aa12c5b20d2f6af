"""The one timer of what comes every so often, on both event loops."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest

from omendb_ws.sessions.subscriptions.beats import BEATS_AT_ONCE, Beat, Beats

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.mark.parametrize("loop", LOOPS)
def test_one_begins_while_more_are_due_than_one_turn_has(loop: str) -> None:
    """uvloop has no timer for what is due already, and what it has instead knows no time."""
    began: list[Beat] = []

    async def run() -> None:
        beats, all_called, has_begun = Beats(), asyncio.Event(), asyncio.Event()
        called: set[int] = set()

        def call(number: int) -> None:
            if number == 0 and 0 not in called:
                # Behind this turn some are left, which are late.
                asyncio.get_running_loop().call_soon(begin)
            called.add(number)
            if len(called) == 2 * BEATS_AT_ONCE:
                all_called.set()

        def begin() -> None:
            began.append(beats.begin(lambda: None, 0.001))
            has_begun.set()

        going = [
            beats.begin(lambda number=number: call(number), 0.001)  # type: ignore[misc]
            for number in range(2 * BEATS_AT_ONCE)
        ]
        await has_begun.wait()
        await all_called.wait()
        for one in (*going, *began):
            one.stop()

    faults: list[object] = []
    made = LOOPS[loop]()
    made.set_exception_handler(lambda _, context: faults.append(context))
    with asyncio.Runner(loop_factory=lambda: made) as runner:
        runner.run(asyncio.wait_for(run(), 60))
    assert len(began) == 1
    assert faults == []
