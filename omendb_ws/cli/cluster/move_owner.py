"""``omendb-ws cluster move-owner``: have another node own a collection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import reaching
from ..output import plain, print_json

if TYPE_CHECKING:
    from ...client import Client

#: How often it is looked whether it has moved.
_LOOK_SECONDS = 0.25


def move_owner(
    collection: reaching.Collection,
    to: Annotated[
        str | None,
        typer.Argument(help="The node; without it the cluster decides.", metavar="[NODE]"),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Ask for it, and do not wait until it is so.")
    ] = False,
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
    owner = reaching.reach(at, lambda db: _moved(db, collection, to, waits))
    if as_json:
        print_json({"collection": collection, "owner": owner})
    else:
        print(f"{collection} is owned by {plain(owner)}")


async def _moved(db: Client, collection: str, to: str | None, waits: bool) -> Any:
    """Who owns it in the end."""
    owner = await db.move_owner(collection, to)
    while waits and owner != to:
        await asyncio.sleep(_LOOK_SECONDS)
        owner = (await db.describe(collection)).owner
    return owner
