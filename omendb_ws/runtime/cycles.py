"""When Python looks for cycles in the server's own process: seldom, and never over all at once.

Lives on the loop's thread; for a process that is the server's (``serve``): it sets what the whole
process has. CPython looks at everything that lives each time it has grown by a quarter, with the
interpreter held: 14 ms for what was imported, 30 to 200 ms for a text of a million lists, 3 to 14
for 10,000 live queries. Nothing of ours needs it: a window goes with its last reference, and so
does all that hangs on it. What is left are cycles of libraries, 60 objects a connection, which the
young generations find within milliseconds of their making, but for about four that were in use just
then.

So what is there after the start is put aside, the young generations are looked at a little at a
time, and the old one when it pays: once ``PAYS_AFTER`` connections have gone, or
``PAYS_AFTER_SECONDS`` have, and never for more than a thousandth of the time.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Final

#: How many connections leave about 1 MB of cycles in the old generation.
PAYS_AFTER: Final = 1000
PAYS_AFTER_SECONDS: Final = 600.0
#: A look is followed by so many times its own length without one.
_QUIET: Final = 1000
_LOOK_SECONDS: Final = 1.0
#: After so many looks at the youngest generation the middle one is looked at. Python's own 10 are
#: 7,000 objects: where they are rows of 128 numbers that took 6 ms, now 3; of a connection four
#: objects are left to the old one instead of three.
MIDDLE: Final = 2
#: As many collections of the middle generation never come.
_NEVER: Final = 2**31 - 1


class Cycles:
    """Freezes what is there after the start, and collects when it pays.

    ``gone`` says how many connections have gone, ever.
    """

    def __init__(
        self,
        gone: Callable[[], int],
        clock_seconds: Callable[[], float] = time.monotonic,
        collect: Callable[[], int] = gc.collect,
    ) -> None:
        self._gone = gone
        self._clock_seconds = clock_seconds
        self._collect = collect
        self._seen = gone()
        self._done_seconds = clock_seconds()
        self._quiet_until_seconds = self._done_seconds
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Put aside what is there, and take the old generation over."""
        gc.collect()
        gc.freeze()
        young, middle, _ = self._thresholds
        gc.set_threshold(young, min(middle, MIDDLE), _NEVER)

    def stop(self) -> None:
        """Leave it to Python again."""
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    async def run(self) -> None:
        """Look when it pays, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.look()

    def look(self) -> bool:
        """Collect the old generation if that pays now; whether it did."""
        now_seconds, gone = self._clock_seconds(), self._gone()
        pays = gone - self._seen >= PAYS_AFTER
        pays = pays or now_seconds - self._done_seconds >= PAYS_AFTER_SECONDS
        if not pays or now_seconds < self._quiet_until_seconds:
            return False
        self._collect()
        self._seen = gone
        self._done_seconds = self._clock_seconds()
        took_seconds = self._done_seconds - now_seconds
        self._quiet_until_seconds = self._done_seconds + _QUIET * took_seconds
        return True
