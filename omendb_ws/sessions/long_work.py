"""Work of the loop that takes long, in pieces: a slice of each turn of the loop for all of it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

#: A generator that yields where others may have their turn.
Steps: TypeAlias = Generator[None, None, None]
Failed: TypeAlias = Callable[[Exception], None]

#: How long all of them together hold up a turn of the loop, but for the piece that runs over.
SLICE_US: Final = 1_000


class LongRequests:
    """Those of all sessions of a server, by turns."""

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock_ns = clock_ns
        self._waiting: deque[tuple[Steps, Failed]] = deque()
        #: Whether any are being done.
        self.is_busy = False
        #: How many pieces were done, ever.
        self.pieces = 0

    def begin(self, steps: Steps, failed: Failed) -> None:
        """Do ``steps``, from the next turn of the loop on; ``failed`` is told what they raise."""
        self._waiting.append((steps, failed))
        if not self.is_busy:
            self.is_busy = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        until_ns = self._clock_ns() + SLICE_US * 1000
        while self._waiting:
            steps, failed = self._waiting.popleft()
            try:
                next(steps)
                self._waiting.append((steps, failed))
            except StopIteration:
                pass
            except Exception as error:
                try:
                    failed(error)
                except Exception as fault:
                    failed(fault)
            self.pieces += 1
            if self._clock_ns() >= until_ns:
                break
        self.is_busy = bool(self._waiting)
        if self.is_busy:
            asyncio.get_running_loop().call_soon(self._run)
