"""Log lines that somebody else may cause again and again: some of them, and how many were not said.

Pure; time comes with each call, in microseconds.
"""

from __future__ import annotations

from typing import Final

from .pace import Pace

#: Lines of one kind in a burst, and then one each second.
_BURST_LINES: Final = 10
_LINE_US: Final = 1_000_000


class FewLines:
    """Lines of one kind, so that they do not fill the log: ``burst`` at once, then one each
    ``line_us``.
    """

    def __init__(self, burst: int = _BURST_LINES, line_us: int = _LINE_US) -> None:
        self._pace = Pace(line_us, burst)
        self._passed_over = 0

    def next(self, now_us: int) -> int | None:
        """None: no line now. Else how many were passed over since the last one."""
        if not self._pace.take(now_us):
            self._passed_over += 1
            return None
        passed_over, self._passed_over = self._passed_over, 0
        return passed_over


def more(passed_over: int) -> str:
    """What a log line says of those that ``FewLines`` passed over before it."""
    return f" ({passed_over} more since the last such line)" if passed_over else ""
