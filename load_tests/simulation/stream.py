"""One kind of request over its connections, in one process: sent when due, timed, recorded.

A connection has as many *places* as it may have unanswered requests. Closed: each place sends again
when it was answered. Open: a request is sent at its planned time by the next free place; where none
is free it waits, and its time runs all the same. Owns what is unanswered.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from omendb_core.model.errors import Overloaded
from omendb_core.model.types import F64

from omendb_ws.wire import text_replies
from omendb_ws.wire.messages import ErrorReply
from omendb_ws.wire.opcodes import MAGIC, MAX_U32

from .alarm import Alarm
from .arrivals import LATE_SECONDS
from .connection import Connection
from .recording import Part, Recording, Span
from .requests import Source

_CLOCK: Final = time.perf_counter
#: What a server that has too much to do says, a hundred thousand times: parsing it takes 5 µs.
_SHED: Final = re.compile(
    rb'\{"id":(\d+),"error":\{"code":"overloaded",.*"retry_after_ms":(\d+)\}\}'
)
_OK: Final = re.compile(rb'\{"id":(\d+),"ok":')


class Stream:
    """``plan`` float64 seconds from the beginning, sorted; None: closed."""

    def __init__(
        self,
        name: str,
        source: Source,
        connections: Sequence[Connection],
        places: int,
        plan: F64 | None,
    ) -> None:
        self.recording = Recording(name)
        self._source = source
        self._connections = connections
        self._free: deque[Connection] = deque(list(connections) * places)
        self._parked: list[Connection] = []
        self._is_open = plan is not None
        self._plan_array = plan
        self._plan: list[float] = []
        self._next = 0
        self._last_id = 0
        self._pending: dict[int, tuple[float, float, int, Connection]] = {}
        self._is_over = False
        self._alarm: Alarm | None = None

    @property
    def unanswered(self) -> int:
        """Requests that are out."""
        return len(self._pending)

    def start(self, began: float) -> None:
        """Send from ``began`` on."""
        for connection in self._connections:
            self._listen(connection)
        self._alarm = Alarm(self._rang)
        if self._plan_array is not None:
            self._plan_array = self._plan_array + began
            self._plan = self._plan_array.tolist()
        self._alarm.set(self._plan[0] if self._plan else began)

    def stop(self) -> None:
        """Send what is due, and nothing more."""
        # While the loop was busy across the end of the run, the alarm may not have been heard yet.
        if self._is_open:
            self._send_due(_CLOCK(), is_rung=True)
        self._is_over = True
        if self._alarm is not None:
            self._alarm.close()

    def part(self, span: Span) -> Part:
        """The figures, when it is over."""
        for intended, sent, *_ in self._pending.values():
            self.recording.never_answered(intended, sent)
        self._pending.clear()
        return self.recording.part(span, self._plan_array, self._next)

    # -- sending

    def _rang(self) -> None:
        now = _CLOCK()
        if self._is_open:
            self._send_due(now, is_rung=True)
        elif not self._is_over:
            places, self._free = self._free, deque()
            for connection in places:
                self._send(connection, now)
            self._flush()

    def _send_due(self, now: float, is_rung: bool = False) -> None:
        """Send what is due; wake up for what is not. Without a free place an answer will.

        ``is_rung``: there was a place all the time, so that a late send is the generator's fault.
        """
        plan, free, count = self._plan, self._free, len(self._plan)
        if self._is_over:
            return
        at = self._next
        used = set()
        while at < count and plan[at] <= now and free:
            connection = free.popleft()
            if connection.is_lost:
                continue
            if not connection.is_writable:
                self._parked.append(connection)
                continue
            self._send(connection, plan[at])
            if is_rung and now - plan[at] > LATE_SECONDS:
                self.recording.generator_was_late(plan[at])
            used.add(connection)
            at += 1
        self._next = at
        for connection in used:
            connection.flush()
        if at < count and free and self._alarm is not None:
            self._alarm.set(plan[at])

    def _send(self, connection: Connection, intended: float) -> None:
        self._last_id = request_id = self._last_id % MAX_U32 + 1
        frame, tag = self._source.request(request_id, connection.handle)
        self._pending[request_id] = (intended, _CLOCK(), tag, connection)
        connection.queue(frame)

    def _flush(self) -> None:
        for connection in self._connections:
            connection.flush()

    # -- receiving

    def _listen(self, connection: Connection) -> None:
        """Every message of ``connection`` is an answer. Written flat: this is the hot path."""
        pending, answered, look = self._pending, self.recording.answered, self._source.answered

        def take(message: bytes, now: float) -> None:
            if message[0] == MAGIC:
                request_id = int.from_bytes(message[4:8], "little")
            elif (answer := _OK.match(message)) is not None:
                request_id = int(answer[1])
            else:
                self._refused(connection, message, now)
                return
            found = pending.pop(request_id, None)
            if found is None:
                return
            intended, sent, tag, _ = found
            answered(intended, sent, now)
            look(tag, intended, message)
            self._again(connection, now)

        def room() -> None:
            parked, self._parked = self._parked, []
            self._free.extend(parked)
            self._send_due(_CLOCK())

        connection.on_message = take
        connection.on_room = room
        connection.on_lost = lambda code: self._lost(connection, code)

    def _again(self, connection: Connection, now: float) -> None:
        """A place is free. What it sends leaves when all that was read has been looked at."""
        if self._is_over:
            return
        if not self._is_open:
            self._send(connection, now)
            return
        free = self._free
        free.append(connection)
        # With other places free, nothing can be waiting for this one.
        if len(free) == 1:
            self._send_due(now)

    def _refused(self, connection: Connection, message: bytes, now: float) -> None:
        shed = _SHED.match(message)
        if shed is not None:
            request_id, code, again_ms = int(shed[1]), Overloaded.code, int(shed[2])
        else:
            said = text_replies.decode_incoming(message)
            if not isinstance(said, ErrorReply):
                return
            request_id, code = -1 if said.id is None else said.id, said.error.code
            again_ms = 0
        found = self._pending.pop(request_id, None)
        if found is None:
            self.recording.failed(now, now, now, f"event_{code}")
            return
        self.recording.failed(found[0], found[1], now, code)
        if self._is_open or not again_ms:
            self._again(connection, now)
        else:
            self._come_back(connection, again_ms)

    def _come_back(self, connection: Connection, again_ms: int) -> None:
        """Take its place again when the server asked for that, or later, as our clients do."""

        def come() -> None:
            self._again(connection, _CLOCK())
            connection.flush()

        asyncio.get_running_loop().call_later(again_ms / 1000 * random.uniform(1.0, 2.0), come)

    def _lost(self, connection: Connection, code: int) -> None:
        gone = [one for one, found in self._pending.items() if found[3] is connection]
        for request_id in gone:
            intended, sent, *_ = self._pending.pop(request_id)
            self.recording.failed(intended, sent, _CLOCK(), f"closed_{code}")
