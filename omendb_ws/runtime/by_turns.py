"""Many things of one kind that are done on the loop, some in each of its turns, in order.

Knows asyncio and nothing of the rest. Invariant: each is done once, or tried twice; whatever one of
them does, those behind it have their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

T = TypeVar("T")


class ByTurns(Generic[T]):
    """Has ``do`` called with each that is given, ``at_once`` of them in a turn.

    ``failed`` is told of each fault; what failed is tried once more, and then passed over.
    """

    def __init__(
        self, do: Callable[[T], None], at_once: int, failed: Callable[[Exception], object]
    ) -> None:
        self._do = do
        self._at_once = at_once
        self._failed = failed
        self._waiting: deque[T] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def give(
        self, items: Collection[T] = (), loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """Some more, behind those that wait; without any, those of this turn are done now.

        ``loop`` None: the running one.
        """
        loop = loop or asyncio.get_running_loop()
        waiting = self._waiting
        if items and waiting:
            waiting.extend(items)
            return
        waiting.extend(items)
        for _ in range(min(self._at_once, len(waiting))):
            try:
                self._do(waiting[0])
            except Exception as error:
                self._failed(error)
                try:
                    self._do(waiting[0])
                except Exception as again:
                    self._failed(again)
            waiting.popleft()
        if waiting:
            loop.call_soon(self.give, (), loop)
