"""A subscription that is one stream of each shard: a feed, or a match query, of several.

Lives on the loop's thread. Streams begin one after the other, and the reply is there when all have:
what those say that were first waits until then.
"""

from __future__ import annotations

from collections.abc import Sequence

from omendb_core.model.budget import Budget

from ...engine.streams.commands import Gone
from ...engine.streams.stream import Push, Stream
from .subscription import StreamSubscription


class ShardedSubscription(StreamSubscription):
    """``streams``: by shard, set right after construction; each has one push unsent at most."""

    streams: Sequence[Stream] = ()
    _early: tuple[Push, ...] = ()

    def hold(self, budget: Budget, reserved_bytes: int) -> None:
        """Its streams pay for what all of them take."""
        each_bytes = reserved_bytes // len(self.streams)
        for stream in self.streams:
            stream.hold(budget, each_bytes)
        self._reserved_bytes -= each_bytes * len(self.streams)

    def start(self) -> None:
        """See ``Subscription.start``."""
        early, self._early = self._early, ()
        for push in early:
            self.pushed(push)

    def pushed(self, push: Push) -> None:
        """See ``StreamSubscription.pushed``."""
        if self._is_begun or self.is_ended:
            super().pushed(push)
        else:
            self._early = (*self._early, push)

    def close(self) -> None:
        """See ``StreamSubscription.close``."""
        if self.is_ended:
            return
        for stream in self.streams:
            self._context.engine.submit(Gone(stream))
        for push in self._early:
            self._context.engine.sent(push)
        self.streams = self._early = ()
        super().close()
