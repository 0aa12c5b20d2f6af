"""A bounded sample of what comes in an unknown number, spread evenly over all of it."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
#: At least so many are kept of more than that, and at most twice as many.
KEPT: Final = 100


class Sampling(Generic[Item]):
    """Every ``every``-th item; when there are too many, every second of these, and so on."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._offered = 0
        self.kept: list[Item] = []

    def is_due(self) -> bool:
        """Count one; whether it is to be kept."""
        self._offered += 1
        return self._offered % self._every == 0

    def keep(self, item: Item) -> None:
        """Keep the one that was due."""
        self.kept.append(item)
        if len(self.kept) == 2 * KEPT:
            self.kept = self.kept[1::2]  # whose numbers are those of twice the step
            self._every *= 2


def step(share: float) -> int:
    """Every how many-th is ``share`` of them."""
    return max(1, round(1 / share))
