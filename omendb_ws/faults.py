"""What the server says of its own faults: a reference to the client, a traceback to the log."""

from __future__ import annotations

import logging
import secrets

from omendb_core.errors import Internal, OmenError

log = logging.getLogger(__name__)


def as_error(error: Exception, doing: str) -> OmenError:
    """``error`` if clients may be told of it, else Internal with a reference, logged under it."""
    if isinstance(error, OmenError):
        return error
    reference = secrets.token_hex(4)
    log.error("fault %s while doing: %s", reference, doing, exc_info=error)
    return Internal(f"a fault of the server, logged under {reference}")
