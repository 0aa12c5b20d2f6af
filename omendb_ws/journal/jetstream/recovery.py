"""A collection's stream read back: taken over first, then followed from its first message to the
fence, behind which nothing of an owner before can count.

So, other than the interface has it for files, a recovery changes something before ``finish``: the
entry of the owner, and the fence. Neither changes the collection.
"""

from __future__ import annotations

from collections.abc import Iterator

from omendb_core.model.errors import OmenError, Unavailable
from omendb_core.model.logged import Checkpoint

from ..interface import Log, Logged, Manifest, Settle, Torn
from .api import ApiError
from .followed import Followed
from .following import open_log
from .reader import Reader
from .records import Broken
from .streamed import Streamed
from .takeover import claim, state_of


class StreamRecovery:
    """``interface.Recovery`` over a stream; see the module."""

    def __init__(self, streamed: Streamed) -> None:
        self.stored = streamed.stored
        self._streamed = streamed
        self._connection = streamed.jetstream.connection
        self._followed = Followed(streamed.limits)
        self._reader = Reader(streamed, self._followed)
        self.progress = self._reader.progress
        self._term = self._end = 0
        self.is_settled = True  # what the stream has given lasts
        self.torn: Torn | None = None
        self.doubt: str | None = None
        self.manifest: Manifest
        self.checkpoint: Checkpoint

    def begin(self) -> None:
        """Take the stream over, and read where it begins. Damaged, Purged, Unavailable."""
        try:
            self._connection.call(self._take_over())
            self._reader.first()
            self.manifest = self._followed.manifest
            self.checkpoint = self._followed.tracker.checkpoint()
            if (self.manifest.tenant, self.manifest.name) != (self.stored.tenant, self.stored.name):
                raise Broken(f"it belongs to {self.manifest.name!r}")
        except BaseException as error:
            self._stop()
            if isinstance(error, Broken | ApiError):
                raise self._as_value(error) from error
            raise

    async def _take_over(self) -> None:
        self.progress.bytes_total = (await state_of(self._streamed))["bytes"]
        await self._append_fence(0)
        self._reader.start((await state_of(self._streamed))["first_seq"])

    async def _append_fence(self, term_before: int) -> None:
        self._term, self._end = await claim(
            self._streamed, self._followed, term_before, from_others=True
        )

    def changes(self) -> Iterator[Logged]:
        """See Recovery."""
        try:
            while True:
                yield from self._reader.changes_to(self._end)
                if self._followed.judge.term <= self._term:
                    break
                # The entry of its owner was lost, and began with a term that was over already.
                self._connection.call(self._append_fence(self._followed.judge.term))
            self._followed.refuse_gap()
            self._refuse_loss()
        except (Broken, ApiError) as error:
            raise self._as_value(error) from error
        finally:
            self._stop()

    def _refuse_loss(self) -> None:
        """Broken if the stream once held more."""
        had, has = self._streamed.ownership.noted_version, self._followed.tracker.version
        if has < had:
            raise Broken(f"it ends at version {has}, and had {had}")

    def _stop(self) -> None:
        self._connection.soon(self._reader.stop)

    def _as_value(self, error: Broken | ApiError) -> OmenError:
        if isinstance(error, ApiError):
            return Unavailable(f"the cluster's NATS refuses: {error}")
        return self._connection.call(self._reader.why(error))

    def time_us(self) -> int:
        """See Recovery."""
        return self._followed.time_us()

    def finish(self, settle: Settle) -> Log:
        """See Recovery. Deposed if another node has taken it over meanwhile."""
        try:
            return self._connection.call(open_log(self._streamed, self._followed, settle))
        except ApiError as error:
            raise self._as_value(error) from error
