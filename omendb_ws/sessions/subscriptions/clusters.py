"""``cluster`` subscriptions: who is in the cluster, told again when it has changed (PROTOCOL 6).

Lives on the loop's thread. At each beat a subscription looks whether there is anything new, and
offers it; the message is made when the socket can take it, so a slow reader hears what is true
then. What is told is looked up and written once for all that look in one turn of the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from omendb_core.model.budget import Share

from ...cluster.directory import Told
from ...wire.encoded import Message
from .beats import Beat
from .subscription import DEFAULT_EVERY_MS, Owner, Subscription

#: What a subscription takes, its timer included: less than one of statistics.
CLUSTER_BYTES: Final = 1800


class ClusterSubscription(Subscription):
    """A reader of what its principal may see; what it was told last is known by its digest.

    ``now`` says what that is in this turn of the loop.
    """

    kind = "cluster"

    def __init__(
        self,
        session: Owner,
        sub: int,
        every_ms: int | None,
        share: Share,
        now: Callable[[], Told],
    ) -> None:
        super().__init__(session, sub, None)
        self._now = now
        self._share = share
        self._every_seconds = (every_ms or DEFAULT_EVERY_MS) / 1000
        self._told = b""
        self._beat: Beat | None = None

    def start(self) -> None:
        """What is so now comes at once."""
        if self._beat is None:
            self._beat = self._context.beats.begin(self._tick, self._every_seconds)
            self._tick()

    def take(self) -> Message | None:
        """What is true when the socket can take it, unless that was told already."""
        if self.is_ended:
            return None
        told = self._now()
        if told.digest == self._told:
            return None
        self._count_push()
        self._told = told.digest
        head = b'{"event":"cluster","sub":%d,' % self.sub
        return Message((head, told.members, b"}"), True)

    def close(self) -> None:
        """As ``Subscription.close``; the clock stops."""
        if self._beat is not None:
            self._beat.stop()
        self._share.close()
        super().close()

    def _tick(self) -> None:
        if self.is_ended or self._now().digest == self._told:
            return
        if not self.session.outbox.offer(self):
            self._context.metrics.stats_merged += 1
