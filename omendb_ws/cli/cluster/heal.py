"""``omendb-ws cluster heal``: have a collection become what nodes kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import reaching
from ..failure import say
from ..output import print_json
from . import waiting

if TYPE_CHECKING:
    from ...client import Client
    from ...client.descriptions import Description


def heal(
    collection: reaching.Collection,
    no_wait: waiting.NoWait = False,
    timeout: waiting.Timeout = waiting.TIMEOUT_SECONDS,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Have a collection that waits to be healed become what a node kept of it; return once it is.

    Its log is not what was written, and no node shows it (cluster status). Bring its stream back
    from a backup of NATS first, if one has more. Ctrl-C ends the waiting, not the healing.

    \b
    Examples:
      omendb-ws cluster heal items
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    told = reaching.reach(at, lambda db: _healed(db, collection, no_wait, timeout))
    if as_json:
        print_json({"collection": collection, **told})
    elif "epoch" in told:
        print(f"{collection} is healed: version {told['version']:,}, epoch {told['epoch']}")
    else:
        print(f"{collection} is to be healed, to version {told['version']:,}")


async def _healed(
    db: Client, collection: str, is_soon: bool, timeout_seconds: float
) -> dict[str, Any]:
    """The version that it will have; once it is healed also the epoch."""
    version = await db.heal(collection)
    if is_soon:
        return {"version": version}
    say(f"{collection} is to be healed, to version {version:,}")
    found = await waiting.until(
        lambda: _shown(db, collection),
        lambda one: one is not None and one.owner is not None,
        lambda one: f"{collection} is {'shown by no node yet' if one is None else 'there'}",
        timeout_seconds,
    )
    assert found is not None
    return {"version": found.version, "epoch": found.epoch}


async def _shown(db: Client, collection: str) -> Description | None:
    """What is said of it; None while no node shows it."""
    from ...errors import Unavailable

    try:
        return await db.describe(collection)
    except Unavailable:
        return None
