"""What operators ask of a cluster: ``cluster``. On a server by itself it is ``unsupported``.

Runs on the loop's thread, called by ``ops.py``, which has checked the rights.
"""

from __future__ import annotations

from omendb_core.model.errors import Unsupported

from ..cluster.directory import Operations
from ..wire import messages as wire
from .session import Session


def cluster(session: Session, request: wire.Cluster, size: int) -> None:
    """Say who is there, and holds what: of it all, or of the tenant's own."""
    session.ok(request.id, operations(session).status(shown_to(session)))


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
