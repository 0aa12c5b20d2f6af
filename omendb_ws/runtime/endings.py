"""The steps of an end: all of them are done, whatever one of them raises.

Knows nothing of what ends. A step that failed is tried once more; so it must go on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .faults import as_error


class Ending:
    """An end in steps. ``error``: the first that was raised twice."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def do(self, doing: str, step: Callable[[], object]) -> None:
        """Take a step; what it raises is logged."""
        try:
            step()
        except Exception as error:
            as_error(error, doing)
            try:
                step()
            except Exception as again:
                as_error(again, doing)
                self.error = self.error or again


class Once:
    """What is done once, whoever asks for it: who comes while another thread is at it waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_done = False

    def do(self, step: Callable[[], object]) -> None:
        """Take the step, unless it was taken. After a fault it may be called again."""
        with self._lock:
            if not self._is_done:
                step()
                self._is_done = True
