"""Whether a stream still holds all that is needed of it, and its mending where it does not.

An owner reads the end of its stream only. What is missing or spoiled further in front (taken out by
somebody, or by NATS out of a file that it found altered) would show when the next node begins to
read, and by then perhaps nobody has the rows. So the owner looks at it now and then: at how much
there is, and at a few messages each time, round and round. What is not as it should be is mended by
a pass of compaction: live rows are written again, and what was before them goes. Nobody is shown
anything else meanwhile, and the epoch stays. On the connection's thread.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from omendb_core.model.errors import OmenError

from ...runtime.faults import as_error
from ..local.compaction import LogCompaction
from .api import ApiError
from .followed import Followed
from .records import Broken, check_message
from .streamed import Streamed
from .waiting import Waiting

log = logging.getLogger(__name__)

#: How often it is looked, and at how many messages.
LOOK_SECONDS: Final = 10.0
_MESSAGES: Final = 8
#: How often the engine is asked to go on with a pass; ten minutes of it, and then anew.
_NUDGE_SECONDS: Final = 0.05
_MOST_NUDGES: Final = 12_000


class Head:
    """Of the stream that ``followed`` follows, in whose log ``waiting`` waits."""

    def __init__(
        self, streamed: Streamed, followed: Followed, compaction: LogCompaction, waiting: Waiting
    ) -> None:
        self._streamed = streamed
        self._followed = followed
        self._compaction = compaction
        self._waiting = waiting
        self._next = 0
        self._has_looked = self._is_suspected = False

    async def run(self) -> None:
        """Look, until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look_and_mend()
            except (ApiError, OmenError) as error:
                log.debug("%s: not looked at: %s", self._streamed.stream, error)
            except Exception as error:
                as_error(error, f"looking at {self._streamed.stream}")

    async def _look_and_mend(self) -> None:
        """What is seen twice is so: a server that leads since just now may be behind."""
        try:
            await self._look()
        except Broken as error:
            if self._is_suspected:
                log.error("%s: %s; its rows are written again", self._streamed.stream, error)
                await self._write_again()
            self._is_suspected = not self._is_suspected
        else:
            self._is_suspected = False

    async def _look(self) -> None:
        """Raises Broken, ApiError, Unavailable."""
        state = await self._state()
        first, last, there = state["first_seq"], state["last_seq"], state["messages"]
        if not self._has_looked:  # an owner before may have purged it
            self._followed.purged_before(first)
            self._has_looked = True
        needed = self._followed.checkpoints[0].sequence
        if first > needed:
            raise Broken(f"it begins at sequence {first}, and {needed} is needed still")
        if there < last - first + 1:
            raise Broken(f"{last - first + 1 - there} messages are missing in it")
        for _ in range(min(_MESSAGES, there)):
            self._next = self._next if first <= self._next <= last else first
            await self._check(self._next)
            self._next += 1

    async def _check(self, sequence: int) -> None:
        """Broken if that message is not what was written."""
        try:
            message = await self._streamed.jetstream.message(self._streamed.stream, sequence)
        except ApiError as error:
            if not error.is_not_found:  # it cannot be asked now
                raise
            if (await self._state())["first_seq"] > sequence:  # purged by now
                return
            raise Broken(f"sequence {sequence} cannot be read: {error}") from error
        check_message(message)

    async def _state(self) -> dict[str, int]:
        state = await self._streamed.jetstream.stream_state(self._streamed.stream)
        return {name: int(state[name]) for name in ("first_seq", "last_seq", "messages")}

    async def _write_again(self) -> None:
        """Have a pass run, and the engine look for it: where nothing comes in it would not."""
        self._compaction.ask()
        for _ in range(_MOST_NUDGES):
            if not self._compaction.is_under_way:
                return
            self._waiting.tell(None)
            await asyncio.sleep(_NUDGE_SECONDS)
