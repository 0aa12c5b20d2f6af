"""The steps of an end: all of them are done, whatever one of them raises.

Knows nothing of what ends. A step that failed is tried once more; so it must go on where it was.
"""

from __future__ import annotations

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
