"""The end of a shard, told to whoever subscribed to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

from ...runtime.faults import as_error
from .shard import Shard, Subscriber

#: Subscriptions of a shard that end in one turn of the loop: 13 µs each, as readers are told.
TOLD_AT_ONCE: Final = 128


@dataclass(slots=True, eq=False)
class Ended:
    """Effect: a shard is gone, or nobody knows any more what it holds."""

    shard: Shard
    reason: Literal["dropped", "unavailable"]
    _left: list[Subscriber] | None = None

    def deliver(self) -> None:
        """End what subscribed to it, some in each turn of the loop: there may be 200,000."""
        if self._left is None:
            self._left = list(self.shard.listed.subscriptions)
        for _ in range(min(TOLD_AT_ONCE, len(self._left))):
            self._left[-1].end(self.reason)
            self._left.pop()
        if self._left:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        try:
            self.deliver()
        except Exception as error:
            as_error(error, "the end of subscriptions")
            self.deliver()
