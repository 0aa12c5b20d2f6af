"""One WebSocket: whole messages out of the socket to a session, an outbox's into the socket.

Subclasses ``ServerConnection`` of websockets (by ``handshake.py`` and ``writing.py``), as its
``create_connection`` provides for. The handshake, pings, the close and everything that can be wrong
are websockets'. Whole messages go past its queues and tasks: ``hear`` is called for each as it
comes, and what an outbox holds is written in one piece. Measured: of 23 µs of the loop's time for a
search of 528 bytes, 14 were websockets' and those of two tasks.

Reading stops while the session has no room, while what is to be sent piles up unsent, and, in the
middle of a large message, while it is others' turn (``crowd.py``).
It leans on ``send_context``, ``process_event`` and ``protocol``; tests hold each use.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast

from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Event, State

from ..http import routes
from ..runtime.faults import as_error
from ..runtime.resets import drop_unsent_at_end
from ..runtime.unacknowledged import unread_bytes
from ..sessions.outbox import Outbox
from .arrivals import Arrivals
from .crowd import Crowd
from .fragments import Fragments
from .half_message import HalfMessage
from .refusing import Refusing
from .session import Hearer, Session
from .websocket_frames import CONTROL_HEAD_BYTES, Cutter, Unmask, decoded

try:  # as websockets itself does
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

#: PROTOCOL section 1.5: how long a client may take no byte although some wait for it.
STALL_SECONDS: Final = 30.0
#: Messages that one connection may have handled before others get their turn.
TURN_MESSAGES: Final = 32
#: The same of one that is not admitted yet: eight that flood then take 0.2 ms of a turn, not 7.
STRANGERS_TURN_MESSAGES: Final = 1
#: Received and not handled, with turns to come: beyond this nothing more is read. Two of uvloop's
#: reads.
_MAX_WAITING_BYTES: Final = 512 << 10
_STRANGERS_WAITING_BYTES: Final = 128 << 10
#: What one holds is told to the others in steps, and not at all below: most hold nothing.
_STEP_BYTES: Final = 4096
#: Longer messages go on by turns while memory is tight.
LARGE_BYTES: Final = 64 << 10
#: Who is not read from for others' sake, and has as much in the socket, waits for its turn; with
#: less it is its client that it waits for. A socket takes 64 KiB at the least by default.
_READY_BYTES: Final = 32 << 10
_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Connection(Refusing):
    """A WebSocket connection with its session and its outbox.

    ``admits`` says whether a connection may have that descriptor. It is one of ``strangers`` until
    ``allow``, then of ``known``.
    """

    def __init__(
        self,
        *args: Any,
        strangers: Crowd,
        known: Crowd,
        admits: Callable[[int], bool] = lambda _: True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._crowd = self._strangers = strangers
        self._known = known
        self._admits = admits
        self._is_turned_away = False
        self._cutter = Cutter(self.protocol.max_message_size or 0, cast(Unmask, apply_mask))
        self._session: Session | None = None
        #: Of a connection that is lost before it is attached, what else was read is nobody's.
        self._hear: Callable[[str | bytes], None] = lambda _: None
        self._fragments = Fragments()
        self._arrivals = Arrivals()
        self._is_held = False
        #: Whether the socket is not read from, and whether it is for others' sake.
        self._is_paused = self._is_rationed = False
        self._turn_messages = STRANGERS_TURN_MESSAGES
        self._max_waiting_bytes = _STRANGERS_WAITING_BYTES
        self._received_bytes = 0
        #: Of these, what were whole control frames: no message grows by them.
        self._control_bytes = 0
        self._half = HalfMessage(self.loop.time())

    def allow(self, max_message_bytes: int) -> None:
        """It is known: take messages of that size from now on, and its full turns."""
        if self._crowd is self._strangers:
            self._crowd.leave(self)
            self._crowd = self._known
            self._crowd.enter(self)
        self._turn_messages = TURN_MESSAGES
        self._max_waiting_bytes = _MAX_WAITING_BYTES
        self.protocol.max_message_size = max_message_bytes
        self._cutter.max_message_bytes = max_message_bytes

    def attach(self, session: Session, hearer: Hearer, outbox: Outbox) -> None:
        """Give the messages to ``hearer`` from now on, and send what ``outbox`` holds."""
        self._session, self._hear, self._shedder = session, hearer.receive, hearer.shedder
        # Headers may be long, and there may be a token in them.
        self.request = Request(routes.WEBSOCKET_PATH, Headers())
        self._send_from(outbox)
        self._read_on()

    # -- what comes -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it at once if ``admits`` does not take its descriptor: websockets sees nothing."""
        accepted = transport.get_extra_info("socket")
        if accepted is not None and not self._admits(accepted.fileno()):
            self._is_turned_away = True
            cast(asyncio.Transport, transport).abort()
            return
        super().connection_made(transport)
        self._crowd.enter(self)

    def data_received(self, data: bytes) -> None:
        """Deliver the messages of what came, as far as there is room for them."""
        self._received_bytes += len(data)
        if self.is_shaking:
            data = self.shake_hands(data)
        self._cutter.feed(data)
        if not self._is_turning:
            self._read()
        if self._is_turning:
            self._arrivals.note(self._received_bytes, monotonic())

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Deliver what came before, and let websockets see to the end."""
        if self.waits_with_end():
            return True
        self._read_rest()
        super().eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """The same, where no end was announced."""
        if self._is_turned_away:
            return
        try:
            self._read_rest()
        except Exception as error:  # whoever waits for the end must hear of it
            as_error(error, "reading the rest of a connection")
        self._rest.clear()  # there is nobody to write to
        try:
            super().connection_lost(exc)
        finally:
            try:
                self._crowd.leave(self)
            except Exception as error:
                as_error(error, "the end of a connection")
                self._crowd.leave(self)

    def process_event(self, event: Event) -> None:
        """Put fragments together; leave the rest to websockets."""
        if not isinstance(event, Frame) or event.opcode not in _DATA:
            if isinstance(event, Frame):
                self._control_bytes += CONTROL_HEAD_BYTES + len(event.data)
            super().process_event(event)
            return
        whole = self._fragments.add(event)
        if self._fragments.are_too_many:
            self._fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
        elif whole is not None:
            self._receive(*whole)

    def _read(self) -> None:
        """Deliver for one turn; go on in the next one, or when there is room."""
        self._is_turning = False
        self._refused_in_turn = 0
        try:
            if self._arrivals:
                self._say_how_late()
            for _ in range(self._turn_messages):
                if not self._deliver():
                    break
            else:
                self._read_on()
            self._rest_if_refused(self._known.rests)
            self._hold_back()
        except Exception as error:
            self._break_off(error, "reading from a connection")

    def _read_on(self) -> None:
        """Deliver what waits, in a turn to come."""
        self._is_held = False
        if not self._is_turning:
            self._is_turning = True
            self.loop.call_soon(self._read)

    def _say_how_late(self) -> None:
        """Have the time of requests count from when their bytes came, not from their turn."""
        if self._session is not None:
            held_bytes = self._cutter.held_bytes
            late_us = self._arrivals.late_us(self._received_bytes - held_bytes, monotonic())
            self._session.is_heard_late(late_us, held_bytes)

    def _read_rest(self) -> None:
        """Deliver what waits for a turn that will not come."""
        while self._is_turning and self._deliver():
            pass
        rest = self._cutter.rest()
        if not self.protocol.reader.eof:
            self._hand_on(rest)

    def _deliver(self) -> bool:
        """Deliver one message, or hand some bytes on; False if there is none, or no room."""
        protocol, session = self.protocol, self._session
        if protocol.state is not State.OPEN:
            if protocol.state is not State.CONNECTING or protocol.eof_sent:
                self._hand_on(self._cutter.rest())
            return False
        if session is None or self._is_held:
            return False
        is_tight = self._crowd.is_tight and session.inflight_bytes > 0
        if is_tight or not session.has_room:
            self._is_held = True
            session.is_heard_late(0)
            self._arrivals.clear()
            self._cutter.let_go()
            session.when_room(self._read_on)
            return False
        cutter, shedder = self._cutter, self._shedder
        if shedder is not None and shedder.overload.is_shedding and self._refuse_unread(cutter):
            is_more = cutter.held_bytes > 0
            return is_more and not (self._is_stuffed or self._has_refused_enough())
        cut = cutter.take(protocol.current_size is not None)
        if cut is None:
            return False
        data, is_text = cut
        if is_text is None:
            assert isinstance(data, bytes), "it is no message"
            self._hand_on(data)
            return not self._is_stuffed
        self._receive(data, is_text)
        return True

    def _hand_on(self, data: bytes) -> None:
        """Let websockets parse what is no whole message, behind the answers to those before it."""
        if data:
            self._fill()
            super().data_received(data)

    def _receive(self, data: bytes | list[bytes], is_text: bool) -> None:
        self._received_messages += 1
        if not is_text:
            self._hear(data if isinstance(data, bytes) else b"".join(data))
            return
        try:
            text = data.decode() if isinstance(data, bytes) else decoded(data)
        except UnicodeDecodeError as error:
            self.set_connection_exc(error)
            self._fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
        else:
            self._hear(text)

    def _hold_back(self) -> None:
        """Read the socket, unless what was read must wait."""
        waits = self._is_turning or self._session is None
        held_bytes = self._cutter.held_bytes
        is_full = waits and held_bytes > self._max_waiting_bytes
        must_pause = self._is_held or is_full or self._is_stuffed or self._is_resting
        self._pause(must_pause or self._is_rationed)
        session = self._session
        if (
            held_bytes > _STEP_BYTES
            or self.held_bytes
            or session is None
            or session.inflight_bytes > _STEP_BYTES
            or self.protocol.current_size is not None
            or self.protocol.reader.buffer
        ):
            self.weigh()
        is_rationed = self._crowd.is_rationing and not self._crowd.may_go_on(self)
        if is_rationed is not self._is_rationed:
            self._is_rationed = is_rationed
            if not is_rationed:
                self._half.forgive(self._message_bytes, self.loop.time())
            self._pause(must_pause or is_rationed)

    def _pause(self, must_pause: bool) -> None:
        if must_pause is not self._is_paused and not self.transport.is_closing():
            self._is_paused = must_pause
            if must_pause:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    # -- what it holds ----------------------------------------------------------------------------

    @property
    def _message_bytes(self) -> int:
        """How much came that messages are made of."""
        return self._received_bytes - self._control_bytes

    @property
    def _has_half(self) -> bool:
        """Whether a message has begun to come."""
        return bool(
            self._cutter.held_bytes or self._fragments.held_bytes or self.protocol.reader.buffer
        )

    def weigh(self) -> None:
        """Tell the crowd what is held."""
        held_bytes = self._cutter.memory_bytes + self._fragments.held_bytes + self.head.held_bytes
        held_bytes += len(self.protocol.reader.buffer) + self.transport.get_write_buffer_size()
        if self._outbox is not None:
            held_bytes += self._outbox.reply_bytes + self._outbox.push_bytes
        if self._session is not None:
            held_bytes += self._session.inflight_bytes
        self._half.note(self._received_messages, self._message_bytes, self.loop.time())
        held_bytes -= held_bytes % _STEP_BYTES
        if held_bytes != self.held_bytes:
            self._crowd.change(self, held_bytes)

    def waits_since(self) -> float:
        """When what it holds began to wait for the client; of a stranger, since ever."""
        if self._crowd is self._strangers:
            return 0.0
        since = math.inf
        if self._is_awaited and self._half.is_behind(self._received_messages):
            since = self._half.moved_at
        if self.transport.get_write_buffer_size():
            since = min(since, self._progress.taken_at)
        return since

    def half_seconds(self) -> float:
        """For how long half a message has hardly grown; 0 if none. Call it regularly."""
        self.weigh()
        return self._half.stalled_seconds(self._is_awaited, self._message_bytes, self.loop.time())

    @property
    def _is_awaited(self) -> bool:
        """Whether half a message waits for its client: the rest is not there to be read."""
        if self._is_turning or not self._has_half:
            return False
        if not self._is_paused:
            return True
        socket = self.transport.get_extra_info("socket")
        if not self._is_rationed or socket is None:
            return False
        return unread_bytes(socket.fileno()) < min(_READY_BYTES, self.missing_bytes())

    @property
    def has_much_under_way(self) -> bool:
        """Whether it has large requests that are not answered."""
        return self._session is not None and self._session.inflight_bytes > LARGE_BYTES

    def missing_bytes(self) -> int:
        """How much of a large message that has begun may still come; 0 if there is none."""
        frame_bytes = self._cutter.frame_bytes
        if frame_bytes:
            return max(frame_bytes - self._cutter.held_bytes, 0) if frame_bytes > LARGE_BYTES else 0
        came_bytes = self._fragments.held_bytes + len(self.protocol.reader.buffer)
        if came_bytes <= LARGE_BYTES:
            return 0
        return max((self.protocol.max_message_size or 0) - came_bytes, 1)

    def began_at(self) -> float:
        """When that message began."""
        return self._half.began_at

    def hold_on(self) -> None:
        """It is others' turn: read nothing until ``let_on``."""
        self._is_rationed = True
        self._pause(True)

    def let_on(self) -> None:
        """It is its turn again."""
        self._read_on()

    def shed(self, code: int = CloseCode.TRY_AGAIN_LATER, reason: str = "no memory left") -> None:
        """End the connection, and let go of what it holds now."""
        if self._session is not None:
            self._session.close()
        self._cutter.rest()
        self._fragments.clear()
        can_say = self._crowd is self._known and not self.transport.get_write_buffer_size()
        if can_say and self.protocol.state is State.OPEN:
            self._fail(code, reason)
            self._read_on()  # the client hears of it when it comes to read
        else:
            drop_unsent_at_end(self.transport)
            self.transport.abort()
        self.weigh()
