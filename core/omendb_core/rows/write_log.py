"""Which slots were written lately: how whoever keeps something of all rows looks at a few only."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..model.types import I64


class WriteLog:
    """Which slots were written, by the number of writes before; the last ``most`` slots or so."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: deque[I64] = deque()
        self._forgotten = self._total = 0

    @property
    def total(self) -> int:
        """How many writes there were."""
        return self._total

    def note(self, slots: I64) -> None:
        """``slots`` int64 (n,) were written."""
        self._parts.append(slots)
        self._total += len(slots)
        while self._total - self._forgotten > self._most:
            self._forgotten += len(self._parts.popleft())

    def knows(self, total: int) -> bool:
        """Whether ``since`` does."""
        return total >= self._forgotten

    def since(self, total: int) -> I64 | None:
        """The slots of all writes but the first ``total``, some perhaps twice; None: not known."""
        if total < self._forgotten:
            return None
        parts, left = [], self._total - total
        for part in reversed(self._parts):
            if left <= 0:
                break
            parts.append(part)
            left -= len(part)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)
