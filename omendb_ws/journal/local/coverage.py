"""Whether a log holds every row of its window: the check against a segment that was taken away.

Pure. A log that starts at a checkpoint holds the rows after it; rows at or before it must have left
the window since, or stand further on as kept rows, or be known as lost.
"""

from __future__ import annotations


class Coverage:
    """Stretches of seqs at or below ``start_seq`` that were written again."""

    def __init__(self, start_seq: int) -> None:
        self._start_seq = start_seq
        self._stretches: list[tuple[int, int]] = []

    def add(self, first_seq: int, last_seq: int) -> None:
        """Rows of these seqs stand here as kept rows."""
        if first_seq <= min(last_seq, self._start_seq):
            self._stretches.append((first_seq, last_seq))

    def first_gap(self, first_seq: int, missing_to: int) -> int | None:
        """The first seq of the window, from ``first_seq`` on, that is not covered; None if none."""
        wanted = max(first_seq, missing_to + 1)
        for first, last in sorted(self._stretches):
            if first > wanted:
                break
            wanted = max(wanted, last + 1)
        return wanted if wanted <= self._start_seq else None

    def covered_from(self) -> int:
        """The first seq from which on every row is covered."""
        covered = self._start_seq + 1
        for first, last in sorted(self._stretches, key=lambda stretch: stretch[1], reverse=True):
            if last >= covered - 1:
                covered = min(covered, first)
        return covered
