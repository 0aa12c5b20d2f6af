"""Names that have a number each, which goes up and down by one; the largest is known at once.

Names of one number are kept together, so every step costs the same, however many names there are.
Pure.
"""

from __future__ import annotations


class ByCount:
    """Invariant: a name is in ``_with`` under its number, and only there; none has 0."""

    def __init__(self) -> None:
        self._count_of: dict[str, int] = {}
        self._with: dict[int, dict[str, None]] = {}
        self._most = 0

    def more(self, name: str) -> None:
        """One more of it."""
        count = self._count_of.get(name, 0)
        self._move(name, count, count + 1)
        self._most = max(self._most, count + 1)

    def less(self, name: str) -> None:
        """One less of it; there is one."""
        count = self._count_of[name]
        self._move(name, count, count - 1)
        if self._most not in self._with:  # it was alone there
            self._most = count - 1

    def most(self) -> str | None:
        """One of those with the largest number, the longest there; None if there are no names."""
        return next(iter(self._with[self._most])) if self._most else None

    def _move(self, name: str, before: int, after: int) -> None:
        if before:
            there = self._with[before]
            del there[name]
            if not there:
                del self._with[before]
        if after:
            self._with.setdefault(after, {})[name] = None
            self._count_of[name] = after
        else:
            del self._count_of[name]
