"""``omendb-ws cluster move-owner``: have another node own a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .. import reaching
from ..output import plain, print_json
from . import waiting

if TYPE_CHECKING:
    from ...client import Client
    from ...client.descriptions import Description


def move_owner(
    collection: reaching.Collection,
    to: Annotated[
        str | None,
        typer.Argument(help="The node; without it the cluster decides.", metavar="[NODE]"),
    ] = None,
    no_wait: waiting.NoWait = False,
    timeout: waiting.Timeout = waiting.TIMEOUT_SECONDS,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Have another node of a cluster own a collection; return once it does.

    The other node reads all of it first. Ctrl-C ends the waiting, not the move.

    \b
    Examples:
      omendb-ws cluster move-owner items two
      omendb-ws cluster move-owner items
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    waits = to is not None and not no_wait
    owner = reaching.reach(at, lambda db: _moved(db, collection, to, timeout if waits else None))
    if as_json:
        print_json({"collection": collection, "owner": owner})
    else:
        print(f"{collection} is owned by {plain(owner)}")


async def _moved(
    db: Client, collection: str, to: str | None, timeout_seconds: float | None
) -> str | None:
    """Who owns it in the end; None for a time: do not wait."""
    owner = await db.move_owner(collection, to)
    if timeout_seconds is None or owner == to:
        return owner

    def told(one: Description) -> str:
        states = {replica.node: replica.state for replica in one.replicas}
        of_new = states.get(to or "", "not holding it yet")
        return f"{collection} is owned by {one.owner or 'no node'}; {to} is {of_new}"

    found = await waiting.until(
        lambda: db.describe(collection), lambda one: one.owner == to, told, timeout_seconds
    )
    return found.owner
