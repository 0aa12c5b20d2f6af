"""The end of a shard, told to whoever subscribed to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ...runtime.by_turns import ByTurns
from ...runtime.faults import as_error
from .shard import Shard, Subscriber

#: Subscriptions of a shard that end in one turn of the loop: 13 µs each, as readers are told.
TOLD_AT_ONCE: Final = 128


@dataclass(slots=True, eq=False)
class EndedOne:
    """Effect: one subscription cannot go on, and why."""

    subscription: Subscriber
    reason: str

    def deliver(self) -> None:
        """End it."""
        self.subscription.end(self.reason)


@dataclass(slots=True, eq=False)
class Ended:
    """Effect: a shard is gone, or nobody knows any more what it holds."""

    shard: Shard
    reason: Literal["dropped", "unavailable"]

    def deliver(self) -> None:
        """End what subscribed to it, some in each turn of the loop: there may be 200,000."""

        def end(subscription: Subscriber) -> None:
            subscription.end(self.reason)

        def failed(error: Exception) -> None:
            as_error(error, "the end of subscriptions")

        ByTurns(end, TOLD_AT_ONCE, failed).give(list(self.shard.listed.subscriptions))
