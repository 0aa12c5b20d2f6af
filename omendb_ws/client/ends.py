"""Why a server ends a subscription, as what is raised. Pure."""

from __future__ import annotations

from omendb_core.model.errors import Forbidden, OmenError, Quota, Unavailable, Unsupported


def why_ended(reason: str) -> OmenError | None:
    """What a subscription raises that the server ended; None where it just ends."""
    if reason == "forbidden":
        return Forbidden("the right to read this subscription was taken")
    if reason == "unavailable":
        return Unavailable("the collection of this subscription needs repair")
    if reason == "unsupported":
        return Unsupported("its selection reads deeper than several shards can be read")
    if reason == "quota":
        return Quota("there is no memory for what its selection reads")
    return None
