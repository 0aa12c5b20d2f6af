"""``count`` subscriptions: how many rows there are, told again when it has changed (PROTOCOL 6).

Lives on the loop's thread. At each beat a subscription has the engine bring its *tally* up to date
(``engine/streams/counting.py``), which those that count the same share, whoever they belong to, and
offers what it says if its reader was told something else. The message is made when the socket can
take it, so a slow reader hears what is true then.
"""

from __future__ import annotations

from typing import Final

from omendb_core.model.budget import Share

from ...catalog.entry import Entry
from ...engine.streams.counting import Recount, Said, Tally
from ...wire.counts import encode_count_push
from ...wire.encoded import Message
from .beats import Beat
from .subscription import DEFAULT_EVERY_MS, Owner, Subscription

#: What a subscription takes, its timer included: by how a server's memory grows with 30,000.
COUNT_BYTES: Final = 900


class CountSubscription(Subscription):
    """A reader of a tally. What it was told last is known by its digest."""

    kind = "count"

    def __init__(
        self,
        session: Owner,
        sub: int,
        collection: Entry,
        tally: Tally,
        every_ms: int | None,
        share: Share,
    ) -> None:
        super().__init__(session, sub, collection)
        self.lane = session.lane
        self.tally = tally
        self.has_begun = False
        self._share = share
        self._every_seconds = (every_ms or DEFAULT_EVERY_MS) / 1000
        self._told = b""
        self._is_asking = False
        self._beat: Beat | None = None

    def begun(self, said: Said) -> None:
        """See ``counting.Reader``."""
        self._told = said.digest
        self.has_begun = True

    def start(self) -> None:
        """The reply has said the first count; the next may come one beat later."""
        if self._beat is None:
            self._beat = self._context.beats.begin(self._tick, self._every_seconds)

    def recounted(self) -> None:
        """See ``counting.Reader``."""
        self._is_asking = False
        said = self.tally.said
        if self.is_ended or said is None or said.digest == self._told:
            return
        if not self.session.outbox.offer(self):
            self._context.metrics.stats_merged += 1
            self.tally.shard.counts.merged += 1

    def take(self) -> Message | None:
        """What is true when the socket can take it, unless that was told already."""
        said = self.tally.said
        if self.is_ended or said is None or said.digest == self._told:
            return None
        message = encode_count_push(self.sub, said.counted)
        self._count_push()
        self._told = said.digest
        return message

    def close(self) -> None:
        """As ``Subscription.close``; the clock stops."""
        if self._beat is not None:
            self._beat.stop()
        self._share.close()
        super().close()

    def _tick(self) -> None:
        if not (self.is_ended or self._is_asking):
            self._context.engine.submit(Recount(self))
            self._is_asking = True
