"""Messages that are refused unread because there is more to do than can be done in time.

``overload.py`` says whose; here is which, and what is said. What gives something back, or asks
nothing of the engine, is let in; so is what no id can be found in: nobody would know its refusal.
"""

from __future__ import annotations

from typing import Final

from omendb_core.model.errors import Overloaded

from ..wire import unread
from ..wire.encoded import text
from ..wire.messages import Said
from .session import Session

#: What is let in whatever there is to do.
NEVER_SHED: Final = frozenset({"auth", "ping", "unsubscribe", "drop"})


def is_shed(session: Session, message: Said) -> bool:
    """Whether a message is refused, and that was said."""
    context = session.context
    overload = context.overload
    if session.principal is None:
        return False
    if not overload.is_late(session.late_us) and not overload.refuses(session.load):
        return False
    request_id, op = unread.head_of(message)
    if request_id is None or op in NEVER_SHED:
        return False
    overload.refused(session.load)
    context.metrics.shed_unread += 1
    context.metrics.requests["refused"] += 1
    context.metrics.errors[Overloaded.code] += 1
    session.outbox.reply(text(b'{"id":%d%b' % (request_id, overload.said())))
    return True
