"""The watch over connections: who holds how much, who has stood still, who has to leave.

Makes the two crowds (``crowd.py``) that connections belong to, and looks at all of them now and
then. Lives on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from typing import Final

from ..runtime.faults import as_error
from ..runtime.few_lines import FewLines, more
from ..runtime.resets import drop_unsent_at_end
from ..sessions.context import Context
from ..sessions.session import Session
from .connection import Connection
from .crowd import Crowd, Member

log = logging.getLogger(__name__)

#: The part of ``max_connection_bytes`` that is for connections which are not known yet.
STRANGERS_SHARE: Final = 8
#: Before others have their turn: 5 µs each, and there may be 10,000.
_LOOKED_AT_ONCE: Final = 64
#: The part of ``stall_seconds`` for which one may keep others waiting and not go on: 3 s.
_PATIENCE_SHARE: Final = 10


class Watch:
    """Over the connections of ``sessions``, which are the server's.

    ``strangers`` are those that are not known yet, ``known`` the others.
    """

    def __init__(
        self, context: Context, sessions: Mapping[Connection, Session], stall_seconds: float
    ) -> None:
        limits = context.limits
        strangers_bytes = limits.max_connection_bytes // STRANGERS_SHARE
        self.strangers = Crowd(
            limits.max_unauthenticated_connections,
            strangers_bytes,
            lambda one: self._shed("strangers", one),
        )
        self.known = Crowd(
            sys.maxsize,
            limits.max_connection_bytes - strangers_bytes,
            lambda one: self._shed("bytes", one),
        )
        self._context = context
        self._sessions = sessions
        self._stall_seconds = stall_seconds
        self._shed_lines = FewLines()
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look after all connections now and then; a fault with one is not the end of that."""
        while True:
            await asyncio.sleep(self._stall_seconds / 10)
            await self._give_back()
            for at, (connection, session) in enumerate(list(self._sessions.items()), 1):
                if at % _LOOKED_AT_ONCE == 0:
                    await asyncio.sleep(0)
                try:
                    self._end_if_stalled(connection, session)
                except Exception as error:
                    self._context.metrics.faults += 1
                    as_error(error, "watching a connection")
            self._make_way()

    async def _give_back(self) -> None:
        """What connections have let go of; a system may have no thread for that."""
        try:
            await self.known.freed.look(self.known.held_bytes)
        except Exception as error:
            self._context.metrics.faults += 1
            as_error(error, "giving back what connections held")

    def _make_way(self) -> None:
        """Behind a look at all of them, which tells what their clients have taken."""
        try:
            now = asyncio.get_running_loop().time()
            self.known.make_way(now - self._stall_seconds / _PATIENCE_SHARE)
        except Exception as error:
            self._context.metrics.faults += 1
            as_error(error, "making way for connections that wait")

    def _end_if_stalled(self, connection: Connection, session: Session) -> None:
        """Close a connection that takes nothing for too long although something waits for it."""
        if not session.lane.is_open:
            return
        if connection.half_seconds() >= self._stall_seconds:
            self._shed("stalled", connection)
            connection.shed(4408, "half a message, and no more of it")
        elif connection.stalled_seconds() >= self._stall_seconds:
            self._shed("stalled", connection)
            session.close()
            drop_unsent_at_end(connection.transport)
            task = asyncio.create_task(connection.close(4408, "no byte taken"))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _shed(self, reason: str, member: Member) -> None:
        """Count a connection that has to leave, and say so a few times."""
        self._context.metrics.shed_connections[reason] += 1
        if not isinstance(member, Connection):
            self._context.metrics.http.shed_connections[reason] += 1
        passed_over = self._shed_lines.next(self._context.clock_us())
        if passed_over is not None:
            log.info(
                "shedding %s (%s), which holds %d bytes%s",
                member.peer,
                reason,
                member.held_bytes,
                more(passed_over),
            )
