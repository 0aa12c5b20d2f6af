"""What a stream need not hold any more, and taking it out: up to a checkpoint, in its own time.

On the connection's thread. What is taken out too late takes room, and harms nobody; only what the
owner has seen to count is ever purged up to.
"""

from __future__ import annotations

import logging

from omendb_core.model.errors import OmenError

from .api import ApiError, JetStream
from .followed import Followed

log = logging.getLogger(__name__)


class Retention:
    """Of the stream that ``followed`` follows; ``bytes`` is about how long that is."""

    def __init__(self, jetstream: JetStream, stream: str, followed: Followed) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._followed = followed
        self._is_purging = False
        #: From which message on live rows were all written again; of the pass that goes on, too.
        self._base = self._pass_base = 0
        self.bytes = 0

    async def measure(self) -> None:
        """Ask how long the stream is. ApiError, Unavailable."""
        self.bytes = int((await self._jetstream.stream_state(self._stream))["bytes"])

    def begin_pass(self) -> None:
        """A pass of compaction begins with the checkpoint that came back last."""
        self._pass_base = self._followed.checkpoints[-1].sequence

    def end_pass(self) -> None:
        """All rows of the pass have come back, unless it was given up."""
        self._base = max(self._base, self._pass_base)
        self._pass_base = 0

    def give_up_pass(self) -> None:
        """Rows of the pass may not have come back, and never will."""
        self._pass_base = 0

    def purge(self) -> None:
        """Take out what is not needed, if anything is."""
        if self._is_purging:
            return
        before = self._followed.needless_before(self._base)
        if before is not None:
            self._is_purging = True
            self._jetstream.connection.begin(self._purge(before))

    async def _purge(self, before: int) -> None:
        try:
            await self._jetstream.purge(self._stream, before)
            await self.measure()
        except (ApiError, OmenError) as error:
            log.info("%s: not purged yet: %s", self._stream, error)  # goes with the next
        finally:
            self._is_purging = False
