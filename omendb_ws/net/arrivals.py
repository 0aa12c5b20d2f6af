"""Since when bytes of a connection wait for its turn: what was read and is not handled yet.

What the session has no room for is not counted: that waits for its own client's requests. Pure.
"""

from __future__ import annotations

from collections import deque


class Arrivals:
    """Pieces that were read, by how many bytes had been read with them, and when."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, float]] = deque()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def note(self, read_bytes: int, now: float) -> None:
        """A piece was read, so many bytes with all before it, that waits for a turn."""
        self._pieces.append((read_bytes, now))

    def late_us(self, handled_bytes: int, now: float) -> int:
        """For how long the first bytes have waited behind so many that are handled."""
        pieces = self._pieces
        while pieces and pieces[0][0] <= handled_bytes:
            pieces.popleft()
        return round((now - pieces[0][1]) * 1e6) if pieces else 0

    def clear(self) -> None:
        """Nothing waits for a turn."""
        self._pieces.clear()
