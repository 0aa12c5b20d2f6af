"""What operators ask of a cluster: ``cluster``, ``move_owner``, ``evacuate``, ``heal``.

Runs on the loop's thread, called by ``ops.py``, which has checked the rights. On a server by itself
all of it is ``unsupported``. A wish is answered once it is written down; nodes act on it later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omendb_core.model.errors import Forbidden, Unsupported

from ..access.audit import OK
from ..cluster.directory import Operations, Then
from ..engine.model import replies
from ..engine.model.commands import Beat
from ..engine.model.ticket import Ticket
from ..engine.writes.commands import Handed
from ..runtime.faults import as_error
from ..wire import messages as wire
from .auditing import took_effect
from .session import Session


def cluster(session: Session, request: wire.Cluster, size: int) -> None:
    """Say who is there, and holds what: of it all, or of the tenant's own."""
    session.ok(request.id, operations(session).status(shown_to(session)))


def move_owner(session: Session, request: wire.MoveOwner, size: int) -> None:
    """Have a node own a collection."""
    tenant, name, to = session.tenant, request.collection, request.to
    session.who.scope("admin", name)
    if session.context.operations is None:
        session.find(name)
    work, overview = operations(session), session.context.overview
    assert overview is not None, "a node of a cluster"
    if to is not None:
        work.check_target(to)
    ticket = session.ticket(request, None, size)
    took_effect(session, request.op, name)
    _hand_on(
        session,
        ticket,
        lambda then: work.move_owner(tenant, name, to, then),
        {"owner": overview.owner(tenant, name)},
    )


def evacuate(session: Session, request: wire.Evacuate, size: int) -> None:
    """Have a node hold nothing, or its part again."""
    principal, node = session.who.known(), request.node
    if not (principal.is_operator and principal.may_everywhere("admin")):
        raise Forbidden("this token does not have both the right operator and admin on everything")
    work = operations(session)
    do = work.stay
    if request.state == "leaving":
        work.check_leaving(node)
        do = work.evacuate
    ticket = session.ticket(request, None, size)
    session.context.audit.enter(request.op, OK, principal, session.peer, None, node)
    told = work.status(None)["nodes"]
    held = sum(one["collections"] for one in told if one["node"] == node)
    _hand_on(session, ticket, lambda then: do(node, then), {"collections": held})


def heal(session: Session, request: wire.Heal, size: int) -> None:
    """Have a collection healed whose log is not what was written, out of what a node kept."""
    tenant, name = session.tenant, request.collection
    session.who.scope("admin", name)
    if session.context.operations is None:
        session.find(name)
    work = operations(session)
    kept = work.check_healing(tenant, name)
    ticket = session.ticket(request, None, size)
    took_effect(session, request.op, name)
    _hand_on(session, ticket, lambda then: work.heal(kept.key, then), {"version": kept.version})


def _hand_on(
    session: Session, ticket: Ticket, begin: Callable[[Then], None], said: dict[str, Any]
) -> None:
    """Have it done by the thread of NATS, and answer with what is ``said`` then."""
    engine = session.context.engine

    def then(error: Exception | None) -> None:
        if error is None:
            reply = replies.ok(ticket, said)
        else:
            reply = replies.refusal(ticket, as_error(error, ticket.op))
        engine.submit(Beat(reply))

    session.submit(Handed(ticket, lambda _: begin(then)))


def shown_to(session: Session) -> str | None:
    """The tenant whose part of the cluster is shown; None: all of it is."""
    principal = session.who.known()
    return None if principal.is_operator else principal.tenant


def operations(session: Session) -> Operations:
    """What this node does for operators. Unsupported."""
    found = session.context.operations
    if found is None:
        raise Unsupported("this server is a node of no cluster (serve --cluster)")
    return found
