"""How long tests wait for what must happen.

What takes longer hangs. It is a bound for hangs and nothing else: no test may pass or fail by how
fast the machine is, and one that is shared by many does in a minute what an idle one does at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

#: Below the ``timeout`` of pytest, so that a test that hangs says where.
PATIENCE_SECONDS: Final = 120.0

#: Of a server under test: it refuses nothing for having waited, unless the test is about that.
UNHURRIED: Final = {"queue_deadline_ms": 3_600_000}
#: The same for a server that is a process of its own.
UNHURRIED_VARIABLES: Final = {
    f"OMENDB_{name.upper()}": str(value) for name, value in UNHURRIED.items()
}


async def eventually(is_so: Callable[[], Any], *, each_turn: bool = False) -> None:
    """Return when ``is_so``, which another task, thread or process brings about and tells nobody.

    It looks every millisecond; ``each_turn`` of the loop where it is so for a moment only, or where
    what comes next must find it so. Raises TimeoutError after `PATIENCE_SECONDS`.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0 if each_turn else 0.001)


def wait_until(is_so: Callable[[], Any]) -> None:
    """`eventually`, for a thread without a loop."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not within {PATIENCE_SECONDS:g} s")
        time.sleep(0.001)
