"""What of a session's requests is entered into the audit log (PROTOCOL section 9).

What rights refuse, whatever the op; each ``create`` and ``drop``, when it takes effect or is
refused; the end of a connection for its token's sake. Lives on the loop's thread.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Final, Protocol

from omendb_core.model.errors import Forbidden, NotFound, OmenError, Unauthenticated

from ..access.audit import OK
from ..access.peer import Peer
from ..access.principal import Principal
from ..catalog.entry import Entry
from ..engine.model.ticket import Reply
from .context import Context
from .identity import Identity

log = logging.getLogger(__name__)

#: Ops of which every outcome is entered.
_ALWAYS: Final = frozenset({"create", "drop"})


class Audited(Protocol):
    """What is looked at of a session."""

    context: Context
    who: Identity
    peer: Peer

    @property
    def principal(self) -> Principal | None:
        """Who it acts as."""
        ...

    def find(self, target: str | int) -> Entry:
        """A collection. NotFound."""
        ...


def took_effect(session: Audited, op: str, collection: str) -> None:
    """A collection is made, or dropped: in the log, too. If its log cannot be, ``answered``
    follows.
    """
    by = session.who.known()
    session.context.audit.enter(op, OK, by, session.peer, collection)
    log.info(
        "%s of collection %s (tenant %s) by key %s from %s",
        op,
        collection,
        by.tenant,
        by.name,
        session.peer,
        extra={
            "op": op,
            "collection": collection,
            "tenant": by.tenant,
            "key": by.name,
            "peer": str(session.peer),
        },
    )


def target_of(request: object) -> str | int | None:
    """The name or handle of a request's collection, where it has one."""
    target: str | int | None = getattr(request, "collection", getattr(request, "handle", None))
    return target


def refused(session: Audited, op: str, error: OmenError, target: str | int | None = None) -> None:
    """A request is answered by ``error``; ``target``: the name or handle that it went to."""
    if session.principal is None or (error.code != Forbidden.code and op not in _ALWAYS):
        return
    name = None
    with suppress(NotFound):
        name = session.find(target).name if isinstance(target, int) else target
    # Other errors may quote the request.
    detail = error.message if isinstance(error, Forbidden) else None
    audit = session.context.audit
    audit.enter(op, error.code, session.principal, session.peer, name, detail)


def answered(session: Audited, reply: Reply) -> None:
    """The engine refused a request."""
    ticket, code = reply.ticket, reply.error
    if code is not None and (code == Forbidden.code or ticket.op in _ALWAYS):
        name = None if ticket.shard is None else ticket.shard.name
        session.context.audit.enter(ticket.op, code, session.principal, session.peer, name)


def ended(session: Audited, reason: str) -> None:
    """A connection is closed because its token is nobody's any more, or did not come."""
    audit, code = session.context.audit, Unauthenticated.code
    if session.principal is None:
        audit.enter_stranger("auth", code, session.peer, reason)
    else:
        audit.enter("auth", code, session.principal, session.peer, None, reason)
