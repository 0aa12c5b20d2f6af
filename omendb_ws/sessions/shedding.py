"""Messages that are refused unread because there is more to do than can be done in time.

``overload.py`` says whose; here is which, and what is said. What gives something back, or asks
nothing of the engine, is let in. A text in which no id is found unread is read, as nobody would
know its refusal else, and refused then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from omendb_core.model.errors import Overloaded

from ..wire import unread
from ..wire.encoded import Numbered, numbered, text
from ..wire.messages import Said
from .session import Session

#: What is let in whatever there is to do.
NEVER_SHED: Final = frozenset({"auth", "ping", "unsubscribe", "drop"})
#: What stands before the id in a refusal.
_REPLY_START: Final = b'{"id":'


class Shedder:
    """Refuses messages of one session. ``has_refused``: some, since whoever asks set that back.

    ``has_rate``: its connection may send so many a second, so each is looked at.
    """

    def __init__(self, session: Session, *, has_rate: bool = False) -> None:
        self._session = session
        self.overload = session.context.overload
        self._has_rate = has_rate
        self.has_refused = False

    @property
    def is_on(self) -> bool:
        """Whether messages are refused now whatever they say but for their op, and nothing else of
        them is to be looked at.
        """
        session = self._session
        if not self.overload.is_shedding or session.principal is None or self._has_rate:
            return False
        if session.outbox.closed or session.is_refused or session.context.is_draining:
            return False
        return not (session.holds.bytes_of or session.account.messages.is_limited) and self._is_over

    def id_of(self, start: bytes) -> int | None:
        """The id of a text that begins so and may be refused unread; else None."""
        found = unread.start_of(start)
        return None if found is None or found[1] in NEVER_SHED else found[0]

    def refuse(self, ids: Sequence[int], size_bytes: int) -> list[Numbered]:
        """Messages with these ids are, so long all together: the texts that are heard.

        They are counted as sent: whoever asks writes them at once, past the outbox.
        """
        metrics, said = self._session.context.metrics, self._refused(len(ids))
        metrics.received_messages += len(ids)
        metrics.received_bytes += size_bytes
        self._session.account.messages.count += len(ids)
        refusals = numbered(_REPLY_START, ids, said)
        metrics.sent_messages += len(ids)
        metrics.sent_bytes += sum(one.each_bytes * len(one.numbers) for one in refusals)
        return refusals

    def sheds(self, message: Said) -> bool:
        """Whether a message is refused, and that was said."""
        if self._session.principal is None or not self._is_over:
            return False
        request_id, op = unread.head_of(message)
        if request_id is None or op in NEVER_SHED:
            return False
        said = self._refused(1)
        self._session.outbox.reply(text(b"%b%d%b" % (_REPLY_START, request_id, said)))
        return True

    def refuse_read(self, message: Said, op: str) -> None:
        """While it sheds: Overloaded for a message that was read because no id was found in it."""
        if not isinstance(message, str) or len(message) <= unread.WHOLE_CHARACTERS:
            return
        if op not in NEVER_SHED and self._session.principal is not None and self._is_over:
            self._note(1)
            raise self.overload.refusal.error()

    @property
    def _is_over(self) -> bool:
        overload, session = self.overload, self._session
        return overload.is_late(session.load, session.late_us) or overload.refuses(session.load)

    def _refused(self, count: int) -> bytes:
        """So many are refused; what each hears behind its id."""
        self._note(count)
        metrics = self._session.context.metrics
        metrics.requests["refused"] += count
        metrics.errors[Overloaded.code] += count
        return self.overload.refusal.said()

    def _note(self, count: int) -> None:
        self.has_refused = True
        self.overload.refused(self._session.load, count)
        self._session.context.metrics.shed_unread += count
