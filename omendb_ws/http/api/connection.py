"""One connection of the HTTP port, held to the server's limits.

It is a member of the same crowds as WebSockets are (``net/crowd.py``), so its memory and its place
are of the same budgets; ``look`` ends those that stand still; and it has the conversation that its
requests speak through. What comes is in ``receiving.py``. Lives on the loop's thread.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final, cast

from ...access.peer import Peer
from ...runtime.counted_transport import CountedTransport
from ...runtime.progress import Progress
from ...runtime.resets import drop_unsent_at_end
from .conversation import Conversation
from .receiving import Port, Receiving

HEAD_SECONDS: Final = 10.0
#: A body that grows by less within ``stall_seconds`` stands still.
_LEAST_PROGRESS_BYTES: Final = 1024
_LARGE_BYTES: Final = 64 << 10


class HttpConnection(Receiving):
    """A connection, and the conversation that its requests speak through, if there is one."""

    def __init__(self, port: Port) -> None:
        super().__init__(port)
        self.told_peer: Peer | None = None
        #: A trusted proxy says where each request's client is.
        self.is_forwarded = True
        #: What the intake of PROXY headers looks for; there is none.
        self.protocol = None
        self.conversation: Conversation | None = None
        #: What it holds, as the crowd knows it; and what a route holds of a body or an answer.
        self.held_bytes = self.route_bytes = 0
        self.is_leaving = False
        #: Of several requests that came together uvicorn's ``cycle`` is the last.
        self._answered: Any = None
        self._crowd = port.strangers
        self._is_admitted = False
        self._moved_bytes = 0
        self._progress = Progress(self.loop.time())
        self._counted: CountedTransport

    @property
    def is_stranger(self) -> bool:
        """Whether no token of it was right yet."""
        return self._crowd is self.port.strangers

    @property
    def peer(self) -> Peer:
        """Where its client is."""
        return self.told_peer if self.told_peer is not None else Peer.of(self.client)

    # -- its life ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it at once if its descriptor is one of the last."""
        made = cast(asyncio.Transport, transport)
        accepted = made.get_extra_info("socket")
        if accepted is not None and not self.port.admits(accepted.fileno()):
            made.abort()
            return
        super().connection_made(made)
        self.transport = self._counted = CountedTransport(made)
        self._is_admitted = True
        self.port.numbers.connections += 1
        self.port.numbers.connections_opened += 1
        self.moved_at = self.loop.time()
        self._crowd.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything: what its requests asked ends."""
        if not self._is_admitted:
            return
        super().connection_lost(exc)
        self._tell_gone()
        self.body.lose()
        try:
            self.leave()
        finally:
            self.port.numbers.connections -= 1
            self._crowd.leave(self)
            self.port.on_gone()

    def become_known(self) -> None:
        """A token was right: it is among the known from now on."""
        if self.is_stranger and not self.transport.is_closing():
            self._crowd.leave(self)
            self._crowd = self.port.known
            self._crowd.enter(self)

    def leave(self) -> None:
        """Its conversation is over."""
        conversation, self.conversation = self.conversation, None
        if conversation is not None:
            conversation.close()

    def give_up(self) -> None:
        """Nobody is there to be answered, or may be."""
        self._tell_gone()
        self.transport.abort()

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be sent. uvloop's transport knows before it tells its protocol."""
        if not self.transport.is_closing():
            return False
        self._tell_gone()
        return True

    def _tell_gone(self) -> None:
        """Else uvicorn takes it for a fault that an answer is not whole."""
        for cycle in (self._answered, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def end_idle(self) -> None:
        """The server leaves: no request comes after the one that is being answered."""
        self.is_leaving = True
        if not self.is_busy:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        """The next request, if it is there."""
        self.moved_at = self.asked_at = self.loop.time()
        self.route_bytes = 0
        if self.transport.is_closing():
            return
        if not self.is_rationed:
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.body.forget()
            if self.is_leaving:
                self.transport.close()
        if self.held_bytes:
            self.weigh()

    # -- what it holds, and for how long ----------------------------------------------------------

    def weigh(self) -> None:
        """Tell the crowd what is held."""
        held_bytes = self._untaken_bytes() + self.head_bytes + self.route_bytes
        held_bytes += self.transport.get_write_buffer_size()
        if self.conversation is not None:
            held_bytes += self.conversation.held_bytes
        if held_bytes != self.held_bytes:
            self._crowd.change(self, held_bytes)
        is_rationed = not self._crowd.may_go_on(self)
        if is_rationed and not self.is_rationed:
            self.hold_on()
        elif self.is_rationed and not is_rationed:  # what it waited with is answered already
            self.let_on()

    def _untaken_bytes(self) -> int:
        """Of all bodies that are here: requests that wait for one another have theirs, too."""
        bodies = {self.body} | {cycle.scope["state"]["body"] for cycle, _ in self.pipeline}
        if self._answered is not None:
            bodies.add(self._answered.scope["state"]["body"])
        return sum(body.untaken_bytes for body in bodies)

    def look(self, now: float) -> str | None:
        """Why it has to leave by now, if it does. Call it regularly."""
        self.weigh()
        if self.stalled_seconds(now) > self.port.stall_seconds:
            return "takes nothing"
        if self.is_busy and not self._is_awaited:
            self.moved_at = now
        elif self._is_awaited:
            return self._look_at_body(now)
        elif self.part == "head" and now - self.moved_at > HEAD_SECONDS:
            return "half a request"
        elif now - self.moved_at > self._patience_seconds:
            return "idle"
        return None

    def stalled_seconds(self, now: float) -> float:
        """For how long its client has taken nothing, 0 if nothing waits. Call it regularly."""
        return self._progress.look(self.transport, self._counted.written_bytes, now)

    def _look_at_body(self, now: float) -> str | None:
        received_bytes = self.body.received_bytes
        grown_bytes = received_bytes - self._moved_bytes
        if grown_bytes >= _LEAST_PROGRESS_BYTES or grown_bytes < 0:
            self._moved_bytes, self.moved_at = received_bytes, now
        return "half a body" if now - self.moved_at > self.port.stall_seconds else None

    @property
    def _is_awaited(self) -> bool:
        """Whether a body waits for its client."""
        return self.part == "body" and not self.is_rationed and not self.flow.read_paused

    @property
    def _patience_seconds(self) -> float:
        return HEAD_SECONDS if self.is_stranger else self.port.idle_seconds

    # -- a member of a crowd ----------------------------------------------------------------------

    def waits_since(self) -> float:
        """See ``Member``."""
        if self.is_stranger:
            return 0.0
        since = self.moved_at if self._is_awaited else math.inf
        is_unsent = self.transport.get_write_buffer_size() > 0
        return min(since, self._progress.taken_at) if is_unsent else since

    @property
    def has_much_under_way(self) -> bool:
        """See ``Member``."""
        conversation = self.conversation
        return conversation is not None and conversation.session.inflight_bytes > _LARGE_BYTES

    def shed(self, code: int = 0, reason: str = "") -> None:
        """See ``Member``."""
        self.leave()
        drop_unsent_at_end(self.transport)
        self.transport.abort()
        self.weigh()

    def missing_bytes(self) -> int:
        """See ``Sender``."""
        if self.part != "body" or not self.is_busy:
            return 0
        most_bytes = self.body.expected_bytes
        if most_bytes is None:
            most_bytes = self.port.max_body_bytes
        missing_bytes = most_bytes - self.body.received_bytes
        return missing_bytes if most_bytes > _LARGE_BYTES and missing_bytes > 0 else 0

    def began_at(self) -> float:
        """See ``Sender``."""
        return self.body_began_at

    def hold_on(self) -> None:
        """See ``Sender``."""
        self.is_rationed = True
        self.flow.pause_reading()

    def let_on(self) -> None:
        """See ``Sender``."""
        self.is_rationed = False
        self.moved_at = self.loop.time()
        if not self.transport.is_closing():
            self.flow.resume_reading()
