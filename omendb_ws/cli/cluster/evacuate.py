"""``omendb-ws cluster evacuate``: have a node hold nothing, so that it can be stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import reaching
from ..failure import FAILED, fail
from ..output import print_json

if TYPE_CHECKING:
    from ...client import Client

#: How often it is looked what is left.
_LOOK_SECONDS = 0.25


def evacuate(
    node: Annotated[str, typer.Argument(help="The node.", metavar="NODE")],
    undo: Annotated[
        bool, typer.Option("--undo", help="Have it stay, and hold its part again.")
    ] = False,
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
    """Have a node of a cluster hold and own nothing; return once it can be stopped.

    Other nodes take its place first. It needs the rights operator, and admin on everything. Ctrl-C
    ends the waiting, not the moves.

    \b
    Examples:
      omendb-ws cluster evacuate two
      omendb-ws cluster evacuate two --undo
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    left = reaching.reach(at, lambda db: _evacuated(db, node, undo, no_wait or undo))
    if as_json:
        print_json({"node": node, "collections": left})
    elif undo:
        print(f"{node} stays")
    elif left:
        print(f"{node} is to leave, and holds {left:,} collections still")
    else:
        print(f"{node} holds nothing any more")


async def _evacuated(db: Client, node: str, undo: bool, is_soon: bool) -> Any:
    """What it holds in the end."""
    left = await db.evacuate(node, state="up" if undo else "leaving")
    is_seen = False
    while not is_soon and (left or not is_seen):
        told = [one for one in (await db.cluster())["nodes"] if one["node"] == node]
        left = sum(one["collections"] for one in told)
        if is_seen and any(one["state"] == "up" for one in told):
            fail(FAILED, f"{node} is to leave no more: it was started again, or told to stay")
        is_seen = is_seen or not told or told[0]["state"] != "up"
        await asyncio.sleep(_LOOK_SECONDS)
    return left
