"""How long a scan of one window takes, learned from those that were done.

Pure. ``Inbox`` asks it whether the loop may scan itself, and long reads how much of a batch is a
piece. Costs are in wall time, as the loop is kept for that long; where the loop asks, of scans by
one thread. Few vectors cost more each than many (alone one waits for memory), so each size of a
call, by powers of two, is learned for itself. What is not known is bounded by what is: fewer
vectors take no longer than more, and n times as many vectors or rows at most n times as long.
"""

from __future__ import annotations

from typing import Final

#: What share of a difference is believed, either way: ten scans make what was learned before
#: forgotten, whatever it was.
_BELIEVED: Final = 1 / 4
#: A scan tells at most this many times what was expected: whatever else the machine does makes
#: scans slower now and then, by a hundred times where a thread is put aside.
_MOST_TIMES: Final = 2.0
#: Below so many rows the calls around a scan take longest.
_LEAST_ROWS: Final = 1024


class ScanCost:
    """The cost of scans of one window, by their vectors and its rows."""

    def __init__(self) -> None:
        #: By the bits of the number of vectors: most vectors, rows, microseconds.
        self._known: dict[int, tuple[int, int, float]] = {}

    def note(self, vectors: int, rows: int, took_us: float) -> None:
        """A scan was done, by one thread."""
        size, rows = vectors.bit_length(), max(rows, _LEAST_ROWS)
        known = self._known.get(size)
        if known is not None:
            most, before, us = known
            if before <= 2 * rows and rows <= 2 * before:
                expected_us = us * (vectors / most) * (rows / before)
                took_us = min(took_us, _MOST_TIMES * expected_us)
                took_us = expected_us + _BELIEVED * (took_us - expected_us)
        self._known[size] = (vectors, rows, took_us)

    def learned_us(self, vectors: int, rows: int) -> float:
        """How long one of such a size took; 0 if there was none."""
        own = self._known.get(vectors.bit_length())
        return 0.0 if own is None else _bound_us(vectors, max(rows, _LEAST_ROWS), *own)

    def expected_us(self, vectors: int, rows: int) -> float:
        """At most how long a scan will take; infinity if nothing is known."""
        rows = max(rows, _LEAST_ROWS)
        own = self._known.get(vectors.bit_length())
        known = self._known.values() if own is None else (own,)
        return min((_bound_us(vectors, rows, *one) for one in known), default=float("inf"))


def _bound_us(vectors: int, rows: int, known_vectors: int, known_rows: int, us: float) -> float:
    """What a scan takes at most, by another one of the same window."""
    return us * max(1.0, vectors / known_vectors) * max(1.0, rows / known_rows)
