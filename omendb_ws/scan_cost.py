"""How long a scan of a window takes, learned from those that were done.

Pure. ``Arrivals`` asks it whether the loop may scan itself.
"""

from __future__ import annotations

from typing import Final

#: What a scan costs beside its rows, in rows: 20 µs of calls, where 1,000 rows take 1.2 µs.
_CALL_ROWS: Final = 16_384
#: What shares of a difference are believed: of a faster scan much, of a slower one little, because
#: a machine that does something else besides makes scans slower, and nothing makes them faster.
_FASTER: Final = 1 / 4
_SLOWER: Final = 1 / 32


class ScanCost:
    """The cost of scanning one window, in processor time a row, for one vector."""

    def __init__(self) -> None:
        self._row_us: float | None = None

    def note(self, vectors: int, rows: int, took_us: float) -> None:
        """A scan was done. Many vectors take less each, so they count only if nothing is known."""
        row_us = took_us / (vectors * (rows + _CALL_ROWS))
        if self._row_us is None:
            self._row_us = row_us
        elif vectors == 1:
            share = _FASTER if row_us < self._row_us else _SLOWER
            self._row_us += share * (row_us - self._row_us)

    def expected_us(self, vectors: int, rows: int) -> float:
        """How long a scan will take; infinity if nothing is known. Too much for many vectors."""
        if self._row_us is None:
            return float("inf")
        return self._row_us * vectors * (rows + _CALL_ROWS)
