"""A session that HTTP requests speak through: each is a message, and waits for its reply.

The session is one like any other: what it hears is decoded, allowed, charged and audited by
``sessions/receive.py``, and an HTTP answer is what the reply holds. A conversation lasts as long as
its TCP connection sends the same token; HTTP/1.1 asks one thing at a time: there is one reader.
What the outbox holds is taken when it is asked for, so a push is built when the client can take it
(``pushes``), and several are merged for one who is slow. Lives on the loop's thread; knows neither
socket nor framework.

Invariant: a batch that was taken out of the outbox is *sent* once everything of it was handed on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

import orjson
from omendb_core.model.errors import NotFound

from ...access.peer import Peer
from ...sessions.outbox import Batch
from ...sessions.session import Session
from ...sessions.traced import TracedSession, receiver
from ...wire.binary_replies import decode_incoming
from ...wire.encoded import Message, each
from ...wire.messages import Posted, Said, SnapshotBytes, Uploaded
from ...wire.opcodes import MAX_U32, OPS
from ...wire.unread import FRAME_START
from .refusals import Refused, unknown_outcome

#: Longer ones are handed on without a copy.
_COPIED_BYTES: Final = 64 << 10
#: From where on a request has waited for others' turns and not for its own: 0.3 ms as a rule.
_LATE_US: Final = 2_000
_ERROR_EVENT: Final = b'{"event":"error",'


class Ended(Exception):
    """The session has ended: nobody asks any more, or its token is nobody's. Nothing was changed
    by what was asked then.
    """


class Asks(Protocol):
    """The connection whose requests they are.

    ``asked_at``: when the one that is being answered was whole, and no other was before it.
    """

    asked_at: float

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""


class Conversation:
    """What HTTP requests of one connection and token ask, and get.

    ``close`` is called when it is over for its connection's sake.
    """

    def __init__(
        self,
        session: Session,
        token: str | None,
        close: Callable[[], None],
        connection: Asks,
    ) -> None:
        self._connection = connection
        self._answered_at = 0.0
        self.session = session
        self.token = token
        self.close = close
        self._hear = receiver(session).receive
        self._last_id = 0
        self._batch = Batch()
        self._messages: deque[Message] = deque()
        self._filled: asyncio.Future[None] | None = None
        session.outbox.on_filled = self._on_filled

    @property
    def is_over(self) -> bool:
        """Whether nothing can be asked any more."""
        return not self.session.lane.is_open or self.session.outbox.closed

    @property
    def held_bytes(self) -> int:
        """What it holds for its client."""
        outbox = self.session.outbox
        return self.session.inflight_bytes + outbox.reply_bytes + outbox.push_bytes

    def come_from(self, peer: Peer) -> None:
        """The client of the next request is there: behind a proxy it may be another one."""
        self.session.peer = peer

    def is_part_of(self, traceparent: str | None) -> None:
        """The trace that the next request says to be part of."""
        if isinstance(self.session, TracedSession):
            self.session.traceparent = traceparent

    # -- requests ---------------------------------------------------------------------------------

    async def ask(self, op: str, body: str = "{}", **given: Any) -> bytes | memoryview:
        """The JSON of ``ok`` of an op's reply. Raises Refused with that of ``error``.

        ``body``: the request's fields as JSON text, as they came; ``given``: those that stand
        elsewhere (``collection``), as JSON values; the text must not hold them. Ended if the
        session is; Refused as a change of which nobody knows, if it has ended meanwhile.
        """
        number = self._next_id()
        said = Posted(body, {"id": number, "op": op, **given})
        return await self._answer(said, number, is_change=OPS[op].change)

    async def upload(self, make: Callable[[int], Uploaded]) -> bytes | memoryview:
        """As ``ask``, of a request that ``make`` makes of its id."""
        number = self._next_id()
        return await self._answer(make(number), number, is_change=True)

    async def snapshot_piece(self, snapshot: int) -> tuple[memoryview, bool]:
        """The next bytes of a snapshot, and whether they are the last. Raises as ``ask`` does."""
        number = self._next_id()
        said = Posted("{}", {"id": number, "op": "snapshot", "snapshot": snapshot})
        frame = await self._answer(said, number, is_change=False)
        found = decode_incoming(bytes(frame))
        assert isinstance(found, tuple), "a snapshot's bytes, or a refusal"
        assert isinstance(found[1], SnapshotBytes), "a snapshot's bytes, or a refusal"
        return found[1].data, found[1].is_last

    def _next_id(self) -> int:
        self._last_id = self._last_id % MAX_U32 + 1
        return self._last_id

    async def _answer(self, said: Said, number: int, *, is_change: bool) -> bytes | memoryview:
        is_heard = not self.is_over
        if is_heard:
            self._say_how_late()
            self._hear(said)
        start, frame = b'{"id":%d,' % number, FRAME_START + number.to_bytes(4, "little")
        data = b""
        try:
            while not data.startswith((start, _ERROR_EVENT)) and data[:2] + data[4:8] != frame:
                data = (await self._next()).data
        except Ended:
            if is_heard and is_change:
                raise unknown_outcome() from None
            raise
        self._answered_at = asyncio.get_running_loop().time()
        if not self._messages:
            self._sent()
        if data.startswith(_ERROR_EVENT):
            # Its token has ended, which says nothing of what was asked.
            raise (
                unknown_outcome()
                if is_heard and is_change and self.is_over
                else Refused(_fault_of_event(data))
            )
        if not data.startswith(start):
            return data
        at = len(start)
        if data.startswith(b'"ok":', at):
            at += 5
            return data[at:-1] if len(data) < _COPIED_BYTES else memoryview(data)[at:-1]
        raise Refused(orjson.loads(data)["error"])

    def _say_how_late(self) -> None:
        """Have a request's time count from when it was whole, not from its turn of the loop."""
        since = max(self._connection.asked_at, self._answered_at)
        late_us = round((asyncio.get_running_loop().time() - since) * 1e6)
        self.session.is_heard_late(late_us if late_us >= _LATE_US else 0)

    # -- pushes -----------------------------------------------------------------------------------

    async def pushes(self) -> AsyncIterator[bytes]:
        """Each message that comes unasked, behind the reply to ``subscribe``, until it has ended.

        Going on to the next says that the one before was sent: hand it to the socket, and wait for
        room there, before. A caller that leaves asks for ``unsubscribe``, or for ``close``.
        """
        while True:
            try:
                message = await self._next()
            except Ended:
                return
            yield message.data

    # -- the outbox -------------------------------------------------------------------------------

    async def _next(self) -> Message:
        """The next message. Ended."""
        while not self._messages:
            self._sent()
            if not self.session.lane.is_open:
                raise Ended
            batch = self.session.outbox.take()
            if batch.messages:
                self._batch = batch
                self._messages.extend(each(batch.messages))
            elif batch.close is not None:
                self.close()
            elif not self.session.lane.is_open:
                raise Ended
            elif batch.has_made:
                await asyncio.sleep(0)
            else:
                await self._wait()
        return self._messages.popleft()

    def _sent(self) -> None:
        """Everything that was taken out was handed on."""
        batch, self._batch = self._batch, Batch()
        if batch.messages and self.session.lane.is_open:
            self.session.outbox.sent(batch)
        if batch.close is not None:
            self.close()

    async def _wait(self) -> None:
        self._filled = asyncio.get_running_loop().create_future()
        try:
            await self._filled
        finally:
            self._filled = None

    def _on_filled(self) -> None:
        """See ``Outbox.on_filled``: whoever waits looks in a turn to come."""
        filled = self._filled
        if filled is None:
            asyncio.get_running_loop().call_soon(self._end_if_over)
        elif not filled.done():
            filled.set_result(None)

    def _end_if_over(self) -> None:
        """A session that ends between two requests keeps no place for the next one."""
        is_left = self.session.outbox.closed and self.session.lane.is_open
        if is_left and not self._connection.is_busy:
            self.close()


def _fault_of_event(data: bytes) -> dict[str, Any]:
    fault: dict[str, Any] = orjson.loads(data)
    del fault["event"]
    return fault


def is_of_no_collection(refused: Refused, conversation: Conversation, name: str) -> bool:
    """Whether it is the collection that is not there, and not a row of it."""
    if refused.code != NotFound.code:
        return False
    try:
        conversation.session.find(name)
    except NotFound:
        return True
    return False
