"""Many things of one kind that are done on the loop, some in each of its turns, in order.

Knows asyncio and nothing of the rest. Invariant: each is done once, or tried twice; whatever one of
them does, those behind it have their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
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
        self._loop: asyncio.AbstractEventLoop

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def give(self, items: Iterable[T], loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Some more: the first of them now, unless others wait. ``loop`` None: the running one."""
        self._loop = loop or asyncio.get_running_loop()
        is_under_way = bool(self._waiting)
        self._waiting.extend(items)
        if not is_under_way:
            self.do_some()

    def do_some(self) -> None:
        """Those of this turn; the others come in turns behind it."""
        waiting = self._waiting
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
            self._loop.call_soon(self.do_some)
