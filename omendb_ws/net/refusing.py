"""Messages that are refused unread, many in one step, while there is more to do than can be done.

``Shedder`` says whether, and what to say; here they are skipped in the stream, and their
refusals go out in one piece. Whoever was refused something rests (``rests.py``): what it sends
meanwhile comes in one piece then, and is refused in one.

Invariant: only whole messages with an id are skipped, and each has its refusal.
"""

from __future__ import annotations

from typing import Any, Final

from .rests import Rests
from .session import Shedder
from .websocket_frames import Cutter, framed_texts
from .writing import Writing

#: Messages that are refused unread in one step, 0.4 to 1.7 µs each; no step follows in a turn that
#: had as many.
REFUSED_AT_ONCE: Final = 512


class Refusing(Writing):
    """A connection whose messages may be refused unread."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shedder: Shedder | None = None
        self._is_turning = self._is_resting = False
        self._received_messages = self._refused_in_turn = 0

    def _hold_back(self) -> None:
        """Read the socket, unless something is in the way of it."""
        raise NotImplementedError

    def has_rested(self) -> None:
        """Read on, after what came meanwhile for others."""
        self._is_resting = False
        try:
            self._hold_back()
        except Exception as error:
            self._break_off(error, "reading on from a connection")

    def _refuse_unread(self, cutter: Cutter) -> int:
        """Refuse the next messages, if they all are; how many those were.

        Not while others' bytes are under way, behind which refusals would pile up uncounted.
        """
        shedder = self._shedder
        if shedder is None or not shedder.is_on or self._rest:
            return 0
        if self.protocol.current_size is not None:  # a message in several frames has begun
            return 0
        held_bytes = cutter.held_bytes
        ids = cutter.skip(REFUSED_AT_ONCE, shedder.id_of)
        if ids:
            self._received_messages += len(ids)
            self._refused_in_turn += len(ids)
            said = shedder.refuse(ids, held_bytes - cutter.held_bytes)
            self._write(b"".join(map(framed_texts, said)))
        return len(ids)

    def _has_refused_enough(self) -> bool:
        """Whether what follows is for another turn, which comes then; not while one is to come."""
        if self._refused_in_turn < REFUSED_AT_ONCE or self._is_turning:
            return False
        self._read_on()
        return True

    def _rest_if_refused(self, rests: Rests) -> None:
        if self._shedder is not None and self._shedder.has_refused and not self._is_resting:
            self._shedder.has_refused, self._is_resting = False, True
            rests.rest(self, self.loop)
